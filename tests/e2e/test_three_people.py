"""The days of steward, subscriber and operations, by commands and SQL in the source alone."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.stack import Stack, running_stack, wait_for
from tests.trial.people import id_number

RESOURCE, VIEW = "town.person", "town.person.tax"
HEAD = """\
departments:
  office: {label: {zh: 公安局, en: Police}}
  revenue: {label: {zh: 税务局, en: Revenue}}
systems:
  town: {department: office, kind: postgres, connection_env: TOWN_DSN}
people:
  wang-wei: {label: {zh: 王伟, en: Wang Wei}, roles: {steward: [office]}}
  zhao-min: {label: {zh: 赵敏, en: Zhao Min}, roles: {authority: [office]}}
  li-na: {label: {zh: 李娜, en: Li Na}, roles: {requester: [revenue]}}
  sun-li: {label: {zh: 孙丽, en: Sun Li}, roles: {auditor: [office]}}
"""
NOTHING_YET = "resources: {}\n"
SHARED = """\
resources:
  town.person:
    {label: {zh: 常住人口, en: Residents}, system: town, table: public.person, catalogue_code: T-1,
     share: conditional, review: authority, partitions: 2}
views:
  town.person.tax:
    resource: town.person
    label: {zh: 税务, en: Tax}
    fields: {sfzh: token, xm: {kind: partial, keep_first: 1}, status: clear}
subscribers:
  tax: {department: revenue, label: {zh: 税务系统, en: Tax system}}
"""
TABLE = """
CREATE TABLE person (sfzh varchar(18) PRIMARY KEY, xm varchar(50) NOT NULL, status varchar(10) NOT NULL);
ALTER TABLE person REPLICA IDENTITY FULL;
COMMENT ON TABLE person IS '常住人口';
COMMENT ON COLUMN person.sfzh IS '公民身份号码';
COMMENT ON COLUMN person.xm IS '姓名';
COMMENT ON COLUMN person.status IS '居住状态';
"""
CLAIM = "张三已于三月迁出"
PASSWORD = "correct horse battery staple"


@dataclass
class Town:
    """An installation, and who uses it by which token."""

    stack: Stack
    files: Path
    dsn: str
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    def run(
        self, *words: str, by: str = "", given: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, with the token of a person where one is named."""
        token = {"EXCHANGE_TOKEN": self.tokens[by]} if by else {}
        done = subprocess.run(
            [sys.executable, "-m", "exchange.cli", *words],
            env=os.environ | {"EXCHANGE_HOME": str(self.stack.home)} | token,
            input=given,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, f"exchange {' '.join(words)}: {done.stdout}{done.stderr}"
        return done

    def answer(self, *words: str, by: str = "") -> Any:
        return json.loads(self.run(*words, "--json", by=by).stdout)

    def acts(self, person: str, *words: str) -> Any:
        """Return the answer to somebody who acts with their token."""
        return self.answer(*words, "--as", person, by=person)

    def sql(self, statement: str, *values: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def consumed(self, *words: str) -> list[dict[str, Any]]:
        done = self.run("consume", "tax", VIEW, "--from", "earliest", "--json", *words, by="li-na")
        return [json.loads(line) for line in done.stdout.splitlines()]

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Run connector and worker."""
        started = []
        try:
            for words in (["connect", "town"], ["stream"]):
                with (self.stack.home / "logs" / f"{words[0]}.log").open("ab") as log:
                    command = [sys.executable, "-m", "exchange.cli", *words]
                    environment = os.environ | {"EXCHANGE_HOME": str(self.stack.home)}
                    started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
            yield
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(120)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    (tmp_path / "topology.yaml").write_text(HEAD + NOTHING_YET)
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(tmp_path / "topology.yaml"))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    with running_stack() as stack:
        town = Town(stack, tmp_path, stack.create_database("town"))
        monkeypatch.setenv("TOWN_DSN", town.dsn)
        town.sql(TABLE)
        for number in range(6):
            town.sql("INSERT INTO person VALUES (%s, %s, '常住')", id_number(number), f"张三{number}")
        yield town


@pytest.mark.slow_faults
@pytest.mark.timeout(1800)
def test_the_days_of_steward_subscriber_and_operations(town: Town, tmp_path: Path) -> None:
    steward_shares(town)
    subscriber_gets_the_view(town)
    with town.processes():
        subscriber_reads(town)
        subscriber_objects(town, tmp_path)
        operations_mends(town)
        operations_revokes(town)
    auditor_reads(town)


def steward_shares(town: Town) -> None:
    """The system is there; the resource gets a contract, a view and an entry of the catalogue."""
    contract = town.files / "avro" / "town" / "person.avsc"
    town.run("contract", "draft", "town", "public.person", "-o", str(contract))
    amend(contract, ["常住"])
    (town.files / "topology.yaml").write_text(HEAD + SHARED)
    assert "1 resource" in town.run("check").stdout
    for person in ("wang-wei", "zhao-min", "li-na", "sun-li"):
        town.run("user", "add", person, given=PASSWORD + "\n")
        town.tokens[person] = town.answer("token", "new", person)["token"]
    town.run("keys", "create", "office")
    assert "topic share.town.person.tax" in town.run("plan", code=2).stdout
    town.run("apply", "--yes")
    words = (
        "--library-kind",
        "base",
        "--library",
        "人口",
        "--description-zh",
        "全市常住人口",
        "--contact",
        "大数据科",
    )
    assert (
        "a token of wang-wei is wanted"
        in town.run("catalogue", "new", RESOURCE, "--as", "wang-wei", code=1).stderr
    )
    draft = town.acts("wang-wei", "catalogue", "new", RESOURCE, *words)
    handed_in = town.acts("wang-wei", "catalogue", "submit", RESOURCE, "--version", str(draft["version"]))
    version = str(handed_in["version"])
    assert (
        town.acts("zhao-min", "catalogue", "publish", RESOURCE, "--version", version)["state"] == "published"
    )


def subscriber_gets_the_view(town: Town) -> None:
    (found,) = town.answer("catalogue", "search", "身份号码")["resources"]
    assert (found["resource"], found["state"]) == (RESOURCE, "published")
    asked = town.acts(
        "li-na", "request", "new", "tax", VIEW, "--purpose", "个税汇算", "--legal-basis", "第六条"
    )
    number = str(asked["id"])
    town.acts("li-na", "request", "submit", number, "--version", "1")
    assert (
        "is not steward"
        in town.run(
            "request", "approve", number, "--version", "2", "--as", "li-na", by="li-na", code=1
        ).stderr
    )
    assert town.acts("wang-wei", "request", "approve", number, "--version", "2")["state"] == "at_authority"
    assert town.acts("zhao-min", "request", "approve", number, "--version", "3")["state"] == "granted"


def subscriber_reads(town: Town) -> None:
    records = wait_for(lambda: found if len(found := town.consumed()) == 6 else None, "six rows", 240)
    assert all(one["after"]["xm"].startswith("张*") for one in records)
    assert not any(
        id_number(n) in json.dumps(records) or f"三{n}" in json.dumps(records, ensure_ascii=False)
        for n in range(6)
    )

    told = f"group tax.{VIEW} on share.{VIEW}: up to date"
    wait_for(lambda: told in town.run("status").stdout, "the status that tax is not behind", 240)
    town.sql("UPDATE person SET xm = '李四' WHERE sfzh = %s", id_number(1))


def subscriber_objects(town: Town, tmp_path: Path) -> None:
    """A wrong value is objected to and mended at its source; the marker names both records."""
    (tmp_path / "text").write_text(CLAIM)
    wrong = wait_for(lambda: [one for one in town.consumed() if one["op"] == "u"], "the wrong row", 240)[0]
    place, text = f"{wrong['partition']}:{wrong['offset']}", str(tmp_path / "text")
    filed = town.acts("li-na", "objection", "new", "tax", VIEW, place, "--field", "xm", "--claim-file", text)
    number = str(filed["id"])
    assert CLAIM in json.dumps(town.acts("wang-wei", "objection", "show", number), ensure_ascii=False)
    town.acts("wang-wei", "objection", "answer", number, "--version", "1", "--text-file", text)
    town.sql("UPDATE person SET xm = '王五' WHERE sfzh = %s", id_number(1))
    wait_for(lambda: len([one for one in town.consumed() if one["op"] == "u"]) == 2, "the mended row", 240)
    assert town.acts("wang-wei", "objection", "correct", number, "--version", "2")["state"] == "corrected"
    told = town.consumed("--corrections")
    (marker,) = [one for one in told if one.get("kind") == "correction"]
    mended = [one for one in told if one.get("op") == "u"][-1]
    assert (marker["wrong"], marker["corrected"]) == (wrong["position"], mended["position"])
    assert town.answer("objection", "corrections", "tax")["corrections"][0]["wrong"] == wrong["position"]


def operations_mends(town: Town) -> None:
    """A row that the contract refuses is in quarantine, and comes through once the contract is mended."""
    town.sql("INSERT INTO person VALUES (%s, '赵六', '暂离')", id_number(9))
    refused = wait_for(lambda: town.run("quarantine", "list", RESOURCE, "--json").stdout, "the refusal", 240)
    (entry,) = map(json.loads, refused.splitlines())
    assert (entry["field"], "暂离" in refused) == ("status", False)
    wait_for(lambda: refused_by_the_status(town) == 1, "the status to tell it", 240)
    key = ("--key-file", str(town.stack.home / "keys" / "office.key"))
    assert "暂离" in town.run("quarantine", "show", RESOURCE, entry["place"], *key).stdout
    amend(town.files / "avro" / "town" / "person.avsc", ["常住", "暂离"])
    town.run("apply", "--yes")
    town.sql("INSERT INTO person VALUES (%s, '孙七', '暂离')", id_number(10))
    wait_for(lambda: len(away(town)) == 1, "a row by the mended contract", 240)
    town.run("quarantine", "redrive", RESOURCE, "--all", *key)
    wait_for(lambda: len(away(town)) == 2, "the row that was refused", 240)


def away(town: Town) -> list[Any]:
    return [one for one in town.consumed() if (one["after"] or {}).get("status") == "暂离"]


def refused_by_the_status(town: Town) -> int:
    figures = town.answer("status")["figures"]
    return sum(sum(route["refused"].values()) for route in figures["routes"] or ())


def operations_revokes(town: Town) -> None:
    town.run("revoke", "tax", VIEW, "--reason", "breach", "--as", "wang-wei")
    (certificate,) = (town.stack.home / "certificates").iterdir()
    assert town.answer("revoke-verify", str(certificate))["valid"]
    assert "error: " in town.run("consume", "tax", VIEW, code=1).stderr


def auditor_reads(town: Town) -> None:
    refused = town.run("decisions", "--as", "li-na", by="li-na", code=1)
    assert "decisions are read by" in refused.stderr
    text = town.run("decisions", "--as", "sun-li", by="sun-li").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(one["actor"], one["event"], one["outcome"]) for one in rows] == [
        ("wang-wei", "new", "done"),
        ("wang-wei", "submit", "done"),
        ("zhao-min", "publish", "done"),
        ("li-na", "new", "done"),
        ("li-na", "submit", "done"),
        ("li-na", "approve", "refused"),
        ("wang-wei", "approve", "done"),
        ("zhao-min", "approve", "done"),
        ("li-na", "new", "done"),
        ("wang-wei", "answer", "done"),
        ("wang-wei", "correct", "done"),
    ]
    assert CLAIM not in text


def amend(contract: Path, statuses: list[str]) -> None:
    """Say which values the status may have, in the next version of the contract."""
    document = json.loads(contract.read_text())
    (status,) = [one for one in document["fields"] if one["name"] == "status"]
    status["rules"] = [{"rule": "codes", "values": statuses}]
    document["contractVersion"] = len(statuses)
    contract.write_text(json.dumps(document, ensure_ascii=False))
