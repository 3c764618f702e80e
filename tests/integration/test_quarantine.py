"""`exchange quarantine`: refused rows are listed, opened by their steward alone, and sent again."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest

from exchange.demo.figures import MonitorApi, Totals
from exchange.quarantine.entries import Topics, entries
from exchange.subscriber.decoder import header_of
from tests.checkers.boxes import version_of
from tests.checkers.committed import CommittedReader
from tests.stack import wait_for
from tests.trial.bus import CITY, RAW, TrialBus, trial_bus
from tests.trial.people import id_number, insert, person

RESOURCE = "trial.person"
VIEW = "trial.person.city"


class Desk:
    """The steward's desk: the source's table on one side, the quarantine on the other."""

    def __init__(self, bus: TrialBus) -> None:
        self.bus = bus
        self.key_file = bus.settings.root / "keys" / "office.key"

    def refuse(self, number: int) -> str:
        """Insert a row that the contract refuses; return its place in the quarantine."""
        known = set(self.places())
        with psycopg.connect(self.bus.dsn) as connection:
            insert(connection, person(number) | {"version": -1})
        return wait_for(
            lambda: next((place for place in self.places() if place not in known), None),
            "the refused row is in the quarantine",
            120,
        )

    def change(self, statement: LiteralString, number: int) -> None:
        with psycopg.connect(self.bus.dsn) as connection:
            connection.execute(statement, [id_number(number)])

    def places(self) -> list[str]:
        steward = Topics(self.bus.client("steward-office"), "steward-office.test")
        return [entry.place for entry in entries(steward, RESOURCE)]

    def listed(self) -> list[dict[str, Any]]:
        said = self.bus.cli("quarantine", "list", RESOURCE, "--json").stdout
        return [json.loads(line) for line in said.splitlines()]

    def redrive(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        key = ("--key-file", str(self.key_file))
        return self.bus.cli("quarantine", "redrive", RESOURCE, *arguments, *key, check=check)

    def delivered(self) -> list[dict[str, Any]]:
        said = self.bus.cli("consume", "campus", VIEW, "--from", "earliest", "--json").stdout
        return [json.loads(line) for line in said.splitlines()]

    def mend_contract(self, least: int) -> None:
        """Let the contract take versions from `least`."""
        file = self.bus.files / "avro" / "trial" / "person.avsc"
        contract = json.loads(file.read_text())
        [version] = [field for field in contract["fields"] if field["name"] == "version"]
        version["rules"] = [{"rule": "range", "min": least}]
        file.write_text(json.dumps(contract, ensure_ascii=False))
        self.bus.cli("apply", "--yes")

    def seal(self) -> None:
        """Have raw records sealed from now on."""
        file = self.bus.files / "topology.yaml"
        file.write_text(file.read_text().replace("partitions: 3\n", "partitions: 3\n    sealed: true\n"))
        self.bus.cli("apply", "--yes")
        self.bus.stop("connector")
        self.bus.start("connector")

    def settled(self) -> Totals | None:
        with MonitorApi(self.bus.settings) as monitor:
            totals = monitor.totals()
        return totals if totals.settled else None


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with trial_bus() as bus:
        bus.start()
        yield Desk(bus)


def test_the_list_names_place_reason_and_field_and_no_value(desk: Desk) -> None:
    place = desk.refuse(1)
    [entry] = desk.listed()
    text = desk.bus.cli("quarantine", "list", RESOURCE).stdout
    assert (entry["stage"], entry["reason"], entry["field"]) == ("process", "range", "version")
    assert entry["payload_kept"]
    assert entry["place"] == place
    assert place in text
    assert id_number(1) not in text + json.dumps(entry)


def test_the_stewards_key_opens_a_refused_record(desk: Desk) -> None:
    place = desk.refuse(2)
    shown = desk.bus.cli("quarantine", "show", RESOURCE, place, "--key-file", str(desk.key_file))
    document = json.loads(shown.stdout)
    assert document["key"] == {"id_number": id_number(2)}
    assert document["value"]["after"]["version"] == -1
    assert document["reason"] == "range"


def test_another_stewards_key_opens_nothing(desk: Desk, tmp_path: Path) -> None:
    place = desk.refuse(3)
    desk.bus.cli("keys", "create", "other", "--out", str(tmp_path))
    other = str(tmp_path / "other.key")
    shown = desk.bus.cli("quarantine", "show", RESOURCE, place, "--key-file", other, check=False)
    assert shown.returncode == 1
    assert "does not open" in shown.stderr
    assert id_number(3) not in shown.stdout + shown.stderr
    kept_back = desk.bus.cli("quarantine", "redrive", RESOURCE, place, "--key-file", other, check=False)
    assert kept_back.returncode == 1
    assert "does not open" in kept_back.stdout


def test_a_record_that_still_breaks_the_contract_is_refused_again(desk: Desk) -> None:
    place = desk.refuse(4)
    before = len(desk.places())
    assert "re-driven" in desk.redrive(place).stdout
    wait_for(lambda: len(desk.places()) == before + 1, "it is refused again", 60)
    assert [again["redriven"] for again in desk.listed()].count(True) == 1
    assert desk.bus.cli("quarantine", "list", RESOURCE).stdout.count("refused again after a re-drive") == 1


def test_a_record_is_superseded_by_a_later_change_of_its_row_that_is_sealed(desk: Desk) -> None:
    desk.seal()
    place = desk.refuse(5)
    desk.change("UPDATE public.person SET version = 7 WHERE id_number = %s", 5)
    wait_for(lambda: "superseded" in desk.redrive(place, "--dry-run", check=False).stdout, "superseded")
    kept_back = desk.redrive(place, check=False)
    assert kept_back.returncode == 1
    assert "superseded" in kept_back.stdout


def test_after_the_contract_is_mended_a_record_goes_through_once(desk: Desk) -> None:
    place = desk.refuse(6)
    desk.mend_contract(least=-5)
    before = len(desk.delivered())
    told = json.loads(desk.redrive(place, "--dry-run", "--json").stdout)
    assert told == {"place": place, "done": True, "text": "would be re-driven"}
    assert len(desk.delivered()) == before
    desk.redrive(place)
    wait_for(lambda: len(desk.delivered()) == before + 1, "the re-driven record is in the view", 60)
    again = desk.redrive(place, check=False)
    assert again.returncode == 1
    assert "already re-driven" in again.stdout
    found = [record for record in desk.delivered() if record["after"] and record["after"]["version"] == -1]
    assert [record["op"] for record in found] == ["c"]


def test_all_of_one_reason_are_judged_one_by_one(desk: Desk) -> None:
    done = desk.redrive("--reason", "range")
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert set(lines) == set(desk.places())
    assert sum(text == "re-driven" for text in lines.values()) >= 3
    assert any("superseded" in text for text in lines.values())
    assert any("already re-driven" in text for text in lines.values())


def test_what_is_redriven_is_sealed_too(desk: Desk) -> None:
    with closing(CommittedReader(desk.bus.client(), [RAW])) as reader:
        records = reader.read_to_end()
    heads = [header_of(one) for one in records]
    redriven = [one for one, head in zip(records, heads, strict=True) if head and head.redriven]
    assert {version_of(one) for one in records} == {0, 1}
    under = Counter(map(version_of, redriven))
    assert under[0] == 1, "one came before"
    assert under[1] >= 3


def test_the_accounts_balance_with_what_was_redriven(desk: Desk) -> None:
    totals = wait_for(desk.settled, "everything has arrived", 60)
    assert totals.problems == ()
    assert totals.captured[RAW] == totals.delivered[CITY] + sum(totals.refused.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "<partition>:<offset>"),
        (["0:999999"], "nothing is there"),
        ([], "say what to re-drive"),
        (["0:0", "--all"], "say what to re-drive"),
        (["--reason", "bad"], "no such reason"),
    ],
)
def test_a_wrong_call_is_explained(desk: Desk, arguments: list[str], said: str) -> None:
    refused = desk.redrive(*arguments, check=False)
    assert refused.returncode == 1
    assert said in refused.stderr


def test_an_unknown_resource_and_a_missing_key_file_are_explained(desk: Desk) -> None:
    unknown = desk.bus.cli("quarantine", "list", "trial.persons", check=False)
    assert (unknown.returncode, "no such resource" in unknown.stderr) == (1, True)
    missing = desk.bus.cli("quarantine", "show", RESOURCE, "0:0", "--key-file", "nowhere.key", check=False)
    assert (missing.returncode, "cannot be read" in missing.stderr) == (1, True)


def test_keys_are_listed_and_never_overwritten(desk: Desk) -> None:
    [key] = json.loads(desk.bus.cli("keys", "list", "--json").stdout)
    assert (key["department"], key["private_here"]) == ("office", True)
    assert oct(desk.key_file.stat().st_mode)[-3:] == "600"
    again = desk.bus.cli("keys", "create", "office", check=False)
    assert (again.returncode, "exists" in again.stderr) == (1, True)
