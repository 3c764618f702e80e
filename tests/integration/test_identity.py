"""Who may see and do what over HTTP, on the real monitor: each path for each role, and what attackers try."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

import httpx
import psycopg
import pytest
import python_calamine
import schemathesis
from confluent_kafka import Producer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exchange.alerting.store import AlertStore
from exchange.catalogue import formats
from exchange.certificate import Signer, verify
from exchange.commands import acting as command
from exchange.corrections import read_corrections
from exchange.encoding.wire import frame
from exchange.errors import NotAllowedError, SealError
from exchange.governance import authority
from exchange.governance.desk import Asked, Desk
from exchange.governance.export import decisions_after
from exchange.governance.objection import Objection, Place, State
from exchange.governance.objection_desk import ObjectionDesk
from exchange.governance.store import Store
from exchange.governance.versioned import Versioned
from exchange.identity import attempts
from exchange.identity.accounts import Accounts
from exchange.identity.caller import SEES_ALL
from exchange.keys import generate_steward_keys
from exchange.local.home import any_free
from exchange.plan import raw_topic
from exchange.settings import MACHINE_TOKEN
from monitor.api import corrections, entries, entry_files, gate, inbox, objections
from monitor.identity import Identity, now
from tests.checkers.committed import CommittedReader
from tests.integration.api_app import an_app, call
from tests.integration.test_objection import header
from tests.stack import Stack, running_stack, wait_for
from tests.unit.exchange.topologies import GOOD, PERSON
from tests.unit.monitor.test_alerts import alert as an_alert

VIEW = "population.person.basic"
PASSWORD = "correct horse battery staple"
CANARY = "Pa55-canary-0c1b2a"
PEOPLE = """
  school:
    department: tax
    label: {zh: 学校, en: School}
people:
  li-na:
    label: {zh: 李娜, en: Li Na}
    roles: {requester: [tax]}
  wang-wei:
    label: {zh: 王伟, en: Wang Wei}
    roles: {steward: [police]}
  zhou-jie:
    label: {zh: 周杰, en: Zhou Jie}
    roles: {steward: [police]}
  zhao-min:
    label: {zh: 赵敏, en: Zhao Min}
    roles: {authority: [police]}
  chen-hao:
    label: {zh: 陈浩, en: Chen Hao}
    roles: {operations: [police]}
  sun-li:
    label: {zh: 孙丽, en: Sun Li}
    roles: {auditor: [police]}
  wu-gang:
    label: {zh: 吴刚, en: Wu Gang}
    roles: {administrator: [police]}
  other-steward:
    label: {zh: 何, en: He}
    roles: {steward: [tax], requester: [police]}
  no-role:
    label: {zh: 无, en: None}
    roles: {}
"""
TEXT = GOOD[: GOOD.index("grants:")].rstrip("\n") + PEOPLE
ROLE = {
    "requester": "li-na",
    "steward": "wang-wei",
    "authority": "zhao-min",
    "operations": "chen-hao",
    "auditor": "sun-li",
    "administrator": "wu-gang",
    "foreign": "other-steward",
}


@dataclasses.dataclass(frozen=True)
class Bus:
    stack: Stack
    folder: Path
    tokens: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        return self.stack.settings.endpoints().api

    def run(self, *words: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "exchange"), *words]
        environment = os.environ | {"EXCHANGE_HOME": str(self.stack.home)} | environ
        return subprocess.run(
            command, env=environment, input=given, capture_output=True, text=True, timeout=180, check=False
        )

    def client(self, role: str = "") -> httpx.Client:
        """Return a client with the token of the role's person, or with none."""
        headers = {"Authorization": f"Bearer {self.tokens[ROLE[role]]}"} if role else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def browser(self) -> httpx.Client:
        """Return a client that says whose page it shows, as browsers do."""
        return httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=60, trust_env=False)


def with_element(contract: dict[str, Any]) -> dict[str, Any]:
    """Return a contract whose first field holds a data element, which each resource of it claims then."""
    first, *others = contract["fields"]
    return contract | {"fields": [first | {"element": "DE00032"}, *others]}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """Yield a bus to which the topology is applied, and which has no user yet."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "topology.yaml").write_text(TEXT)
    (folder / "avro" / "population").mkdir(parents=True)
    (folder / "avro" / "population" / "person.avsc").write_text(json.dumps(with_element(PERSON)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCHANGE_TOPOLOGY", str(folder / "topology.yaml"))
        patch.setenv("EXCHANGE_CONTRACTS", str(folder / "avro"))
        patch.setenv("EXCHANGE_SWEEP_EVERY_S", "3")
        with running_stack() as stack:
            bus = Bus(stack, folder)
            keys = stack.home / "keys"
            keys.mkdir(mode=0o700, exist_ok=True)
            (keys / "police.pub").write_text(generate_steward_keys()[1] + "\n")
            dsn = stack.create_database("identity")
            stack.settings.secrets.put("POPULATION_DSN", dsn)
            with psycopg.connect(dsn, autocommit=True) as connection:
                for table in ("person", "street"):
                    connection.execute(
                        f"CREATE TABLE {table} (id_number text PRIMARY KEY, full_name text, region_code text)"
                    )
                    connection.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
            applied = bus.run("apply", "--yes")
            assert applied.returncode == 0, applied.stderr
            yield bus


@pytest.fixture(scope="module")
def bus(fresh: Bus) -> Bus:
    """Return the same bus once it has users, and a token of each."""
    open_before_the_first_user(fresh)
    added = fresh.run("user", "add", "li-na", given=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr
    assert PASSWORD not in added.stdout + added.stderr
    with Store.of(fresh.stack.settings) as store:
        accounts = Accounts(store, now)
        for name in ("wang-wei", "no-role"):
            accounts.add(name, PASSWORD)
        for role, name in {**ROLE, "second": "zhou-jie"}.items():
            held = ("steward", "requester") if role in ("foreign", "second") else (role,)
            fresh.tokens[name] = accounts.new_token(name, held, "test", 3600)[1]
    return fresh


def open_before_the_first_user(bus: Bus) -> None:
    with bus.client() as anyone:
        assert anyone.get("/api/status").status_code == 200
        me = anyone.get("/api/me")
        assert (me.status_code, "exchange user add" in me.json()["detail"]) == (404, True)
        assert anyone.get("/api/requests").status_code == 401
        assert anyone.post("/api/requests", json={"subscriber": "school", "view": VIEW}).status_code == 401
        assert anyone.post("/api/login", json={"name": "li-na", "password": "x"}).status_code == 401


def log_in(client: httpx.Client, name: str = "li-na", password: str = PASSWORD) -> httpx.Response:
    return client.post("/api/login", json={"name": name, "password": password})


def forget_attempts(bus: Bus) -> None:
    identity = Identity(bus.stack.settings)
    for key in identity.redis.scan_iter("exchange:login:*"):
        identity.redis.delete(key)
    identity.close()


@pytest.fixture
def asked(bus: Bus) -> Iterator[dict[str, Any]]:
    """Yield a submitted request, taken back at the end."""
    with bus.client("requester") as li_na:
        body = {"subscriber": "school", "view": VIEW, "purpose": "p", "legal_basis": "l"}
        draft = li_na.post("/api/requests", json=body)
        assert draft.status_code == 201, draft.text
        at = f"/api/requests/{draft.json()['id']}"
        submitted = li_na.post(f"{at}/submit", json={"version": 1})
        assert submitted.status_code == 200, submitted.text
        yield submitted.json()
        now_ = li_na.get(at).json()
        if now_["state"] in ("submitted", "granted", "returned"):
            done = li_na.post(f"{at}/withdraw", headers={"If-Match": f'"{now_["version"]}"'})
            assert done.status_code == 200, done.text


# --- every path for every role ----------------------------------------------------------------------------

ALL = "all"
OBJECTED = {
    "subscriber": "school", "view": VIEW, "partition": 0, "offset": 0, "fields": ["full_name"], "claim": "c",
}  # fmt: skip
OBJECTION_MATRIX: list[tuple[str, str, Any, dict[str, int]]] = [
    ("GET", "/api/objections/{id}", None, {"all": 200, "foreign": 404}),
    ("POST", "/api/objections", OBJECTED, {"all": 403, "requester": 409}),
    ("POST", "/api/objections/{id}/answer", {"version": 9}, {"all": 403, "steward": 412}),
    ("POST", "/api/objections/{id}/reject", {"version": 9}, {"all": 403, "steward": 412}),
    ("POST", "/api/objections/{id}/correct", {"version": 9}, {"all": 403, "steward": 412}),
    ("POST", "/api/objections/{id}/withdraw", {"version": 9}, {"all": 403, "requester": 412}),
    ("POST", "/api/objections/{id}/answer", {}, {"all": 400}),
]
"""Of an objection that is there; as MATRIX."""
SEEN = ["requester", "steward", "authority", "operations", "auditor", "administrator", "foreign"]
OPERATORS = {"steward": 409, "operations": 409, "administrator": 409}
OVERTAKEN = {"requester": 412, "steward": 412, "authority": 412}
OWN_ONLY = {"requester": 403, "steward": 403, "foreign": 403}
MATRIX: list[tuple[str, str, Any, dict[str, int]]] = [
    # method, path, body, status by role; ALL: every role that is not named
    ("GET", "/api/me", None, {ALL: 200}),
    ("GET", "/api/status", None, {ALL: 200}),
    ("GET", "/api/overview", None, {ALL: 200}),
    ("GET", "/api/live", None, {ALL: 200, **OWN_ONLY}),
    ("GET", "/api/resources", None, {ALL: 200}),
    ("GET", "/api/resource?name=not.there", None, {ALL: 404}),
    ("GET", "/api/alerts", None, {ALL: 200, **OWN_ONLY}),
    ("GET", "/api/quality?month=2026-11", None, {ALL: 200, "requester": 403}),
    ("GET", "/api/routes", None, {ALL: 200}),
    ("GET", "/api/route?topic=a&view_topic=b", None, {ALL: 404}),
    ("GET", "/api/accounts/balance", None, {ALL: 200}),
    ("GET", "/api/refusals", None, {ALL: 200}),
    ("GET", "/api/subscribers", None, {ALL: 200}),
    ("GET", "/api/corrections", None, {ALL: 200}),
    ("GET", "/api/requests", None, {ALL: 200}),
    ("GET", "/api/requests/choices", None, {ALL: 200}),
    ("GET", "/api/requests/{id}/certificate", None, {ALL: 404}),
    ("GET", "/api/requests/{id}", None, {ALL: 200, "foreign": 404}),
    ("GET", "/api/requests/999999", None, {ALL: 404}),
    ("GET", "/api/objections", None, {ALL: 200}),
    ("GET", "/api/objections/choices", None, {ALL: 200}),
    ("GET", "/api/objections/999999", None, {ALL: 404}),
    ("POST", "/api/objections", {}, {ALL: 400}),
    ("POST", "/api/objections/999999/answer", {"version": 1}, {ALL: 404}),
    ("GET", "/api/catalogue", None, {ALL: 200}),
    ("GET", "/api/catalogue/population.person", None, {ALL: 200}),
    ("GET", "/api/catalogue/not.there", None, {ALL: 404}),
    ("GET", "/api/catalogue/export?format=csv", None, {ALL: 200}),
    ("POST", "/api/catalogue/import?name=a.txt&dry_run=true", None, {ALL: 400}),
    ("POST", "/api/catalogue/population.person/edit", {}, {ALL: 400}),
    (
        "POST",
        "/api/catalogue/population.person/settle",
        {"library": "l", "element": "e", "reason": "r"},
        {ALL: 409},
    ),
    ("GET", "/api/decisions", None, {ALL: 403, "auditor": 200, "authority": 200, "administrator": 200}),
    ("GET", "/api/not/there", None, {ALL: 404, **OWN_ONLY}),
    ("POST", "/api/requests", {"subscriber": "school", "view": VIEW}, {ALL: 403, "requester": 409}),
    ("POST", "/api/requests/{id}/submit", {"version": 2}, {ALL: 409}),
    ("POST", "/api/requests/{id}/approve", {"version": 1}, {ALL: 403, **OVERTAKEN}),
    ("POST", "/api/requests/{id}/return", {"version": 2}, {ALL: 403, "steward": 409}),
    ("POST", "/api/requests/{id}/withdraw", {"version": 1}, {ALL: 403, **OVERTAKEN}),
    ("POST", "/api/requests/{id}/end", {"version": 2, "reason": "r"}, {ALL: 409}),
    ("POST", "/api/requests/{id}/renew", {}, {ALL: 403, "requester": 409}),
    ("POST", "/api/requests/{id}/certify", {}, {ALL: 403, "steward": 409}),
    ("POST", "/api/requests/preview", {"view": VIEW}, {ALL: 200}),
    (
        "POST",
        "/api/requests/decisions",
        {"decisions": [{"request": 999999, "act": "approve", "version": 1}]},
        {ALL: 200},
    ),
    ("GET", "/api/report?month=2026-11", None, {ALL: 200, **OWN_ONLY}),
    ("POST", "/api/alerts/999999/acknowledge", None, {ALL: 403, "operations": 409, "administrator": 409}),
    (
        "POST",
        "/api/alerts/999999/silence",
        {"reason": "r", "for_s": 60},
        {ALL: 403, "operations": 409, "administrator": 409},
    ),
    ("GET", "/api/connectors", None, {ALL: 200}),
    ("GET", "/api/inbox", None, {ALL: 200}),
    ("GET", "/api/inbox?limit=0", None, {ALL: 400}),
    ("POST", "/api/connectors/population/snapshot/pause", {}, {ALL: 403, **OPERATORS}),
    (
        "POST",
        "/api/connectors/population/snapshot/start",
        {"table": "public.person"},
        {ALL: 403, **OPERATORS},
    ),
    ("POST", "/api/connectors/population/snapshot/start", {}, {ALL: 400}),
    (
        "POST",
        "/api/connectors/population/resnapshot",
        {"dry_run": False},
        {ALL: 403, **OPERATORS},
    ),
    ("POST", "/api/connectors/population/resume", {}, {ALL: 403, **OPERATORS}),
    ("POST", "/api/connectors/population/pause", {}, {ALL: 403, **OPERATORS}),
    ("GET", "/api/quarantine?resource=population.person", None, {ALL: 403, "steward": 200}),
    (
        "POST",
        "/api/quarantine/open",
        {"resource": "population.person", "place": "0:7", "private_key": "k"},
        {ALL: 403, "steward": 409},
    ),
    (
        "POST",
        "/api/quarantine/redrive",
        {"resource": "population.person", "reason": "range", "dry_run": True, "private_key": "k"},
        {ALL: 403, "steward": 409},
    ),
    ("GET", "/api/users", None, {ALL: 403, "auditor": 200, "administrator": 200}),
    ("POST", "/api/users", {"name": "not-there", "password": "x" * 12}, {ALL: 403, "administrator": 409}),
    ("POST", "/api/users/not-there/disable", None, {ALL: 403, "administrator": 409}),
    ("GET", "/api/login", None, {ALL: 200, "": 200}),
    ("POST", "/api/login", {"name": "li-na"}, {ALL: 400, "": 400}),
    ("POST", "/api/logout", None, {ALL: 204}),
]


def cells(bus: Bus, number: int, tried: list[tuple[str, str, Any, dict[str, int]]]) -> list[str]:
    """Try each path for each role, and without any; return what is not as the table has it."""
    wrong = []
    for role in ["", *SEEN]:
        with bus.client(role) as client:
            for method, path, body, by_role in tried:
                wanted = by_role.get(role, by_role[ALL] if role else 401)
                with client.stream(method, path.replace("{id}", str(number)), json=body) as answer:
                    pass  # a stream that is let in has no end
                if answer.status_code != wanted:
                    wrong.append(f"{role or 'nobody'} {method} {path}: {answer.status_code}, not {wanted}")
                if answer.is_error and answer.headers["content-type"] != "application/problem+json":
                    wrong.append(f"{role or 'nobody'} {method} {path}: no problem document")
    return wrong


def test_each_path_answers_each_role_as_the_table_says(bus: Bus, asked: dict[str, Any]) -> None:
    assert cells(bus, asked["id"], MATRIX) == []


def test_the_table_has_every_path_of_the_interface(bus: Bus) -> None:
    with bus.client() as client:
        document = client.get("/openapi.json").json()
    there = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/api")
    }
    tables = [*MATRIX, *OBJECTION_MATRIX, *ENTRY_MATRIX]
    tried = {(m, re.sub(r"\?.*", "", p).replace("population.person", "{resource}")) for m, p, *_ in tables}
    tried |= {
        (m, re.sub(r"(/\d+)", "/{id}", p).replace("/not-there/disable", "/{name}/{act}")) for m, p in tried
    }
    tried |= {(m, re.sub(r"/population/snapshot/\w+", "/{system}/snapshot/{act}", p)) for m, p in tried}
    tried |= {(m, re.sub(r"/population/(pause|resume)", "/{system}/{act}", p)) for m, p in tried}
    tried |= {(m, p.replace("/population/resnapshot", "/{system}/resnapshot")) for m, p in tried}
    expanded = tried | {(m, re.sub(r"(\{(?:id|resource)\})/\w+$", r"\1/{act}", p)) for m, p in tried}
    assert there <= expanded


def test_the_check_of_the_table_sees_a_gate_that_is_open(
    bus: Bus, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a role too many at one path, in an application of this process."""
    app = an_app(bus.stack.settings)
    monkeypatch.setitem(gate.ACCESS, ("GET", "/api/decisions"), gate.EVERY_ROLE)
    headers = {"Authorization": f"Bearer {bus.tokens['li-na']}"}
    assert call(app, "GET", "/api/decisions", headers=headers).status_code == 200
    monkeypatch.undo()
    assert call(app, "GET", "/api/decisions", headers=headers).status_code == 403


def test_no_name_of_the_server_leads_round_the_gate(bus: Bus) -> None:
    """Frameworks make the URL from the Host header too: its path must not be the one that is looked up."""
    with bus.client() as client:
        for host in ("x/api/login?", "x/api/login#", "x/api/login;", "127.0.0.1/api/login?"):
            for path in ("/api/status", "/api/requests", "/api/decisions", "/api/login/../status"):
                assert client.get(path, headers={"Host": host}).status_code in (400, 401), (host, path)
        assert client.get("/api%2Fstatus").status_code in (400, 401, 404)
        assert client.get(f"{bus.url}//api/status").status_code == 404


def test_a_path_that_nobody_thought_of_is_shut(bus: Bus) -> None:
    assert gate.allowed_roles("GET", "/api/new/thing") == SEES_ALL
    assert gate.allowed_roles("DELETE", "/api/requests/1") == SEES_ALL
    assert gate.allowed_roles("GET", "/api/requests/1/2") == SEES_ALL


def test_refused_attempts_are_written_down_with_who_and_why(bus: Bus, asked: dict[str, Any]) -> None:
    with bus.client("auditor") as sun_li:
        refused = sun_li.post(f"/api/requests/{asked['id']}/approve", json={"version": asked["version"]})
        assert refused.status_code == 403
        told = sun_li.get(f"/api/decisions?request={asked['id']}&outcome=refused").json()["decisions"]
        assert [(one["actor"], one["event"]) for one in told] == [("sun-li", "approve")]
        assert "not steward" in told[0]["reason"]
        table = sun_li.get("/api/decisions?format=csv")
        assert table.headers["content-type"].startswith("text/csv")
        assert table.text.splitlines()[0].startswith("sequence,at,actor")
        assert "sun-li" in table.text


def test_each_role_is_shown_what_is_its_own(bus: Bus, asked: dict[str, Any]) -> None:
    listed = {}
    for role in SEEN:
        with bus.client(role) as client:
            listed[role] = [one["id"] for one in client.get("/api/requests").json()["requests"]]
            me = client.get("/api/me").json()
            assert me["name"] == ROLE[role]
            assert role == "foreign" or [one["role"] for one in me["roles"]] == [role]
    assert asked["id"] not in listed.pop("foreign")
    assert all(asked["id"] in found for found in listed.values())


def test_who_dealt_with_an_alert_and_why_stands_in_the_decisions(bus: Bus) -> None:
    with Store.of(bus.stack.settings) as store:
        [one] = AlertStore(store).keep([an_alert(where="raw.dealt.public.t", key="dealt")], [], {}, 1000)[-1:]
    with bus.client("operations") as chen_hao, bus.client("auditor") as sun_li:
        wrong = chen_hao.post(f"/api/alerts/{one.id}/silence", json={"reason": " ", "for_s": 60})
        assert (wrong.status_code, "needs a reason" in wrong.json()["detail"]) == (409, True)
        dealt = chen_hao.post(
            f"/api/alerts/{one.id}/silence", json={"reason": "the source moves", "for_s": 3600}
        )
        assert (dealt.status_code, dealt.json()["state"], dealt.json()["by"]) == (200, "silenced", "chen-hao")
        told = sun_li.get(f"/api/decisions?order=newest&about=alert {one.id}").json()["decisions"]
        assert [(said["actor"], said["event"], said["outcome"]) for said in told[:2]] == [
            ("chen-hao", "silence", "done"),
            ("chen-hao", "silence", "refused"),
        ]
        assert told[0]["reason"] == "the source moves"
        assert sun_li.get("/api/decisions?since=2000-01-01&until=2000-01-02").json()["decisions"] == []
        table = sun_li.get(f"/api/decisions?format=csv&about=alert {one.id}").text
        rows = [(row["actor"], row["event"], row["about"]) for row in csv.DictReader(table.splitlines())]
        assert rows == [("chen-hao", "silence", f"alert {one.id}")] * 2


def test_the_machine_deals_with_nothing(bus: Bus) -> None:
    token = bus.stack.settings.secrets.get(MACHINE_TOKEN).get_secret_value()
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{bus.url}/api/alerts/999999/acknowledge"
    answer = httpx.post(url, headers=headers, trust_env=False, timeout=60)
    assert (answer.status_code, "by a person" in answer.json()["detail"]) == (403, True)


def test_an_administrator_lets_in_and_shuts_out_and_no_password_is_shown(bus: Bus) -> None:
    forget_attempts(bus)
    with bus.client("administrator") as wu_gang, bus.browser() as browser:
        added = wu_gang.post("/api/users", json={"name": "zhou-jie", "password": PASSWORD + CANARY})
        assert (added.status_code, added.json()) == (201, {"name": "zhou-jie", "event": "add"})
        assert wu_gang.post("/api/users", json={"name": "zhou-jie", "password": PASSWORD}).status_code == 409
        short = wu_gang.post("/api/users", json={"name": "zhao-min", "password": CANARY[:5]})
        assert (short.status_code, "12 to 1024" in short.json()["detail"]) == (409, True)
        assert log_in(browser, "zhou-jie", PASSWORD + CANARY).status_code == 200
        assert wu_gang.post("/api/users/zhou-jie/disable").status_code == 200
        assert browser.get("/api/me").status_code == 401
        own = wu_gang.post("/api/users/wu-gang/disable")
        assert (own.status_code, "themselves" in own.json()["detail"]) == (409, True)
        listed = wu_gang.get("/api/users?limit=500")
        found = {one["name"]: one for one in listed.json()["users"]}
        assert (found["zhou-jie"]["account"], found["zhou-jie"]["roles"]) == (
            "disabled",
            [{"role": "steward", "department": "police"}],
        )
        assert wu_gang.get("/api/users?limit=2&offset=2").json()["next_offset"] == 4
        stewards = wu_gang.get("/api/users?role=steward").json()
        assert [one["name"] for one in stewards["users"]] == ["other-steward", "wang-wei", "zhou-jie"]
        noted = wu_gang.get("/api/decisions?about=user zhou-jie")
        assert [(one["event"], one["outcome"]) for one in noted.json()["decisions"]] == [
            ("add", "done"),
            ("add", "refused"),
            ("disable", "done"),
        ]
        assert not any(secret in listed.text + noted.text for secret in (PASSWORD, CANARY, "argon2"))
        assert wu_gang.post("/api/users/zhou-jie/enable").status_code == 200


def test_a_month_is_assessed_as_the_command_does(bus: Bus) -> None:
    with bus.client("auditor") as sun_li:
        found = sun_li.get("/api/report?month=2026-10").json()
        book = sun_li.get("/api/report?month=2026-10&format=xlsx")
    made = bus.run("report", "--month", "2026-10")
    assert made.returncode == 0, made.stderr
    assert {**json.loads(made.stdout), "made_at": ""} == {**found, "made_at": ""}
    assert 'filename="sharing-2026-10.xlsx"' in book.headers["content-disposition"]
    sheets = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(book.content)).sheet_names
    assert len(sheets) == 3


# --- one after the other ----------------------------------------------------------------------------------


def test_a_request_is_granted_and_ended_over_http(bus: Bus, asked: dict[str, Any]) -> None:
    at = f"/api/requests/{asked['id']}"
    with bus.client("steward") as wang_wei:
        shown = wang_wei.get(at)
        granted = wang_wei.post(f"{at}/approve", headers={"If-Match": shown.headers["ETag"]})
        assert (granted.status_code, granted.json()["state"]) == (200, "granted"), granted.text
        assert granted.json()["notes"] == []
        assert "school" in bus.stack.admin.readers_of(f"share.{VIEW}")
        stale = wang_wei.post(f"{at}/end", headers={"If-Match": shown.headers["ETag"]}, json={"reason": "r"})
        assert stale.status_code == 412
        ended = wang_wei.post(f"{at}/end", json={"version": 3, "reason": "over"}).json()
        assert (ended["state"], ended["notes"], ended["is_certified"]) == ("revoked", [], True)
    assert "school" not in bus.stack.admin.readers_of(f"share.{VIEW}")


def test_a_proposed_view_is_shown_to_who_decides_and_in_force_when_the_answer_comes(bus: Bus) -> None:
    view = "population.person.asked"
    proposed = {"fields": {"id_number": "token", "full_name": "redact"}, "rows": []}
    body = {"subscriber": "school", "view": view, "purpose": "p", "legal_basis": "l", "proposed": proposed}
    with (
        bus.client("requester") as li_na,
        bus.client("steward") as wang_wei,
        bus.client("foreign") as foreign,
    ):
        clear = proposed | {"fields": {"id_number": "token", "full_name": "clear"}}
        refused = li_na.post("/api/requests", json=body | {"proposed": clear})
        assert (refused.status_code, "fields.full_name" in refused.json()["detail"]) == (409, True)
        assert foreign.post("/api/requests", json=body).status_code == 403
        draft = li_na.post("/api/requests", json=body).json()
        at = f"/api/requests/{draft['id']}"
        asked = li_na.post(f"{at}/submit", json={"version": 1}).json()
        assert (asked["state"], asked["route"]) == ("submitted", "steward")
        assert foreign.get(at).status_code == 404
        shown = wang_wei.get(at).json()
        assert (shown["resource"], shown["is_view_changed"]) == ("population.person", False)
        assert shown["acts"] == ["approve", "return"]
        assert shown["proposed"]["fields"]["full_name"] == {"kind": "redact", "text": "***"}
        answer = wang_wei.post(f"{at}/approve", json={"version": 2})
        assert answer.status_code == 200, answer.text
        granted = answer.json()
        assert (granted["state"], "snapshot start population" in granted["notes"][0]) == ("granted", True)
        assert "school" in bus.stack.admin.readers_of(f"share.{view}")
        assert bus.run("plan").returncode == 0
        wait_for(
            lambda: [one["view"] for one in li_na.get("/api/requests/choices?text=asked").json()["views"]],
            "others may ask for it",
        )
        known = li_na.post("/api/requests/preview", json={"view": view, "subscriber": "school"}).json()
        assert (known["route"], known["problems"]) == ("steward", [])
        ended = wang_wei.post(f"{at}/end", json={"version": 3, "reason": "over"}).json()
        assert (ended["state"], ended["is_certified"]) == ("revoked", True)
        assert "school" not in bus.stack.admin.readers_of(f"share.{view}")


def test_the_end_of_a_grant_is_certified_and_bars_no_later_one(bus: Bus, asked: dict[str, Any]) -> None:
    at = f"/api/requests/{asked['id']}"
    with bus.client("steward") as wang_wei, bus.client("foreign") as foreign:
        assert wang_wei.post(f"{at}/approve", json={"version": 2}).json()["notes"] == []
        assert wang_wei.get(f"{at}/certificate").status_code == 404
        assert wang_wei.post(f"{at}/end", json={"version": 3, "reason": "over"}).json()["notes"] == []
        detail, answer = wang_wei.get(at).json(), wang_wei.get(f"{at}/certificate")
        assert foreign.get(f"{at}/certificate").status_code == 404
    assert detail["certificate"]["problem"] == ""
    assert [one["event"] for one in detail["history"]] == ["new", "submit", "approve", "revoke", "certify"]
    key = Signer(bus.stack.settings.secrets).public_key
    told = verify(answer.text, key, "it")
    assert (told["kind"], told["request"], told["actor"], told["reason"]) == (
        "ended", asked["id"], "wang-wei", "over",
    )  # fmt: skip
    assert "attachment" in answer.headers["content-disposition"]
    with pytest.raises(SealError):
        verify(answer.text.replace("over", "0ver"), key, "it")
    body = {"subscriber": "school", "view": VIEW, "purpose": "p", "legal_basis": "l"}
    with bus.client("requester") as li_na, bus.client("steward") as wang_wei:
        again = f"/api/requests/{li_na.post('/api/requests', json=body).json()['id']}"
        li_na.post(f"{again}/submit", json={"version": 1})
        assert wang_wei.post(f"{again}/approve", json={"version": 2}).json()["notes"] == []
        assert "school" in bus.stack.admin.readers_of(f"share.{VIEW}")
        li_na.post(f"{again}/withdraw", json={"version": 3})


def late(app: Any, bus: Bus, number: int, version: int) -> list[int]:
    """Do all that is done to requests to an older version of one, named in each way; return the answers."""
    answers = []
    for role in ("requester", "steward", "authority"):
        headers = {"Authorization": f"Bearer {bus.tokens[ROLE[role]]}"}
        for act in ("submit", "approve", "return", "withdraw", "end"):
            at, body = f"/api/requests/{number}/{act}", {"reason": "r"}
            if_match = headers | {"If-Match": f'"{version}"'}
            answers += [
                call(app, "POST", at, headers=if_match, json=body).status_code,
                call(app, "POST", at, headers=headers, json=body | {"version": version}).status_code,
            ]
        several = [
            {"request": number, "act": act, "version": version, "reason": "r"}
            for act in ("approve", "return", "end")
        ]
        told = call(app, "POST", "/api/requests/decisions", headers=headers, json={"decisions": several})
        answers += [one["status"] for one in told.json()["outcomes"]]
    return answers


def test_who_was_overtaken_is_told_so_whatever_state_it_came_to(
    bus: Bus, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two deciders look at one version; what the first one did leaves nothing that the second one meant."""
    app, at = an_app(bus.stack.settings), f"/api/requests/{asked['id']}"
    with bus.client("steward") as wang_wei, bus.client("requester") as li_na:
        assert wang_wei.get(at).headers["ETag"] == li_na.get(at).headers["ETag"] == '"2"'
        assert wang_wei.post(f"{at}/return", json={"version": 2, "reason": "r"}).status_code == 200
        assert set(late(app, bus, asked["id"], 2)) == {412}
        assert li_na.post(f"{at}/withdraw", json={"version": 3}).status_code == 200
    assert set(late(app, bus, asked["id"], 3)) == {412}
    with bus.client("foreign") as foreign:
        assert foreign.post(f"{at}/approve", json={"version": 2}).status_code == 409
    monkeypatch.setattr(authority, "takes_part", lambda *_: False)  # planted: role and state are judged first
    assert set(late(app, bus, asked["id"], 3)) == {409}


def offered(bus: Bus, number: int) -> list[str]:
    """Try every act on a version that is not there, in every role; return where offer and answer differ.

    What may be done is refused as stale, or as lacking what goes with it; the rest for whoever asks it.
    """
    wrong = []
    for role in ("requester", "steward", "authority", "auditor"):
        with bus.client(role) as client:
            acts = client.get(f"/api/requests/{number}").json()["acts"]
            for act in ("submit", "approve", "return", "withdraw", "end"):
                body = {"version": 999, "reason": "r"}
                answer = client.post(f"/api/requests/{number}/{act}", json=body)
                may = answer.status_code == 412 and "version 999 was shown" in answer.json()["detail"]
                if may != (act in acts):
                    wrong.append(f"{role} {act}: {answer.text}")
    return wrong


def test_what_is_not_offered_is_refused(bus: Bus, asked: dict[str, Any]) -> None:
    at = f"/api/requests/{asked['id']}"
    assert offered(bus, asked["id"]) == []
    with bus.client("steward") as wang_wei:
        assert wang_wei.get(at).json()["acts"] == ["approve", "return"]
        waiting = wang_wei.get("/api/requests?waiting=true").json()["requests"]
        assert asked["id"] in [one["id"] for one in waiting]
        wang_wei.post(f"{at}/approve", json={"version": 2})
        assert wang_wei.get(at).json()["acts"] == ["end"]
        assert offered(bus, asked["id"]) == []
    with bus.client("requester") as li_na:
        assert li_na.get(at).json()["acts"] == ["withdraw", "renew"]


def test_the_check_of_offers_sees_one_too_many(bus: Bus, asked: dict[str, Any]) -> None:
    """Planted: an application that looks at the state alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "expect_step", lambda *_: None)
        headers = {"Authorization": f"Bearer {bus.tokens['sun-li']}"}
        app = an_app(bus.stack.settings)
        shown = call(app, "GET", f"/api/requests/{asked['id']}", headers=headers).json()
    assert "approve" in shown["acts"]
    refused = call(app, "POST", f"/api/requests/{asked['id']}/approve", headers=headers, json={"version": 2})
    assert refused.status_code == 403


def test_a_preview_shows_a_made_up_record_and_what_is_wrong(bus: Bus) -> None:
    with bus.client("requester") as li_na:
        shown = li_na.post("/api/requests/preview", json={"view": VIEW, "subscriber": "school"}).json()
        assert (shown["route"], shown["needs_purpose"], shown["problems"]) == ("steward", True, [])
        texts = {one["showing"]["path"]: one["text"] for one in shown["fields"]}
        assert texts["id_number"].startswith("t1_")
        assert texts["full_name"].endswith("*")
        masks = {"id_number": "token", "full_name": "clear"}
        body = {"resource": "population.person", "fields": masks}
        wrong = li_na.post("/api/requests/preview", json=body).json()
        assert [one["showing"]["path"] for one in wrong["fields"] if one["problem"]] == ["full_name"]
        both = li_na.post("/api/requests/preview", json=body | {"view": VIEW})
        assert both.status_code == 400
        choices = li_na.get("/api/requests/choices?text=basic").json()
        assert [one["name"] for one in choices["subscribers"]] == ["school", "tax"]
        assert [one["view"] for one in choices["views"]] == [VIEW]
        assert li_na.get("/api/requests/choices?text=streets").json()["views"] == []


def test_several_are_decided_on_each_for_itself(bus: Bus, asked: dict[str, Any]) -> None:
    decisions = [
        {"request": 999_999, "act": "approve", "version": 1},
        {"request": asked["id"], "act": "approve", "version": 1},
        {"request": asked["id"], "act": "return", "version": 2, "reason": "purpose is missing"},
    ]
    with bus.client("steward") as wang_wei:
        answer = wang_wei.post("/api/requests/decisions", json={"decisions": decisions}).json()
    assert [one["status"] for one in answer["outcomes"]] == [404, 412, 200]
    assert answer["outcomes"][2]["after"]["state"] == "returned"


def at_once(*does: Callable[[], httpx.Response]) -> list[int]:
    start, done = threading.Barrier(len(does)), []

    def run(do: Callable[[], httpx.Response]) -> None:
        start.wait(60)
        done.append(do().status_code)

    threads = [threading.Thread(target=run, args=(do,)) for do in does]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    return sorted(done)


def test_of_several_decisions_at_once_one_holds(bus: Bus, asked: dict[str, Any]) -> None:
    """Two approvers beside a withdrawal, then an end beside another and a withdrawal, of one version each."""
    at = f"/api/requests/{asked['id']}"
    clients = [bus.client("steward"), bus.client("steward"), bus.client("requester")]
    clients[1].headers["Authorization"] = f"Bearer {bus.tokens['zhou-jie']}"

    def does(version: int, *words: str) -> list[int]:
        body = {"version": version, "reason": "r"}
        pairs = zip(clients, words, strict=True)
        return at_once(*(partial(one.post, f"{at}/{word}", json=body) for one, word in pairs))

    assert does(2, "approve", "approve", "withdraw") == [200, 412, 412]
    if clients[2].get(at).json()["state"] == "granted":
        assert does(3, "end", "end", "withdraw") == [200, 412, 412]
    for client in clients:
        client.close()
    assert "school" not in bus.stack.admin.readers_of(f"share.{VIEW}")


def test_a_grant_ends_on_its_day_without_a_command(bus: Bus, asked: dict[str, Any]) -> None:
    at = f"/api/requests/{asked['id']}"
    with bus.client("steward") as wang_wei:
        assert wang_wei.post(f"{at}/approve", json={"version": 2}).json()["state"] == "granted"
        with Store.of(bus.stack.settings) as store, store.change() as change:
            held = change.request(asked["id"])
            over = {"version": held.version + 1, "until": dt.date(2020, 1, 1)}
            change.replace(held.model_copy(update=over))
        wait_for(lambda: wang_wei.get(at).json()["state"] == "expired", "the sweep ends the grant")
        wait_for(lambda: "school" not in bus.stack.admin.readers_of(f"share.{VIEW}"), "access is taken away")
        wait_for(lambda: wang_wei.get("/api/status").json()["sweep"]["text"] == "ok", "the sweep is shown")


def test_a_sweep_that_fails_is_shown(bus: Bus) -> None:
    file = bus.folder / "topology.yaml"
    with bus.client("operations") as chen_hao:
        try:
            file.write_text(TEXT.replace("resource: population.person", "resource: population.nobody", 1))
            failed = wait_for(
                lambda: (now_ := chen_hao.get("/api/status").json()["sweep"])["ok"] is False and now_,
                "the failure in the status",
            )
            assert "topology.yaml" in failed["text"]
            told = chen_hao.post("/api/requests", json={"subscriber": "school", "view": VIEW})
            assert told.status_code == 503
        finally:
            file.write_text(TEXT)
        wait_for(lambda: chen_hao.get("/api/status").json()["sweep"]["ok"], "it goes on")


# --- sessions and tokens ----------------------------------------------------------------------------------


def test_a_session_is_of_a_new_id_and_ends_by_logout(bus: Bus) -> None:
    """Whatever id an attacker put into the browser before."""
    forget_attempts(bus)
    with bus.browser() as browser:
        browser.cookies.set(gate.COOKIE, "planted-by-an-attacker")
        first = log_in(browser)
        assert (first.status_code, first.json()["name"]) == (200, "li-na"), first.text
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        session = cookie.partition(";")[0].partition("=")[2]
        browser.cookies.clear()
        browser.cookies.set(gate.COOKIE, session)
        assert session != "planted-by-an-attacker"
        assert browser.get("/api/me").json()["name"] == "li-na"
        again = log_in(browser).headers["set-cookie"].partition(";")[0].partition("=")[2]
        browser.cookies.clear()
        browser.cookies.set(gate.COOKIE, session)
        assert browser.get("/api/me").status_code == 401
        browser.cookies.clear()
        browser.cookies.set(gate.COOKIE, again)
        assert browser.post("/api/logout").status_code == 204
        browser.cookies.clear()
        browser.cookies.set(gate.COOKIE, again)
        assert browser.get("/api/me").status_code == 401


def test_another_sites_page_changes_nothing(bus: Bus) -> None:
    forget_attempts(bus)
    body = {"subscriber": "school", "view": "population.person.none"}
    with bus.browser() as browser:
        assert log_in(browser).status_code == 200
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": ""},
        ):
            answer = browser.post("/api/requests", json=body, headers=headers)
            assert (answer.status_code, "Origin" in answer.json()["detail"]) == (403, True), headers
        assert browser.post("/api/requests", json=body).status_code == 409
        login = httpx.post(
            f"{bus.url}/api/login", json={"name": "li-na", "password": PASSWORD},
            headers={"Origin": "https://evil.example"}, trust_env=False,
        )  # fmt: skip
        assert login.status_code == 403


def test_what_is_expired_revoked_or_disabled_lets_nobody_in(bus: Bus) -> None:
    with Store.of(bus.stack.settings) as store:
        accounts = Accounts(store, now)
        past = Accounts(store, lambda: now() - dt.timedelta(days=2000))
        expired = past.new_token("sun-li", ("auditor",), "", 60)[1]
        number, revoked = accounts.new_token("sun-li", ("auditor",), "", 60)
        accounts.add("sun-li", PASSWORD)
        session = accounts.open_session("sun-li", None, 60)
        old = past.open_session("sun-li", None, 60)
        tried = {"expired": expired, "unknown": "exb_" + "x" * 43}

        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return httpx.get(f"{bus.url}/api/me", headers=headers, trust_env=False, timeout=60).status_code

        def by_cookie(id_: str) -> int:
            cookies = {gate.COOKIE: id_}
            return httpx.get(f"{bus.url}/api/me", cookies=cookies, trust_env=False, timeout=60).status_code

        assert {name: status(token) for name, token in tried.items()} == dict.fromkeys(tried, 401)
        assert (status(revoked), by_cookie(session), by_cookie(old)) == (200, 200, 401)
        accounts.revoke_token(number)
        assert status(revoked) == 401
        accounts.set_disabled("sun-li", True)
        assert (status(bus.tokens["sun-li"]), by_cookie(session)) == (401, 401)
        accounts.set_disabled("sun-li", False)
        assert (status(bus.tokens["sun-li"]), by_cookie(session)) == (200, 401)
        kept = json.dumps([accounts.users(), accounts.tokens()]) + dump(store)
        assert not any(secret in kept for secret in (PASSWORD, expired, revoked, session))


def dump(store: Store) -> str:
    import sqlalchemy as sa

    with store.beside() as connection:
        tables = ("accounts", "sessions", "tokens")
        return str([connection.execute(sa.text(f"SELECT * FROM {table}")).all() for table in tables])  # noqa: S608


def test_a_token_is_for_its_roles_alone(bus: Bus) -> None:
    made = bus.run("token", "new", "other-steward", "--role", "steward", "--json")
    assert made.returncode == 0, made.stderr
    token = json.loads(made.stdout)
    headers = {"Authorization": f"Bearer {token['token']}"}
    me = httpx.get(f"{bus.url}/api/me", headers=headers, trust_env=False, timeout=60).json()
    assert [(one["role"], one["department"]) for one in me["roles"]] == [("steward", "tax")]
    asked = bus.run("request", "new", "school", VIEW, "--as", "other-steward", EXCHANGE_TOKEN=token["token"])
    assert (asked.returncode, "not requester" in asked.stderr) == (1, True)
    approve = ("request", "approve", "1:1", "--as", "wang-wei")
    other = bus.run(*approve, EXCHANGE_TOKEN=token["token"])
    assert (other.returncode, "another person's" in other.stderr) == (1, True)
    assert token["token"] not in asked.stderr + other.stderr
    assert bus.run("token", "revoke", str(token["id"])).returncode == 0
    after = bus.run("request", "new", "school", VIEW, "--as", "other-steward", EXCHANGE_TOKEN=token["token"])
    assert "not valid" in after.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("request", "new", "school", VIEW),
        ("objection", "show", "1"),
        ("objection", "withdraw", "1", "--version", "1"),
        ("catalogue", "retire", "population.person", "--version", "1", "--reason", "r"),
        ("decisions",),
    ],
    ids=" ".join,
)
def test_without_a_token_nobody_acts_in_anothers_name(bus: Bus, words: tuple[str, ...]) -> None:
    done = bus.run(*words, "--as", "wang-wei")
    assert (done.returncode, "a token of wang-wei is wanted" in done.stderr) == (1, True), done.stderr


def test_an_administrator_who_acts_without_a_token_stands_in_the_decision(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = bus.stack
    topology = Identity(stack.settings).declared.known()
    desk_of = partial(Desk, topology=topology, contracts={})
    with Store.of(stack.settings) as store:
        monkeypatch.setattr(command, "os_user", lambda: "li-na")  # no administrator
        with pytest.raises(NotAllowedError, match="the user here, 'li-na', is none"):
            command.acting(stack.settings, store, topology, "wang-wei")
        monkeypatch.setattr(command, "os_user", lambda: "wu-gang")
        command.acting(stack.settings, store, topology, "wang-wei")
        with pytest.raises(NotAllowedError, match="not requester"):
            desk_of(store).new("wang-wei", Asked("school", VIEW), now())
        last = list(decisions_after(store, 0))[-1]
    assert (last.actor, last.by, last.outcome) == ("wang-wei", "wu-gang", "refused")


def test_corrections_are_shown_to_those_whom_they_concern(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requester's subscribers hold no grant of the view, and the foreign steward has another source."""
    place = Place(offset=1, position="a/0")
    corrected = Objection(
        state=State.CORRECTED, subscriber="school", view=VIEW, fields=("full_name",), partition=0, offset=0,
        change=place, claim=CANARY, filer="li-na", correction=Place(offset=2, position="a/1"), since=now(),
    )  # fmt: skip
    with Store.of(bus.stack.settings) as store, store.change() as change:
        Versioned("objections", Objection, "objection").add(change, corrected)

    def shown() -> dict[str, int]:
        counts = {}
        for role in SEEN:
            with bus.client(role) as client:
                answer = client.get("/api/corrections", params={"view": VIEW})
                assert CANARY not in answer.text
                counts[role] = answer.json()["total"]
        return counts

    wanted = dict.fromkeys(SEEN, 1) | {"requester": 0, "foreign": 0}
    assert shown() == wanted
    app = an_app(bus.stack.settings)
    monkeypatch.setattr(Identity, "sight", lambda *_: None)  # planted: everybody sees everything
    corrections.add(app, Identity(bus.stack.settings))
    headers = {"Authorization": f"Bearer {bus.tokens['li-na']}"}
    assert call(app, "GET", "/api/corrections", headers=headers).json()["total"] == 1


# --- the catalogue ----------------------------------------------------------------------------------------

ENTRY = "/api/catalogue/population.person"
CONTENT = {
    "library_kind": "base", "library": "人口", "description_zh": CANARY, "contact": "大数据科",
}  # fmt: skip
ENTRY_MATRIX: list[tuple[str, str, Any, dict[str, int]]] = [
    ("GET", ENTRY, None, {ALL: 200}),
    ("POST", f"{ENTRY}/new", {}, {ALL: 403, "steward": 409}),
    ("POST", f"{ENTRY}/edit", {"version": 999}, {ALL: 403, "steward": 412}),
    ("POST", f"{ENTRY}/submit", {"version": 999}, {ALL: 403, "steward": 412}),
    ("POST", f"{ENTRY}/withdraw", {"version": 999}, {ALL: 409}),
    ("POST", f"{ENTRY}/publish", {"version": 999}, {ALL: 409}),
    ("POST", f"{ENTRY}/return", {"version": 999}, {ALL: 409}),
    ("POST", f"{ENTRY}/retire", {"version": 999, "reason": "r"}, {ALL: 403, "authority": 412}),
]
"""Of an entry that is a draft; as MATRIX."""


@pytest.fixture
def entry(bus: Bus) -> Iterator[dict[str, Any]]:
    """Yield a draft of an entry, retired at the end."""
    with bus.client("steward") as wang_wei, bus.client("authority") as zhao_min:
        drafted = wang_wei.post(f"{ENTRY}/new", json=CONTENT)
        assert drafted.status_code == 200, drafted.text
        yield drafted.json()
        now_ = zhao_min.get(ENTRY).json()
        if "retire" not in now_["acts"]:
            zhao_min.post(f"{ENTRY}/return", json={"version": now_["version"], "reason": "r"})
            now_ = zhao_min.get(ENTRY).json()
        done = zhao_min.post(f"{ENTRY}/retire", json={"version": now_["version"], "reason": "over"})
        assert done.status_code == 200, done.text


def test_each_path_of_an_entry_answers_each_role_as_the_table_says(bus: Bus, entry: dict[str, Any]) -> None:
    assert entry["state"] == "draft"
    assert cells(bus, 0, ENTRY_MATRIX) == []


def test_a_draft_of_an_entry_is_shown_and_found_by_those_whom_it_concerns(
    bus: Bus, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> dict[str, bool]:
        found = {}
        for role in SEEN:
            with bus.client(role) as client:
                hits = client.get("/api/catalogue", params={"words": CANARY}).json()["total"]
                found[role] = CANARY in client.get(ENTRY).text
                assert found[role] == (hits == 1)
        return found

    assert shown() == dict.fromkeys(SEEN, True) | {"requester": False, "foreign": False}
    app, headers = an_app(bus.stack.settings), {"Authorization": f"Bearer {bus.tokens['li-na']}"}
    assert CANARY not in call(app, "GET", ENTRY, headers=headers).text
    monkeypatch.setattr(entries, "seen", lambda sheet, *_: sheet)  # planted: nobody looks whose draft it is
    monkeypatch.setattr(entries, "sees_draft", lambda *_: True)
    assert CANARY in call(app, "GET", ENTRY, headers=headers).text


def exported(answer: httpx.Response) -> str:
    """Return the text of an export, unpacked where it is packed."""
    assert answer.status_code == 200, answer.text
    if not answer.content.startswith(b"PK"):
        return answer.content.decode()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        return "".join(packed.read(part).decode() for part in packed.namelist())


@pytest.mark.parametrize("format_", ["csv", "xlsx", "odcs", "dcat"])
def test_an_export_holds_what_the_caller_may_see(
    bus: Bus, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    path = f"/api/catalogue/export?format={format_}&resource=population.person"
    found = {}
    for role in SEEN:
        with bus.client(role) as client:
            text = exported(client.get(path))
        found[role] = CANARY in text
        assert "population.street" not in text
    hidden = {"requester": False, "foreign": False}
    assert found == dict.fromkeys(SEEN, format_ != "dcat") | hidden, "a draft is not public"
    app, headers = an_app(bus.stack.settings), {"Authorization": f"Bearer {bus.tokens['li-na']}"}
    assert call(app, "GET", f"{path}&resource=not.there", headers=headers).status_code == 404
    if format_ != "dcat":
        monkeypatch.setattr(entry_files, "seen", lambda sheet, *_: sheet)  # planted: nobody looks whose it is
        assert CANARY in exported(call(app, "GET", path, headers=headers))


def imported(client: httpx.Client, name: str, content: bytes, *, dry_run: bool) -> httpx.Response:
    return client.post("/api/catalogue/import", params={"name": name, "dry_run": dry_run}, content=content)


def test_an_import_is_tried_and_then_taken_in_whole_or_not_at_all(bus: Bus, entry: dict[str, Any]) -> None:
    with bus.client("steward") as wang_wei, bus.client("foreign") as stranger:
        exports = wang_wei.get("/api/catalogue/export?format=csv&resource=population.person").content
        same = imported(wang_wei, "a.csv", exports, dry_run=True).json()
        assert same["rows"] == [
            {"where": "a.csv:2", "resource": "population.person", "new": False, "changed": [], "refused": []}
        ]
        changed = exports.replace("大数据科".encode(), "信息科".encode())
        tried = imported(wang_wei, "a.csv", changed, dry_run=True).json()
        assert (tried["written"], tried["refused"], tried["rows"][0]["changed"]) == (False, 0, ["contact"])
        assert wang_wei.get(ENTRY).json()["version"] == entry["version"], "nothing was written"

        for content in (exports, changed):
            [row] = imported(stranger, "a.csv", content, dry_run=True).json()["rows"]
            assert (row["changed"], len(row["refused"])) == ([], 1), "what a draft says is not to be probed"
        denied = imported(stranger, "a.csv", changed, dry_run=False)
        assert (denied.status_code, "steward" in denied.json()["detail"]) == (409, True)
        bad = changed + b"population.persn,\n"
        refused = imported(wang_wei, "a.csv", bad, dry_run=False)
        assert refused.status_code == 409
        assert "Did you mean" in refused.json()["errors"][0]
        assert wang_wei.get(ENTRY).json()["draft"]["contact"] == "大数据科"

        done = imported(wang_wei, "a.csv", changed, dry_run=False)
        assert (done.status_code, done.json()["written"]) == (200, True), done.text
        now_ = wang_wei.get(ENTRY).json()
        assert (now_["draft"]["contact"], now_["history"][-1]["event"]) == ("信息科", "edit")


def test_each_broken_file_is_answered_with_its_error(bus: Bus) -> None:
    broken = {
        "a.txt": (b"", "of another kind"),
        "a.csv": ("resource\n人口".encode("gb18030"), "not UTF-8"),
        "b.csv": (b"name\nx\n", "first row must name"),
        "a.xlsx": (b"PK", "not an Excel file"),
        "a.zip": (b"PK", "not a ZIP file"),
        "a.yaml": (b"a: &a [*a]", "anchors"),
        "a.jsonld": (b"[" * 100_000, "not JSON"),
    }
    with bus.client("steward") as wang_wei:
        for name, (content, told) in broken.items():
            answer = imported(wang_wei, name, content, dry_run=True)
            assert (answer.status_code, told in answer.json()["detail"]) == (400, True), answer.text
        large = imported(wang_wei, "a.csv", b"x" * (formats.MOST_BYTES + 1), dry_run=True)
        assert (large.status_code, "8 MiB" in large.json()["detail"]) == (413, True)
        assert imported(wang_wei, "../a.csv", b"", dry_run=True).status_code == 400


def test_an_entry_is_returned_mended_and_published_over_http(bus: Bus, entry: dict[str, Any]) -> None:
    with bus.client("steward") as wang_wei, bus.client("authority") as zhao_min:
        assert (entry["acts"], zhao_min.get(ENTRY).json()["acts"]) == (["edit", "submit"], ["retire"])
        first = {"If-Match": wang_wei.get(ENTRY).headers["ETag"]}
        submitted = wang_wei.post(f"{ENTRY}/submit", headers=first)
        assert (submitted.status_code, submitted.json()["acts"]) == (200, ["withdraw"]), submitted.text
        waiting = zhao_min.get("/api/catalogue?waiting=true").json()["entries"]
        assert "population.person" in [one["resource"] for one in waiting]
        version = submitted.json()["version"]
        assert zhao_min.post(f"{ENTRY}/return", json={"version": version, "reason": " "}).status_code == 409
        returned = zhao_min.post(f"{ENTRY}/return", json={"version": version, "reason": "names no use"})
        assert (returned.json()["state"], returned.json()["reason"]) == ("returned", "names no use")
        stale = wang_wei.post(f"{ENTRY}/edit", headers=first, json={"contact": "科"})
        assert (stale.status_code, "was shown" in stale.json()["detail"]) == (412, True)
        shown = {"If-Match": wang_wei.get(ENTRY).headers["ETag"]}
        edited = wang_wei.post(f"{ENTRY}/edit", headers=shown, json={"contact": ""})
        assert (edited.json()["draft"]["contact"], edited.json()["acts"]) == ("", ["edit"])
        again = {"If-Match": edited.headers["ETag"]}
        edited = wang_wei.post(f"{ENTRY}/edit", headers=again, json=CONTENT)
        body = {"version": edited.json()["version"]}
        body = {"version": wang_wei.post(f"{ENTRY}/submit", json=body).json()["version"]}
        done = zhao_min.post(f"{ENTRY}/publish", json=body).json()
        assert (done["state"], done["draft"], done["notes"]) == ("published", None, [])
        assert (done["in_force"]["library"], done["publications"][-1]["by"]) == ("人口", "zhao-min")
        assert done["claims"] == []
        assert [(one["actor"], one["event"]) for one in done["history"]][-6:] == [
            ("wang-wei", "submit"), ("zhao-min", "return"), ("wang-wei", "edit"),
            ("wang-wei", "edit"), ("wang-wei", "submit"), ("zhao-min", "publish"),
        ]  # fmt: skip
    with bus.client("requester") as li_na:
        seen = li_na.get(ENTRY).json()
        assert (seen["in_force"]["library"], seen["draft"], seen["history"]) == ("人口", None, [])


def published(bus: Bus, at: str) -> dict[str, Any]:
    """Return an entry that is published."""
    with bus.client("steward") as wang_wei, bus.client("authority") as zhao_min:
        now_ = wang_wei.get(at).json()
        if "new" in now_["acts"]:
            now_ = wang_wei.post(f"{at}/new", json=CONTENT).json()
        submitted = wang_wei.post(f"{at}/submit", json={"version": now_["version"]}).json()
        done = zhao_min.post(f"{at}/publish", json={"version": submitted["version"]})
        assert done.status_code == 200, done.text
        shown: dict[str, Any] = done.json()
        return shown


def test_the_one_source_of_an_element_is_named_over_http(bus: Bus, entry: dict[str, Any]) -> None:
    street = ENTRY.replace("person", "street")
    published(bus, ENTRY)
    [claim] = published(bus, street)["claims"]
    assert (claim["source"], claim["may_settle"], len(claim["fields"])) == ("", True, 2)
    body = {"library": claim["library"], "element": claim["element"], "reason": "law"}
    with bus.client("steward") as wang_wei, bus.client("authority") as zhao_min:
        assert [one["may_settle"] for one in wang_wei.get(ENTRY).json()["claims"]] == [False]
        assert wang_wei.post(f"{ENTRY}/settle", json=body).status_code == 403
        assert zhao_min.post(f"{ENTRY}/settle", json=body | {"reason": " "}).status_code == 409
        settled = zhao_min.post(f"{ENTRY}/settle", json=body).json()
        assert [one["source"] for one in settled["claims"]] == ["population.person"]
        version = zhao_min.get(street).json()["version"]
        retired = zhao_min.post(f"{street}/retire", json={"version": version, "reason": "over"})
        assert (retired.status_code, retired.json()["acts"]) == (200, [])


# --- objections -------------------------------------------------------------------------------------------

RAW = raw_topic("population", "public.person")


@pytest.fixture(scope="module")
def delivered(bus: Bus) -> dict[str, int]:
    """Write two changes of a row into the raw topic, and the record of the first into the view's.

    Returns the offset of the last one in each topic: what access is tried with stands there too.
    """
    client = bus.stack.settings.kafka_client("admin")
    producer = Producer(client | {"transactional.id": "objections-of-the-api"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for topic, index in ((RAW, 1), (RAW, 5), (f"share.{VIEW}", 1)):
        producer.produce(topic, key=frame(1, b"row"), value=b"{}", partition=0, headers=header(index))
    producer.commit_transaction(60)
    with closing(CommittedReader(client, [RAW, f"share.{VIEW}"])) as reader:
        last: dict[str, int] = {}

        def is_there() -> bool:
            last.update({str(one.topic()): one.offset() or 0 for one in reader.read() if one.headers()})
            return last.keys() == {RAW, f"share.{VIEW}"}

        wait_for(is_there, "what was written is committed")
    return last


def objected(delivered: dict[str, int]) -> dict[str, Any]:
    """Return an objection to the record."""
    return OBJECTED | {"offset": delivered[f"share.{VIEW}"], "claim": CANARY}


@pytest.fixture
def objection(bus: Bus, asked: dict[str, Any], delivered: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield an objection to a record of a view that is granted, taken back at the end."""
    with bus.client("steward") as wang_wei, bus.client("requester") as li_na:
        granted = wang_wei.post(f"/api/requests/{asked['id']}/approve", json={"version": 2})
        assert granted.json()["notes"] == [], granted.text
        filed = li_na.post("/api/objections", json=objected(delivered))
        assert filed.status_code == 201, filed.text
        yield filed.json()
        at = f"/api/objections/{filed.json()['id']}"
        now_ = li_na.get(at).json()
        if "withdraw" in now_["acts"]:
            done = li_na.post(f"{at}/withdraw", json={"version": now_["version"]})
            assert done.status_code == 200, done.text


def test_each_path_of_an_objection_answers_each_role_as_the_table_says(
    bus: Bus, objection: dict[str, Any]
) -> None:
    assert cells(bus, objection["id"], OBJECTION_MATRIX) == []


def texts_shown(bus: Bus, number: int) -> dict[str, str]:
    """Return what each role is shown of an objection's texts, lists included."""
    shown = {}
    for role in SEEN:
        with bus.client(role) as client:
            listed, one = client.get("/api/objections"), client.get(f"/api/objections/{number}")
            assert CANARY not in listed.text
            seen = number in [each["id"] for each in listed.json()["objections"]]
            assert seen == (one.status_code == 200)
            shown[role] = "no" if not seen else "texts" if CANARY in one.text else "places"
    return shown


SHOWN = dict.fromkeys(SEEN, "places") | {"requester": "texts", "steward": "texts", "foreign": "no"}


def test_an_objection_and_its_texts_are_shown_to_those_whom_they_concern(
    bus: Bus, objection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert texts_shown(bus, objection["id"]) == SHOWN
    at, app = f"/api/objections/{objection['id']}", an_app(bus.stack.settings)
    foreign = {"Authorization": f"Bearer {bus.tokens['other-steward']}"}
    auditor = {"Authorization": f"Bearer {bus.tokens['sun-li']}"}
    assert call(app, "GET", at, headers=foreign).status_code == 404
    assert call(app, "GET", at, headers=auditor).json()["texts"] is None
    # planted: nobody looks whose objection it is, and whose its texts are
    monkeypatch.setattr(objections, "sees_objection", lambda *_: True)
    monkeypatch.setattr(ObjectionDesk, "expect_may_read", lambda *_: None)
    assert call(app, "GET", at, headers=foreign).status_code == 200
    assert call(app, "GET", at, headers=auditor).json()["texts"]["claim"] == CANARY


def test_an_objection_is_answered_and_corrected_over_http_and_its_marker_written(
    bus: Bus, objection: dict[str, Any], delivered: dict[str, int]
) -> None:
    at = f"/api/objections/{objection['id']}"
    with bus.client("steward") as wang_wei, bus.client("requester") as li_na:
        assert objection["acts"] == ["withdraw"]
        again = li_na.post("/api/objections", json=objected(delivered))
        assert (again.status_code, "same fields" in again.json()["detail"]) == (409, True)
        shown = wang_wei.get(at)
        assert shown.json()["acts"] == ["answer", "reject", "correct"]
        waiting = wang_wei.get("/api/objections?waiting=true").json()["objections"]
        assert objection["id"] in [one["id"] for one in waiting]
        etag = {"If-Match": shown.headers["ETag"]}
        assert wang_wei.post(f"{at}/answer", headers=etag, json={"text": " "}).status_code == 409
        answered = wang_wei.post(f"{at}/answer", headers=etag, json={"text": f"{CANARY} is looked at"})
        assert (answered.status_code, answered.json()["state"]) == (200, "answered"), answered.text
        stale = wang_wei.post(f"{at}/correct", headers=etag)
        assert (stale.status_code, li_na.get(at).headers["ETag"]) == (412, answered.headers["ETag"])
        other = wang_wei.post(f"{at}/correct", json={"version": 2, "position": "not there"})
        assert (other.status_code, "none of the row's later" in other.json()["detail"]) == (409, True)
        done = wang_wei.post(f"{at}/correct", json={"version": 2}).json()
        assert (done["state"], done["correction"]["offset"], done["acts"]) == (
            "corrected", delivered[RAW], [],
        )  # fmt: skip
        assert [(one["actor"], one["event"]) for one in done["history"]] == [
            ("li-na", "new"), ("wang-wei", "answer"), ("wang-wei", "correct"),
        ]  # fmt: skip
    client = bus.stack.settings.kafka_client("admin")
    marked = (done["position"], done["correction"]["position"])

    def is_told() -> bool:
        found = (each.correction for each in read_corrections(client))
        return marked in [(one.wrong, one.corrected) for one in found]

    wait_for(is_told, "the marker in Kafka")
    with bus.client("auditor") as sun_li:
        told = sun_li.get(f"/api/decisions?about=objection {objection['id']}").text
    assert "wang-wei" in told
    assert CANARY not in told + bus.stack.log("monitor")


def test_what_is_not_offered_of_an_objection_is_refused(bus: Bus, objection: dict[str, Any]) -> None:
    at = f"/api/objections/{objection['id']}"

    def differs() -> list[str]:
        wrong = []
        for role in ("requester", "steward", "authority", "auditor"):
            with bus.client(role) as client:
                acts = client.get(at).json()["acts"]
                for act in ("answer", "reject", "correct", "withdraw"):
                    answer = client.post(f"{at}/{act}", json={"version": 999, "text": "t"})
                    if (answer.status_code == 412) != (act in acts):
                        wrong.append(f"{role} {act}: {answer.text}")
        return wrong

    assert differs() == []
    with bus.client("requester") as li_na:
        choices = li_na.get(f"/api/objections/choices?text={VIEW}").json()["choices"]
        assert [(one["subscriber"], one["view"], one["fields"]) for one in choices] == [
            ("school", VIEW, ["id_number", "full_name", "region_code"])
        ]


# --- the inbox --------------------------------------------------------------------------------------------


def waits_for(client: httpx.Client, **page: int) -> dict[str, Any]:
    answer = client.get("/api/inbox", params=page)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def is_urgent_first(found: dict[str, Any]) -> bool:
    days = [(one["due"] is None, one["due"] or "") for one in found["waiting"]]
    return days == sorted(days)


def test_the_inbox_has_what_waits_for_a_person_most_urgent_first_and_in_pages(
    bus: Bus, objection: dict[str, Any]
) -> None:
    with bus.client("requester") as li_na:
        draft = li_na.post("/api/requests", json={"subscriber": "tax", "view": VIEW}).json()
        own = waits_for(li_na)
        assert draft["id"] in [one["request"]["id"] for one in own["waiting"]]
        submitted = li_na.post(
            f"/api/requests/{draft['id']}/submit", json={"version": 1, "purpose": "p", "legal_basis": "l"}
        ).json()
    with bus.client("steward") as wang_wei:
        whole = waits_for(wang_wei)
        lists = {
            "request": wang_wei.get("/api/requests?waiting=true").json()["requests"],
            "objection": wang_wei.get("/api/objections?waiting=true").json()["objections"],
            "entry": wang_wei.get("/api/catalogue?waiting=true").json()["entries"],
        }
        alone = [waits_for(wang_wei, limit=1, offset=number) for number in range(whole["total"])]
    assert kinds_of(whole) == {"request", "objection", "entry"}
    for kind, shown in lists.items():
        assert [one[kind] for one in whole["waiting"] if one["kind"] == kind] == shown
    assert is_urgent_first(whole)
    assert whole["waiting"][0]["due"] is not None
    assert [one for page in alone for one in page["waiting"]] == whole["waiting"]
    assert CANARY not in json.dumps(whole)
    for role in ("foreign", "auditor", "operations"):
        with bus.client(role) as client:
            assert not {"request", "objection"} & kinds_of(waits_for(client)), role
    with bus.client("requester") as li_na:
        taken_back = {"version": submitted["version"]}
        assert li_na.post(f"/api/requests/{draft['id']}/withdraw", json=taken_back).status_code == 200


def test_the_checks_of_the_inbox_see_an_order_that_is_none_and_anothers_objection(
    bus: Bus, objection: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: nobody sorts; and nobody looks whose objection it is."""
    app = an_app(bus.stack.settings)
    steward = {"Authorization": f"Bearer {bus.tokens['wang-wei']}"}
    monkeypatch.setattr(inbox, "first_due_first", lambda found, _: [*found][::-1])
    assert not is_urgent_first(call(app, "GET", "/api/inbox", headers=steward).json())
    foreign = {"Authorization": f"Bearer {bus.tokens['other-steward']}"}
    assert "objection" not in kinds_of(call(app, "GET", "/api/inbox", headers=foreign).json())
    monkeypatch.setattr(objections, "sees_objection", lambda *_: True)
    monkeypatch.setattr(objections, "objection_acts", lambda *_: ("answer",))
    assert "objection" in kinds_of(call(app, "GET", "/api/inbox", headers=foreign).json())


def kinds_of(found: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in found["waiting"]}


def test_commands_of_the_machine_see_the_figures(bus: Bus) -> None:
    status = bus.run("status", "--json")
    assert json.loads(status.stdout)["figures"]["at_ms"], status.stderr


# --- guessing ---------------------------------------------------------------------------------------------


def test_guessing_is_stopped_even_with_the_right_password(bus: Bus) -> None:
    forget_attempts(bus)
    with bus.client() as client:
        tries = [log_in(client, password=f"wrong guess {n}").status_code for n in range(12)]
        assert tries == [401] * attempts.PER_NAME_AND_ADDRESS + [429] * 2
        right = log_in(client)
        assert right.status_code == 429
        assert int(right.headers["Retry-After"]) > 0
        assert log_in(client, "wang-wei").status_code == 200
    forget_attempts(bus)


def test_a_role_is_needed_to_log_in(bus: Bus) -> None:
    forget_attempts(bus)
    with bus.client() as client:
        answer = log_in(client, "no-role")
        assert (answer.status_code, "no role" in answer.json()["detail"]) == (403, True)
        assert log_in(client, "nobody-at-all").status_code == 401


def test_without_redis_nobody_logs_in_by_a_password(bus: Bus) -> None:
    away = bus.stack.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{any_free(frozenset())}/0"})
    answer = call(an_app(away), "POST", "/api/login", json={"name": "li-na", "password": PASSWORD})
    assert answer.status_code == 503
    assert "attempts" in answer.json()["detail"]


def test_no_password_or_token_is_in_a_log_or_an_answer(bus: Bus) -> None:
    forget_attempts(bus)
    with bus.client() as client:
        answers = [
            log_in(client, password=CANARY).text,
            log_in(client, CANARY).text,
            client.post("/api/login", json={"name": "li-na", "password": [CANARY]}).text,
            client.post("/api/login", content=f'{{"password": "{CANARY}",').text,
            client.get("/api/me", headers={"Authorization": f"Bearer {CANARY}"}).text,
        ]
    refused = bus.run("user", "password", "li-na", given=CANARY[:5] + "\n")
    assert refused.returncode == 1
    said = "".join(answers) + refused.stderr + bus.stack.log("monitor")
    for secret in (CANARY, PASSWORD, *bus.tokens.values()):
        assert secret not in said
    assert "login_refused" in said


# --- invented calls ---------------------------------------------------------------------------------------

ENDLESS = "/api/live"
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
NOT_THERE = (307, 405)  # what was invented for a part of the path made another path of it
NOT_HTTP = "Invalid HTTP request received."
"""Of the server, where an invented header made it no request at all: nothing of it came to the interface."""
EXAMPLES = int(os.environ.get("EXCHANGE_API_EXAMPLES", "2"))


def name_what_is_there(case: schemathesis.Case[Any], there: dict[str, Any]) -> None:
    """Have an invented call be about what there is, which an invented name hardly ever is."""
    for part in ("path_parameters", "query", "body"):
        given_ = getattr(case, part)
        if isinstance(given_, dict):
            setattr(case, part, {**given_, **{name: there[name] for name in given_ if name in there}})


def invented(bus: Bus, role: str, there: dict[str, dict[str, Any]] | None = None) -> int:
    """Call every operation with invented requests; return how many were made.

    there: beginning of a path → names and numbers of what there is, which every other call is about; without
    it the same requests are invented each time.
    """
    with bus.client() as client:
        document = client.get("/openapi.json").json()
    document["paths"] = {
        path: one for path, one in document["paths"].items() if path.startswith("/api/") and path != ENDLESS
    }
    made = 0
    schema = schemathesis.openapi.from_dict(document)
    operations = [schema[path][method] for path, one in document["paths"].items() for method in one]
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=EXAMPLES,
                derandomize=there is None,
                suppress_health_check=list(HealthCheck),
                database=None,
            )
            @given(case=operation.as_strategy(generation_mode=mode), is_there=st.booleans())
            def ask(case: schemathesis.Case[Any], is_there: bool) -> None:
                nonlocal made
                if case.path == "/api/logout":
                    return
                for beginning, names in (there or {}).items():
                    if is_there and case.path.startswith(beginning):
                        name_what_is_there(case, names)
                headers = {"Authorization": f"Bearer {bus.tokens[ROLE[role]]}"} if role else {}
                answer = case.call(base_url=bus.url, headers=headers)
                made += 1
                if answer.status_code not in NOT_THERE and answer.text != NOT_HTTP:
                    case.validate_response(answer, checks=CHECKS)

            with suppress(Unsatisfiable, SkipTest):  # nothing of it can be broken
                ask()
    return made


def take_back_all(bus: Bus) -> None:
    """Withdraw what invented calls asked for, or asked to have renewed, of the view that there is."""
    with bus.client("requester") as li_na:
        for one in li_na.get(f"/api/requests?view={VIEW}").json()["requests"]:
            if "withdraw" in one["acts"]:
                done = li_na.post(f"/api/requests/{one['id']}/withdraw", json={"version": one["version"]})
                assert done.status_code == 200, done.text


@pytest.mark.parametrize("role", ["requester"])
def test_the_interface_is_as_its_document_says(bus: Bus, role: str) -> None:
    forget_attempts(bus)
    assert invented(bus, role) > 0


@pytest.mark.slow_faults
@pytest.mark.parametrize("role", ["", *SEEN])
def test_the_interface_is_as_its_document_says_for_all(
    bus: Bus,
    role: str,
    asked: dict[str, Any],
    objection: dict[str, Any],
    entry: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_attempts(bus)
    monkeypatch.setattr(sys.modules[__name__], "EXAMPLES", 25)
    names = {"resource": entry["resource"], "view": VIEW, "subscriber": "school", "system": "population"}
    there: dict[str, dict[str, Any]] = {
        "/api/": names | {"table": "public.person"},
        "/api/requests/": {"id": asked["id"], "request": asked["id"]},
        "/api/objections/": {"id": objection["id"]},
    }
    try:
        assert invented(bus, role, there) > 0
    finally:
        take_back_all(bus)
