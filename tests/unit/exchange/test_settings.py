"""Secrets: from the environment or a private file, and one clear error where neither will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from exchange.errors import ConfigError
from exchange.settings import Secrets

NAME = "EXCHANGE_TRIAL_KEY"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    monkeypatch.delenv(NAME, raising=False)
    return Secrets(tmp_path)


def test_the_environment_goes_before_the_file(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.put(NAME, "of the file")
    assert secrets.get(NAME).get_secret_value() == "of the file"
    monkeypatch.setenv(NAME, "of the environment")
    assert secrets.get(NAME).get_secret_value() == "of the environment"


def test_a_file_that_was_written_is_private(secrets: Secrets, tmp_path: Path) -> None:
    secrets.put(NAME, "hidden")
    assert [(file.name, file.stat().st_mode & 0o777) for file in tmp_path.iterdir()] == [(NAME, 0o600)]


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"hidden", 0o640, "readable by others than its owner"),
        (b" \n", 0o600, "the secret is empty"),
        (b"\xff\xfehidden", 0o600, "cannot be read"),
    ],
)
def test_a_file_that_will_not_do_is_named_without_its_content(
    secrets: Secrets, tmp_path: Path, content: bytes, mode: int, complaint: str
) -> None:
    file = tmp_path / NAME
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=complaint) as refused:
        secrets.get(NAME)
    assert str(file) in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_secret_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    (tmp_path / "home").write_text("a file where a directory should be")
    with pytest.raises(ConfigError, match=f"set the environment variable {NAME}") as refused:
        Secrets(tmp_path / "home" / "secrets").ensure(NAME)
    assert "Not a directory" in str(refused.value)
