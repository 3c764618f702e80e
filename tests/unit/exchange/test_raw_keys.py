"""Keys of sealed records: made once, rotated and forgotten by commands that tell versions and no keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exchange import rawkeys
from exchange.adopt.found import Draft, Found
from exchange.adopt.plan import adopt_plan
from exchange.apply import sealing
from exchange.apply.steps import Survey
from exchange.boxes import RAW_KEYS
from exchange.cli import build
from exchange.plan import PlannedResource, PublishedPlan
from exchange.settings import Secrets
from tests.unit.exchange.samples import PERSON, PERSON_VIEW, resource
from tests.unit.exchange.topologies import CONTRACTS, GOOD, changed, load


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


# --- what apply and adopt make of it -----------------------------------------------------------------------

PLANNED = resource(PERSON, PERSON_VIEW)
SEALED = changed(("    table: public.person\n", "    table: public.person\n    sealed: true\n"))
CLEAR = "fields of grade 4 lie in clear on Kafka's disks, in the raw topics of"


def surveyed(secrets: Secrets, text: str, *before: PlannedResource) -> Survey:
    seen, declared = Survey(), load(text).topology
    sealing.survey(seen, secrets, declared, PublishedPlan(version=1, systems=(), resources=before))
    seen.notes += sealing.in_clear(declared, CONTRACTS)
    return seen


def test_apply_makes_the_first_key_and_never_another_one(secrets: Secrets) -> None:
    [stage] = surveyed(secrets, SEALED).stages
    assert [str(line) for line in stage.lines] == [f"+ secret {RAW_KEYS}"]
    stage.run()
    keys = rawkeys.read(secrets)
    [again] = surveyed(secrets, SEALED, planned(sealed=True)).stages
    again.run()
    assert rawkeys.read(secrets) == keys
    assert not surveyed(secrets, GOOD).stages


def test_a_lost_key_of_sealed_records_is_not_made_anew(secrets: Secrets) -> None:
    for text in (SEALED, GOOD):
        seen = surveyed(secrets, text, planned(sealed=True))
        assert (len(seen.problems), seen.stages) == (1, [])
        assert "is sealed, and secret EXCHANGE_RAW_KEYS is missing" in seen.problems[0]


def test_the_plan_says_what_lies_in_clear_and_what_will(secrets: Secrets) -> None:
    rawkeys.rotate(secrets)
    told = [surveyed(secrets, text, planned(sealed=text == SEALED)).notes for text in (SEALED, GOOD)]
    assert [[note.partition(";")[0] for note in notes] for notes in told] == [
        [f"{CLEAR} population.street"],
        [f"{CLEAR} population.person, population.street"],
    ]
    assert "sealed no more" in surveyed(secrets, GOOD, planned(sealed=True)).notes[0]


def planned(**changes: bool) -> PlannedResource:
    return PLANNED.model_copy(update={"name": "population.person", **changes})


def test_a_resource_that_is_adopted_stays_sealed(secrets: Secrets) -> None:
    plan = PublishedPlan(version=1, systems=(), resources=(planned(sealed=True),))
    nothing: dict[str, Any] = {
        "topics": {},
        "subjects": {},
        "users": (),
        "known": (),
        "quotas": {},
        "acls": (),
    }
    draft = Draft()
    adopt_plan(Found(**nothing, plan=plan), draft)
    assert draft.resources["population.person"]["sealed"]
