"""`exchange quarantine`: refused rows are listed, opened by their steward alone, and sent again."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest

from exchange import pause_desk, resnapshot_desk, snapshot_desk
from exchange.commands.acting import os_user
from exchange.demo.figures import MonitorApi, Totals
from exchange.errors import ConfigError, GovernanceError
from exchange.governance.export import decisions_after
from exchange.governance.store import Decision, Store
from exchange.identity.accounts import Accounts
from exchange.keys import generate_steward_keys
from exchange.plan import DECISIONS_TOPIC
from exchange.quarantine import desk as quarantine_desk
from exchange.quarantine.entries import Topics, entries
from exchange.settings import Secrets, Settings
from exchange.subscriber.decoder import header_of
from monitor.api import connectors, quarantine
from monitor.identity import Identity, now
from monitor.snapshots import Board
from tests.checkers.boxes import version_of
from tests.checkers.committed import CommittedReader
from tests.integration.api_app import an_app, call
from tests.stack import wait_for
from tests.trial.bus import CITY, PARTITIONS, RAW, TrialBus, trial_bus
from tests.trial.people import id_number, insert, person

RESOURCE = "trial.person"
VIEW = "trial.person.city"
PEOPLE = """
people:
  wang-wei:
    label: {zh: 王伟, en: Wang Wei}
    roles: {steward: [office]}
  he-jing:
    label: {zh: 何静, en: He Jing}
    roles: {steward: [school], requester: [school]}
  chen-hao:
    label: {zh: 陈浩, en: Chen Hao}
    roles: {operations: [office]}
"""


class Desk:
    """The steward's desk: the source's table on one side, the quarantine on the other."""

    def __init__(self, bus: TrialBus) -> None:
        self.bus = bus
        self.key_file = bus.settings.root / "keys" / "office.key"

    def refuse(self, number: int, version: int = -1) -> str:
        """Insert a row that the contract refuses; return its place in the quarantine."""
        known = set(self.places())
        with psycopg.connect(self.bus.dsn) as connection:
            insert(connection, person(number) | {"version": version})
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
        file = bus.files / "topology.yaml"
        file.write_text(file.read_text() + PEOPLE)
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


def test_the_worst_rules_of_the_month_lead_to_the_last_refused_records(desk: Desk) -> None:
    [place] = desk.places()
    month = time.strftime("%Y-%m", time.gmtime())
    url = f"{desk.bus.settings.endpoints().api}/api/quality?month={month}"

    def look() -> Any:
        [worst] = httpx.get(url, timeout=60, trust_env=False).json()["resources"][0]["worst"] or [{}]
        return worst if worst.get("examples") else None

    worst = wait_for(look, "the rule's example", 120)
    [example] = worst["examples"]
    assert (worst["reason"], worst["field"], example["place"]) == ("range", "version", place)
    assert desk.listed()[0]["raw"] == f"{RAW} {example['partition']}:{example['offset']}"
    assert id_number(1) not in json.dumps(worst)


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


# --- over the API: these tests come last, as commands want tokens once there are users --------------------


class Online:
    """The monitor as people call it, and all it has answered them."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.key = desk.key_file.read_text().strip()
        self.answers: list[str] = []
        with Store.of(desk.bus.settings) as store:
            accounts = Accounts(store, now)
            self.tokens = {name: accounts.new_token(name, roles, "", 3600)[1] for name, roles in HELD.items()}

    def call(self, who: str, method: str, path: str = "", **given: Any) -> httpx.Response:
        return self.ask(who, method, f"/api/quarantine{path}", **given)

    def ask(self, who: str, method: str, path: str, **given: Any) -> httpx.Response:
        headers = self.headers(who) | given.pop("headers", {})
        url = f"{self.desk.bus.settings.endpoints().api}{path}"
        answer = httpx.request(method, url, headers=headers, timeout=120, trust_env=False, **given)
        self.answers.append(answer.text)
        return answer

    def headers(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[who]}"}

    def open(self, who: str, place: str, key: str = "", **given: Any) -> httpx.Response:
        body = {"resource": RESOURCE, "place": place, "private_key": key or self.key}
        return self.call(who, "POST", "/open", json=body, **given)

    def redrive(self, who: str, key: str = "", *, dry_run: bool = False, **what: Any) -> httpx.Response:
        body = {"resource": RESOURCE, "dry_run": dry_run, "private_key": key or self.key, **what}
        return self.call(who, "POST", "/redrive", json=body)

    def noted(self) -> list[tuple[str, str, str, str]]:
        with Store.of(self.desk.bus.settings) as store:
            return [(one.actor, one.event, one.outcome, one.about) for one in decisions_after(store, 0)]

    def kept(self) -> str:
        """Return everything that the monitor has answered, logged, decided or counted."""
        settings = self.desk.bus.settings
        metrics = httpx.get(f"{settings.endpoints().api}/metrics", timeout=60, trust_env=False).text
        logs = "".join(file.read_text(errors="replace") for file in (settings.root / "logs").glob("*.log"))
        store = (settings.root / "governance.db").read_bytes().decode(errors="replace")
        wal = settings.root / "governance.db-wal"
        store += wal.read_bytes().decode(errors="replace") if wal.exists() else ""
        return "".join(self.answers) + metrics + logs + store


OPEN, REDRIVE = (f"https://bus.example/api/quarantine/{act}" for act in ("open", "redrive"))
HELD = {"wang-wei": ("steward",), "he-jing": ("steward", "requester"), "chen-hao": ("operations",)}


@pytest.fixture(scope="module")
def online(desk: Desk) -> Online:
    return Online(desk)


@pytest.fixture(scope="module")
def place(desk: Desk) -> str:
    return desk.refuse(20, version=-9)


def test_entries_come_by_page_and_reason_without_a_value(online: Online, place: str) -> None:
    asked = {"resource": RESOURCE, "reason": "range", "limit": 2}
    first = online.call("wang-wei", "GET", params=asked).json()
    found = list(first["entries"])
    while first["next"]:
        first = online.call("wang-wei", "GET", params=asked | {"after": first["next"]}).json()
        found += first["entries"]
    assert [one["place"] for one in found] == online.desk.places()
    [entry] = [one for one in found if one["place"] == place]
    assert (entry["field"], entry["stage"]) == ("version", "process")
    assert entry["op"] in ("c", "r"), "r where the connector started behind it"
    assert (entry["hindrance"], entry["sent_again_at"], entry["redriven"]) == ("", None, False)
    assert not any(id_number(number) in json.dumps(found) for number in (1, 2, 3, 4, 5, 6, 20))
    none = online.call("wang-wei", "GET", params=asked | {"reason": "mask"}).json()
    assert (none["entries"], none["next"]) == ([], None)
    for stranger in ("he-jing", "chen-hao"):
        assert online.call(stranger, "GET", params=asked).status_code == 403


def test_the_steward_alone_opens_a_record_and_each_attempt_is_noted(online: Online, place: str) -> None:
    known = len(online.noted())
    opened = online.open("wang-wei", place)
    assert opened.status_code == 200, opened.text
    online.answers.pop()  # the values are meant for whoever opened it, and for nobody else
    assert json.loads(opened.json()["key"]) == {"id_number": id_number(20)}
    assert json.loads(opened.json()["value"])["after"]["version"] == -9
    assert opened.headers["Cache-Control"] == "no-store"
    refused = [
        online.open("wang-wei", place, generate_steward_keys()[0]),
        online.open("wang-wei", place, "no key at all"),
        online.open("wang-wei", "0:999999"),
        online.open("he-jing", place),
        online.open("chen-hao", place),
    ]
    assert [one.status_code for one in refused] == [403, 409, 404, 403, 403]
    assert "does not open" in refused[0].json()["detail"]
    about = f"quarantine {RESOURCE} {place}"
    assert online.noted()[known:] == [
        ("wang-wei", "open", "done", about),
        ("wang-wei", "open", "refused", about),
        ("wang-wei", "open", "refused", about),
        ("wang-wei", "open", "refused", f"quarantine {RESOURCE} 0:999999"),
        ("he-jing", "open", "refused", about),
        ("chen-hao", "open", "refused", about),
    ]
    assert id_number(20) not in online.kept()


def test_a_key_that_is_not_the_stewards_sends_nothing(online: Online, place: str) -> None:
    raw, known = Topics(online.desk.bus.client(), "test"), len(online.noted())
    before = raw.spans(RAW)
    other = generate_steward_keys()[0]
    refused = [
        online.redrive("wang-wei", other, places=[place]),
        online.redrive("wang-wei", other, reason="range"),
        online.redrive("he-jing", places=[place]),
        online.redrive("chen-hao", reason="range"),
    ]
    assert [one.status_code for one in refused] == [403] * 4
    assert "opens none of" in refused[0].json()["detail"]
    assert [one[:3] for one in online.noted()[known:]] == [
        (who, "redrive", "refused") for who in ("wang-wei", "wang-wei", "he-jing", "chen-hao")
    ]
    assert online.redrive("wang-wei").status_code == 400
    assert raw.spans(RAW) == before


def test_a_record_is_sent_again_after_a_dry_run_and_says_so(online: Online, place: str) -> None:
    online.desk.mend_contract(least=-20)
    before, known = len(online.desk.delivered()), len(online.noted())
    dry = online.redrive("wang-wei", places=[place], dry_run=True)
    assert dry.json()["outcomes"] == [{"place": place, "done": True, "text": "would be re-driven"}]
    assert len(online.noted()) == known
    done = online.redrive("wang-wei", places=[place])
    assert done.json() == {"outcomes": [{"place": place, "done": True, "text": "re-driven"}], "next": None}
    wait_for(lambda: len(online.desk.delivered()) == before + 1, "the record is in the view", 60)
    again = online.redrive("wang-wei", places=[place]).json()["outcomes"]
    assert [(one["done"], "already re-driven" in one["text"]) for one in again] == [(False, True)]
    about = f"quarantine {RESOURCE}"
    assert online.noted()[known:] == [
        ("wang-wei", "redrive", "done", f"{about} {place}"),
        ("wang-wei", "redrive", "done", about),
    ]
    listed = online.call("wang-wei", "GET", params={"resource": RESOURCE, "limit": 500}).json()["entries"]
    assert [one["place"] for one in listed if one["sent_again_at"]] == [place]


def test_all_of_one_reason_go_in_batches_that_end(
    online: Online, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_desk, "MOST_AT_ONCE", 2)
    there = desk.places()
    first = in_batches(online, dry_run=False, most=1)
    newer = refuse_behind(desk, first.cursor)
    rest = in_batches(online, dry_run=False, after=first.cursor)
    found = [*first.outcomes, *rest.outcomes]
    assert [one["place"] for one in found] == there
    assert newer not in there
    assert all(one["done"] or "already" in one["text"] or "superseded" in one["text"] for one in found)

    def endless(topics: Topics, resource: str, after: str = "", ends: object = None) -> Any:
        """Planted: what is refused meanwhile is taken too."""
        return entries(topics, resource, after)

    monkeypatch.setattr(quarantine_desk, "entries", endless)
    again = in_batches(online, dry_run=True, after=first.cursor)
    assert newer in [one["place"] for one in again.outcomes]
    totals = wait_for(desk.settled, "everything has arrived", 60)
    assert totals.problems == ()


@dataclass
class Batches:
    """What was answered to some batches of a reason, and where the next begins; empty at the end."""

    outcomes: list[dict[str, Any]]
    cursor: str


def in_batches(online: Online, *, dry_run: bool, after: str = "", most: int = 100) -> Batches:
    """Send everything refused for `range` again by an application of this process."""
    app, found = app_of(online.desk.bus.settings), Batches([], after)
    for _ in range(most):
        body = {"resource": RESOURCE, "reason": "range", "dry_run": dry_run, "after": found.cursor}
        given = {"json": body | {"private_key": online.key}, "headers": online.headers("wang-wei")}
        answer = call(app, "POST", REDRIVE, **given).json()
        assert len(answer["outcomes"]) <= 2
        found.outcomes += answer["outcomes"]
        found.cursor = answer["next"] or ""
        if not found.cursor:
            break
    return found


def refuse_behind(desk: Desk, cursor: str) -> str:
    """Refuse rows until one lies in the last partition, which batches reach last; return its place."""
    for number in range(30, 90):
        place = desk.refuse(number, version=-99)
        if place.startswith(f"{PARTITIONS - 1}:"):
            return place
    msg = f"no row behind {cursor}"
    raise AssertionError(msg)


def app_of(settings: Settings) -> Any:
    app = an_app(settings)
    quarantine.add(app, Identity(settings))
    return app


def test_without_the_password_of_kafka_it_is_said_what_to_do(
    online: Online, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Secrets.find
    missing = "EXCHANGE_KAFKA_PASSWORD_REDRIVE_OFFICE"
    monkeypatch.setattr(Secrets, "find", lambda self, name: None if name == missing else find(self, name))
    body = {"resource": RESOURCE, "places": [place], "dry_run": False, "private_key": online.key}
    answer = call(
        app_of(online.desk.bus.settings),
        "POST",
        REDRIVE,
        json=body,
        headers=online.headers("wang-wei"),
    )
    assert answer.status_code == 503
    assert missing in answer.json()["detail"]
    assert "exchange apply" in answer.json()["detail"]
    assert online.noted()[-1][:3] == ("wang-wei", "redrive", "failed")


def test_two_re_drives_of_a_department_do_not_end_each_other() -> None:
    with quarantine_desk._turn("office"), pytest.raises(GovernanceError, match="under way"):
        quarantine_desk._turn("office").__enter__()
    with quarantine_desk._turn("office"):
        pass


def test_a_key_that_others_may_read_on_the_way_is_refused(online: Online, place: str) -> None:
    far = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "http"}
    refused = online.open("wang-wei", place, headers=far)
    assert (refused.status_code, "HTTPS" in refused.json()["detail"]) == (403, True)
    secure = online.open("wang-wei", place, headers=far | {"X-Forwarded-Proto": "https"})
    assert secure.status_code == 200, secure.text
    online.answers.pop()


def test_the_private_key_is_in_no_log_answer_decision_or_figure(
    online: Online, desk: Desk, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (
        {"place": 7},
        {"place": place, "more": online.key},
        {"place": place, "resource": [online.key]},
    ):
        body = {"resource": RESOURCE, "private_key": online.key, **wrong}
        assert online.call("wang-wei", "POST", "/open", json=body).status_code == 400
    assert online.call("wang-wei", "POST", "/open", content=f'{{"private_key": "{online.key}').is_error
    assert online.open("wang-wei", place).status_code == 200
    assert online.redrive("wang-wei", places=[place], dry_run=True).status_code == 200
    assert "does not fit the API" in online.kept()
    assert online.key not in online.kept()

    def leaky(text: str, _what: str) -> bytes:
        raise ConfigError(text)

    monkeypatch.setattr(quarantine_desk, "read_key", leaky)  # planted: an error that quotes the key
    body = {"resource": RESOURCE, "place": place, "private_key": online.key}
    given = {"json": body, "headers": online.headers("wang-wei")}
    online.answers.append(call(app_of(desk.bus.settings), "POST", OPEN, **given).text)
    assert online.key in online.kept()


def test_the_check_of_the_department_is_what_keeps_others_out(
    online: Online, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: whoever holds a key is believed to be the steward."""
    monkeypatch.setattr(quarantine_desk, "expect_held", lambda *_: None)
    body = {"resource": RESOURCE, "place": place, "private_key": online.key}
    given = {"json": body, "headers": online.headers("he-jing")}
    assert call(app_of(online.desk.bus.settings), "POST", OPEN, **given).status_code == 200


# --- connectors ---------------------------------------------------------------------------------------------

TABLE = "public.person"
ORDER = "/api/connectors/trial/snapshot/"


def connector_of(online: Online, who: str = "chen-hao") -> dict[str, Any]:
    [found] = online.ask(who, "GET", "/api/connectors").json()["connectors"]
    return dict(found)


def figures_of(online: Online) -> dict[str, Any]:
    workers = online.ask("chen-hao", "GET", "/api/overview").json()["workers"]
    return next((dict(one["figures"]) for one in workers if one["writer"] == "cdc-trial"), {})


def found_after_first_snapshot(online: Online) -> dict[str, Any] | None:
    found = connector_of(online)
    return found if found["first_snapshot"] is None else None


def snapshot_ends(online: Online, state: str) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        snapshot = connector_of(online)["snapshot"]
        return dict(snapshot) if snapshot is not None and snapshot["state"] == state else None

    return wait_for(seen, f"the snapshot is {state}", 120)


def test_a_snapshot_is_started_paused_and_ended_over_the_api_and_each_order_is_noted(online: Online) -> None:
    bus, known = online.desk.bus, len(online.noted())
    with psycopg.connect(bus.dsn) as connection:
        for number in range(1000, 1400):
            insert(connection, person(number))
    wait_for(lambda: int(figures_of(online).get("captured", 0)) >= 400, "the rows are captured", 120)
    before = wait_for(lambda: found_after_first_snapshot(online), "the first snapshot is over", 120)
    assert (before["kind"], before["takes_snapshots"], before["may_order"]) == ("postgres", True, True)
    assert [(one["table"], set(one["views"])) for one in before["tables"]] == [(TABLE, {"city", "north"})]
    start = {"table": TABLE, "rows_per_s": 20}
    assert online.ask("chen-hao", "POST", ORDER + "pause", json={}).status_code == 409
    assert online.ask("chen-hao", "POST", ORDER + "start", json={"table": "public.none"}).status_code == 409
    assert online.ask("he-jing", "POST", ORDER + "start", json=start).status_code == 403
    ordered = online.ask("chen-hao", "POST", ORDER + "start", json=start)
    assert ordered.status_code == 200, ordered.text
    wait_for(lambda: connector_of(online)["snapshot"]["rows"] > 0, "rows are read", 120)
    assert online.ask("chen-hao", "POST", ORDER + "start", json=start).status_code == 409
    assert online.ask("wang-wei", "POST", ORDER + "pause", json={}).status_code == 200
    assert snapshot_ends(online, "paused")["operation"] == ordered.json()["operation"]
    assert online.ask("wang-wei", "POST", ORDER + "resume", json={"rows_per_s": 0}).status_code == 200
    done = snapshot_ends(online, "complete")
    assert done["rows"] + done["passed"] >= 400
    told = json.loads(bus.cli("snapshot", "status", "trial", "--json").stdout)
    assert told | {"rows_per_s": 0} == done | {"rows_per_s": 0}
    about = f"snapshot trial {TABLE} {done['operation']}"
    assert online.noted()[known:] == [
        ("chen-hao", "pause", "refused", "snapshot trial"),
        ("chen-hao", "start", "refused", "snapshot trial public.none"),
        ("he-jing", "start", "refused", f"snapshot trial {TABLE}"),
        ("chen-hao", "start", "done", about),
        ("chen-hao", "start", "refused", f"snapshot trial {TABLE}"),
        ("wang-wei", "pause", "done", about),
        ("wang-wei", "resume", "done", about),
    ]


def test_a_snapshot_is_ordered_by_command_and_each_order_is_noted(online: Online) -> None:
    bus, known = online.desk.bus, len(online.noted())

    def run(who: str, *words: str) -> subprocess.CompletedProcess[str]:
        named = ("--as", who) if who != os_user() else ()
        token = {"EXCHANGE_TOKEN": online.tokens[who]} if named else {}
        return bus.cli("snapshot", *words, *named, check=False, **token)

    start = ("start", "trial", "--table", TABLE, "--rows-per-s", "20", "--json")
    stranger = run("he-jing", *start)
    assert (stranger.returncode, "neither operations" in stranger.stderr) == (1, True), stranger.stderr
    early = run("chen-hao", "pause", "trial")
    assert (early.returncode, "no snapshot is under way" in early.stderr) == (1, True), early.stderr
    done = run(os_user(), *start)
    assert done.returncode == 0, done.stderr
    operation = json.loads(done.stdout)["operation"]
    wait_for(lambda: connector_of(online)["snapshot"]["operation"] == operation, "it is taken up", 120)
    assert run("wang-wei", "stop", "trial").returncode == 0
    snapshot_ends(online, "stopped")
    about = f"snapshot trial {TABLE} {operation}"
    assert online.noted()[known:] == [
        ("he-jing", "start", "refused", f"snapshot trial {TABLE}"),
        ("chen-hao", "pause", "refused", "snapshot trial"),
        (os_user(), "start", "done", about),
        ("wang-wei", "stop", "done", about),
    ]


PAUSE = "/api/connectors/trial/"


def test_a_connector_is_paused_and_goes_on_by_order_and_each_is_noted(online: Online) -> None:
    bus, known = online.desk.bus, len(online.noted())
    why = {"reason": "the disk is moved"}
    assert online.ask("he-jing", "POST", PAUSE + "pause", json=why).status_code == 403
    assert online.ask("chen-hao", "POST", PAUSE + "pause", json={"reason": " "}).status_code == 409
    assert online.ask("chen-hao", "POST", PAUSE + "resume", json={}).status_code == 409
    assert (connector_of(online)["pause"], connector_of(online)["meanwhile"]) == (None, "wal")
    ordered = online.ask("wang-wei", "POST", PAUSE + "pause", json=why)
    assert ordered.status_code == 200, ordered.text
    wait_for(lambda: (connector_of(online)["pause"] or {}).get("is_obeyed"), "the connector pauses", 120)
    told = connector_of(online)["pause"]
    assert (told["by"], told["reason"], told["wish"]) == ("wang-wei", "the disk is moved", "pause")
    status = json.loads(bus.cli("connector", "status", "trial", "--json").stdout)
    assert (status["state"], status["obeys"], status["pause"]["by"]) == ("paused", True, "wang-wei")
    assert (
        "by wang-wei: the disk is moved; `exchange connector resume trial`"
        in bus.cli("status", check=False).stdout
    )
    assert online.ask("chen-hao", "POST", PAUSE + "pause", json=why).status_code == 409
    firing = online.ask("chen-hao", "GET", "/api/alerts?state=firing").json()["alerts"]
    assert [one["kind"] for one in firing if one["stage"] == "capture"] == []
    assert online.ask("chen-hao", "POST", PAUSE + "resume", json={}).status_code == 200
    wait_for(lambda: connector_of(online)["pause"] is None, "the connector goes on", 120)
    captured = int(figures_of(online)["captured"])
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(1400))
    wait_for(lambda: int(figures_of(online)["captured"]) > captured, "what was written after it", 120)
    about = f"connector trial {ordered.json()['operation']}"
    assert online.noted()[known:] == [
        ("he-jing", "pause", "refused", "connector trial"),
        ("chen-hao", "pause", "refused", "connector trial"),
        ("chen-hao", "resume", "refused", "connector trial"),
        ("wang-wei", "pause", "done", about),
        ("chen-hao", "pause", "refused", "connector trial"),
        ("chen-hao", "resume", "done", about),
    ]


def test_a_command_pauses_in_a_persons_name_and_resumes(online: Online) -> None:
    bus, known = online.desk.bus, len(online.noted())

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        token = online.tokens["chen-hao"]
        return bus.cli("connector", *words, "--as", "chen-hao", check=False, EXCHANGE_TOKEN=token)

    unsure = run("pause", "trial", "--reason", "r")
    assert (unsure.returncode, "the disk there may fill up" in unsure.stderr) == (1, True), unsure.stderr
    done = run("pause", "trial", "--reason", "the disk is moved", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["by"]) == (0, "chen-hao"), done.stderr
    again = run("pause", "trial", "--reason", "r", "--yes")
    assert (again.returncode, "paused already, by chen-hao" in again.stderr) == (1, True)
    assert run("resume", "trial").returncode == 0
    about = f"connector trial {json.loads(done.stdout)['operation']}"
    assert online.noted()[known:] == [
        ("chen-hao", "pause", "done", about),
        ("chen-hao", "pause", "refused", "connector trial"),
        ("chen-hao", "resume", "done", about),
    ]


def test_a_source_is_read_anew_by_order_after_a_dry_run_and_it_is_noted(online: Online) -> None:
    known, anew = len(online.noted()), PAUSE + "resnapshot"
    look = {"table": TABLE, "dry_run": True}

    def looked() -> httpx.Response | None:
        answer = online.ask("chen-hao", "POST", anew, json=look)
        assert answer.status_code == 200 or "nothing was captured yet" in answer.text, answer.text
        return answer if answer.status_code == 200 else None

    found = wait_for(looked, "something is captured", 240)
    [emptied] = found.json()["tables"]
    assert (emptied["table"], set(emptied["views"])) == (TABLE, {f"{RESOURCE}.city", f"{RESOURCE}.north"})
    assert emptied["estimated_rows"] is not None
    assert "campus" in found.json()["subscribers"]
    assert online.ask("he-jing", "POST", anew, json=look).status_code == 403
    assert len(online.noted()) == known
    assert online.ask("he-jing", "POST", anew, json={"dry_run": False}).status_code == 403
    none = {"table": "public.none", "dry_run": False}
    assert online.ask("chen-hao", "POST", anew, json=none).status_code == 409
    ordered = online.ask("wang-wei", "POST", anew, json={"table": TABLE, "dry_run": False})
    assert (ordered.status_code, ordered.json()["ordered"]["state"]) == (200, "ordered"), ordered.text
    wait_for(lambda: connector_of(online)["anew"]["state"] == "complete", "it is read anew", 240)
    operation = ordered.json()["ordered"]["operation"]
    assert (connector_of(online)["anew"]["operation"], connector_of(online)["anew"]["by"]) == (
        operation,
        "wang-wei",
    )
    assert online.noted()[known:] == [
        ("he-jing", "resnapshot", "refused", "resnapshot trial"),
        ("chen-hao", "resnapshot", "refused", "resnapshot trial public.none"),
        ("wang-wei", "resnapshot", "done", f"resnapshot trial {TABLE} {operation}"),
    ]


def test_the_command_that_takes_a_connectors_place_is_noted_too(online: Online) -> None:
    bus, known = online.desk.bus, len(online.noted())

    def run(who: str, *words: str) -> subprocess.CompletedProcess[str]:
        named = ("--as", who, "--yes", *words)
        return bus.cli("resnapshot", "trial", *named, check=False, EXCHANGE_TOKEN=online.tokens[who])

    bus.stop("connector")
    stranger = run("he-jing")
    assert (stranger.returncode, "neither operations" in stranger.stderr) == (1, True), stranger.stderr
    assert run("chen-hao", "--table", "public.none").returncode == 1
    done = run("wang-wei", "--table", TABLE)
    assert (done.returncode, f"reads table {TABLE} anew" in done.stdout) == (0, True), done.stderr
    noted = [
        ("he-jing", "resnapshot", "refused", "resnapshot trial"),
        ("chen-hao", "resnapshot", "refused", "resnapshot trial public.none"),
        ("wang-wei", "resnapshot", "done", f"resnapshot trial {TABLE}"),
    ]
    assert online.noted()[known:] == noted
    with closing(CommittedReader(bus.client(), [DECISIONS_TOPIC])) as reader:
        told = [Decision.model_validate_json(message.value() or b"") for message in reader.read_to_end()]
    assert [(one.actor, one.event, one.outcome, one.about) for one in told][known:] == noted
    wait_for(lambda: connector_of(online)["anew"]["state"] == "reading", "the position is given up", 120)
    bus.start("connector")
    wait_for(lambda: connector_of(online)["anew"]["state"] == "complete", "it is read anew", 240)


def test_a_connector_tells_of_its_last_change_and_of_what_its_source_keeps(online: Online) -> None:
    wanted = {"since_last_change_s", "retained_wal_bytes"}
    wait_for(lambda: wanted <= figures_of(online).keys(), "both figures")
    assert online.ask("he-jing", "GET", "/api/connectors").json()["connectors"] == []
    assert [one["may_order"] for one in (connector_of(online, "wang-wei"),)] == [True]


def test_the_check_of_the_role_is_what_keeps_others_from_ordering(
    online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: whoever is known may order."""
    settings = online.desk.bus.settings
    app, board = an_app(settings), Board(settings.kafka_client("monitor"))
    connectors.add(app, Identity(settings), lambda: None, lambda: (), lambda _count: (), board)
    monkeypatch.setattr(snapshot_desk, "expect_operator", lambda *_: None)
    given: dict[str, Any] = {"json": {"table": TABLE}, "headers": online.headers("he-jing")}
    assert call(app, "POST", ORDER + "start", **given).status_code == 200
    assert online.noted()[-1][:3] == ("he-jing", "start", "done")
    monkeypatch.setattr(pause_desk, "expect_operator", lambda *_: None)
    given = {"json": {"reason": "r"}, "headers": online.headers("he-jing")}
    for act in ("pause", "resume"):
        assert call(app, "POST", PAUSE + act, **given).status_code == 200
        assert online.noted()[-1][:3] == ("he-jing", act, "done")
    monkeypatch.setattr(resnapshot_desk, "expect_operator", lambda *_: None)
    given = {"json": {"dry_run": False}, "headers": online.headers("he-jing")}
    assert call(app, "POST", PAUSE + "resnapshot", **given).status_code == 200
