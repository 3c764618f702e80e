"""`exchange contract draft` on real tables: what it writes is a contract, and holds no value of the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exchange.files.contracts import load_contracts
from tests.stack import Stack, running_stack
from tests.trial.people import id_number

TOPOLOGY = """\
departments:
  office: {label: {zh: 局, en: Office}}
systems:
  town: {department: office, kind: postgres, connection_env: TOWN_DSN}
resources: {}
"""
TABLE = """
CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE TYPE odd AS ENUM ('a b', '好');
CREATE DOMAIN money2 AS numeric(12,2);
CREATE TABLE person (
    sfzh varchar(18) PRIMARY KEY, xm varchar(50) NOT NULL, c1 text, c2 bigint, c3 text,
    amount money2, plain numeric, born date, seen timestamptz, local timestamp, at time, ok boolean NOT NULL,
    small smallint, f4 real, f8 float8, u uuid, by bytea, j jsonb, m mood, o odd, tags text[],
    "备注" text, iv interval, empty text);
COMMENT ON TABLE person IS '常住人口';
COMMENT ON COLUMN person.c1 IS '家庭住址';
COMMENT ON COLUMN person.born IS '出生日期';
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(["postgres"]) as running:
        yield running


@dataclass
class Town:
    stack: Stack
    files: Path
    dsn: str

    def draft(self, *args: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "EXCHANGE_HOME": str(self.stack.home),
            "EXCHANGE_TOPOLOGY": str(self.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(self.files / "avro"),
            "TOWN_DSN": self.dsn,
        }
        command = [sys.executable, "-m", "exchange.cli", "contract", "draft", "town", *args]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def town(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Town:
    dsn = stack.create_database(f"f{abs(hash(request.node.nodeid)) % 10**8}")
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(TABLE)
        insert = (
            "INSERT INTO person (sfzh, xm, c1, c2, c3, ok) "
            "VALUES (%s, '王canary', '浙江省杭州市canary路1号', %s, %s, true)"
        )
        for number in range(40):
            values = [id_number(number), 13800000000 + number, f"见{id_number(number + 50)}"]
            db.execute(insert, values)
    return Town(stack, tmp_path, dsn)


def fields_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in document["fields"]}


def test_the_draft_is_a_contract_with_strict_guesses_and_no_value(town: Town) -> None:
    file = town.files / "avro" / "population" / "person.avsc"
    done = town.draft("public.person", "-o", str(file))
    assert done.returncode == 0, done.stderr
    contract = load_contracts(town.files / "avro")["population.person"]
    assert contract.key == ("sfzh",)
    assert (contract.label_zh, contract.version) == ("常住人口", 1)
    kinds = {name: (field.type.kind, field.type.nullable) for name, field in contract.fields.items()}
    assert kinds == {
        "sfzh": ("string", False),
        "xm": ("string", False),
        **dict.fromkeys(("c1", "c3", "o", "_u5907_u6ce8", "iv", "empty"), ("string", True)),
        **dict.fromkeys(("amount", "plain"), ("decimal", True)),
        "c2": ("long", True),
        "born": ("date", True),
        "seen": ("timestamp", True),
        "local": ("local_timestamp", True),
        "at": ("time", True),
        "ok": ("boolean", False),
        "small": ("int", True),
        "f4": ("float", True),
        "f8": ("double", True),
        "u": ("uuid", True),
        "by": ("bytes", True),
        "m": ("enum", True),
        "tags": ("array", True),
    }
    grades = {name: (field.sensitivity, field.classification) for name, field in contract.fields.items()}
    assert grades["sfzh"] == ("id_number", 4)
    assert grades["xm"] == ("person_name", 3)
    assert grades["c1"] == ("address", 3)
    assert grades["c2"] == ("mobile", 3)
    assert grades["c3"] == ("free_text", 4)
    assert grades["born"] == ("birth_date", 3)
    assert grades["_u5907_u6ce8"] == ("free_text", 3)
    assert grades["empty"] == (None, 3)
    assert grades["small"] == (None, 2)
    assert [rule.name for rule in contract.fields["sfzh"].rules] == ["length", "cn_id_number"]
    amount = contract.fields["amount"].type
    assert (amount.precision, amount.scale) == (12, 2)
    written = file.read_text() + done.stdout + done.stderr
    assert "canary" not in written
    assert not any(id_number(number) in written for number in range(100))
    assert "138000000" not in written
    assert "j                        left out               jsonb" in done.stderr


def test_without_a_look_at_values_texts_are_graded_strictly(town: Town) -> None:
    done = town.draft("public.person", "--no-sample", "--name", "a.b")
    document = json.loads(done.stdout)
    assert (document["namespace"], document["name"]) == ("a", "b")
    assert fields_of(document)["c3"]["classification"] == 3
    assert fields_of(document)["c3"]["doc"] == "Guessed: there were no values to look at."


def test_what_cannot_be_drafted_is_told(town: Town) -> None:
    with psycopg.connect(town.dsn, autocommit=True) as db:
        db.execute("CREATE TABLE keyless (id int); CREATE TABLE timed (at timestamptz PRIMARY KEY)")
    file = town.files / "kept.avsc"
    file.write_text("kept")
    for args, told in (
        (["public.keyless"], "table public.keyless has no primary key; give it one"),
        (["public.timed"], "field 'at' cannot be a key"),
        (["public.nowhere"], "there is no table public.nowhere"),
        (["person"], "'person' is not <schema>.<table>"),
        (["public.person", "-o", str(file)], "a draft never takes a contract's place"),
    ):
        done = town.draft(*args)
        assert done.returncode == 1
        assert told in done.stderr
    assert file.read_text() == "kept"


def test_the_session_can_change_nothing_and_hides_no_row(town: Town) -> None:
    """A policy that would hide rows is an error, not a smaller sample."""
    with psycopg.connect(town.dsn, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS drafter")
        db.execute("CREATE ROLE drafter LOGIN PASSWORD 'pw'; GRANT SELECT ON person TO drafter")
        db.execute("ALTER TABLE person ENABLE ROW LEVEL SECURITY")
        town.dsn = "postgresql://drafter:pw@" + town.dsn.rpartition("@")[2]
        done = town.draft("public.person")
        db.execute("DROP OWNED BY drafter; DROP ROLE drafter")
    assert done.returncode == 1
    assert "table public.person cannot be read (SQLSTATE 42501)" in done.stderr
