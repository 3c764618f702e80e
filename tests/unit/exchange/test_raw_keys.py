"""`exchange keys rotate` and `forget`: versions are told, keys are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exchange import rawkeys
from exchange.boxes import RAW_KEYS
from exchange.cli import build
from exchange.settings import Secrets


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    monkeypatch.setenv("EXCHANGE_HOME", str(tmp_path))
    return Secrets(tmp_path / "secrets")


def run(*words: str, code: int = 0, answer: str | None = None) -> str:
    done = CliRunner().invoke(build(), ["keys", *words], input=answer)
    assert done.exit_code == code, done.output
    return f"{done.output}{done.exception or ''}"


def test_keys_are_made_rotated_and_forgotten_without_being_shown(secrets: Secrets, tmp_path: Path) -> None:
    told = [run("rotate"), run("rotate"), run("rotate", "--json")]
    keys = rawkeys.read(secrets)
    assert keys is not None
    assert json.loads(told[-1]) == {"versions": [1, 2, 3], "seals": 3}
    assert "versions 1, 2; 2 seals" in told[1]
    assert oct((tmp_path / "secrets" / RAW_KEYS).stat().st_mode)[-3:] == "600"
    run("forget", "1", answer="n\n", code=1)
    assert rawkeys.read(secrets) == keys
    told.append(run("forget", "1", "--yes", "--json"))
    assert rawkeys.read(secrets) == keys.without(1)
    assert not any(key.hex() in text for text in told for key in keys.by_version.values())


@pytest.mark.parametrize(
    ("words", "said"), [(["2", "--yes"], "the one that seals"), (["7", "--yes"], "are: 1, 2")]
)
def test_the_key_that_seals_and_one_that_is_not_there_are_not_forgotten(
    secrets: Secrets, words: list[str], said: str
) -> None:
    rawkeys.rotate(secrets)
    before = rawkeys.rotate(secrets)
    assert said in run("forget", *words, code=1)
    assert rawkeys.read(secrets) == before


def test_keys_of_the_environment_are_changed_where_they_are_kept(
    secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = rawkeys.rotate(secrets)
    monkeypatch.setenv(RAW_KEYS, keys.with_next().text())
    told = run("rotate", code=1)
    assert "given by the environment" in told
    assert keys.by_version[1].hex() not in told
