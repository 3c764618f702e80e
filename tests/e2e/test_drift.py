"""A source's tables change their shape under the bus: what no longer fits its contract halts alone.

Its changes are held in its raw topic, in order, and come through once each when a person has decided.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exchange import heartbeat
from tests.checkers.committed import CommittedReader
from tests.checkers.wire import Schemas, stamp
from tests.stack import Stack, running_stack, wait_for

TABLES = ("renamed", "dropped", "narrowed", "calm")
HEAD = """\
departments:
  office: {label: {zh: 局, en: Office}}
  school: {label: {zh: 学校, en: School}}
systems:
  drift: {department: office, kind: postgres, connection_env: DRIFT_DSN}
"""
RESOURCE = """\
  drift.TABLE:
    {label: {zh: 表, en: Table}, system: drift, table: public.TABLE, catalogue_code: D-TABLE,
     share: unconditional, partitions: 2}
"""
VIEW = """\
  drift.TABLE.all:
    resource: drift.TABLE
    label: {zh: 全, en: All}
    fields: {id: clear, note: clear, size: clear}
"""
CANARY = "canary-13912345678"


def contract(table: str, version: int = 1, **note: str) -> dict[str, Any]:
    label = {"zh": "列", "en": "Column"}
    return {
        "type": "record",
        "namespace": "drift",
        "name": table,
        "label": label,
        "contractVersion": version,
        "key": ["id"],
        "fields": [
            {"name": "id", "type": "long", "classification": 1, "label": label},
            {"name": "note", "type": "string", "classification": 1, "label": label, **note},
            {"name": "size", "type": "long", "classification": 1, "label": label},
        ],
    }


@dataclass
class Drift:
    """Four tables of one source, one connector, one worker, one view of each table."""

    stack: Stack
    files: Path
    db: psycopg.Connection[Any]
    reader: CommittedReader
    schemas: Schemas
    seen: dict[str, list[tuple[Any, Any]]] = field(default_factory=lambda: {table: [] for table in TABLES})
    raw: bytes = b""

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "EXCHANGE_HOME": str(self.stack.home),
            "EXCHANGE_TOPOLOGY": str(self.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(self.files / "avro"),
        }

    def write(self, table: str, **note: Any) -> None:
        (self.files / "avro" / "drift" / f"{table}.avsc").write_text(json.dumps(contract(table, **note)))

    def run(self, *args: str) -> None:
        command = [sys.executable, "-m", "exchange.cli", *args]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def process(self, *args: str) -> Iterator[Path]:
        log = self.stack.home / "logs" / f"{args[0]}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "exchange.cli", *args], stdout=out, stderr=out, env=self.environment
            )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(60)

    def insert(self, table: str, number: int, note: str = "note") -> None:
        sql = f"INSERT INTO {table} (id, {note}, size) VALUES (%s, 'x', 1)"  # noqa: S608 - our own names
        self.db.execute(sql.encode(), [number])

    def rows(self, table: str) -> list[Any]:
        """Return the ids readable in a table's view so far, in the order of their positions."""
        for message in self.reader.read(0.1):
            self.raw += (message.value() or b"") + (message.key() or b"")
            name = (message.topic() or "").split(".")[2]
            position = stamp(message.headers())
            assert position is not None
            self.seen[name].append((position.at, self.schemas.decode(message.value() or b"")))
        return [row["id"] for row in self.states(table)]

    def states(self, table: str) -> list[Any]:
        """Return the rows that a table's view has shown so far, in the order of their positions."""
        return [value["after"] for _, value in sorted(self.seen[table], key=lambda entry: entry[0])]

    def arrives(self, table: str, *numbers: int) -> None:
        wait_for(lambda: self.rows(table) == list(numbers), f"{table}: {numbers}, not {self.seen[table]}", 90)

    def halted(self) -> dict[str, str]:
        """Return the raw topics that the worker says it holds up, and why."""
        beats = heartbeat.read_all(heartbeat.connect(self.stack.settings))
        return {halt["topic"]: halt["reason"] for beat in beats for halt in beat["halted"]}


@pytest.fixture(scope="module")
def drift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drift]:
    files = tmp_path_factory.mktemp("drift")
    (files / "avro" / "drift").mkdir(parents=True)
    resources, views = ("".join(text.replace("TABLE", t) for t in TABLES) for text in (RESOURCE, VIEW))
    (files / "topology.yaml").write_text(f"{HEAD}resources:\n{resources}views:\n{views}")
    with ExitStack() as kept:
        stack = kept.enter_context(running_stack())
        dsn = stack.create_database("drift")
        stack.settings.secrets.put("DRIFT_DSN", dsn)
        db = kept.enter_context(psycopg.connect(dsn, autocommit=True))
        for table in TABLES:
            ddl = f"CREATE TABLE {table} (id bigint PRIMARY KEY, note text NOT NULL, size int NOT NULL)"
            db.execute(f"{ddl}; ALTER TABLE {table} REPLICA IDENTITY FULL".encode())
        made = Drift(stack, files, db, None, None)  # type: ignore[arg-type] # as soon as there are topics
        for table in TABLES:
            made.write(table)
        made.run("keys", "create", "office")
        made.run("apply", "--yes")
        topics = [f"share.drift.{table}.all" for table in TABLES]
        made.reader = CommittedReader(stack.settings.kafka_client("admin"), topics)
        made.schemas = Schemas(stack.settings.endpoints().registry)
        yield made
        made.reader.close()


def test_what_no_longer_fits_its_contract_halts_alone_and_comes_through_in_order_after_a_decision(
    drift: Drift,
) -> None:
    with drift.process("connect", "drift"), drift.process("stream") as worker:
        for table in TABLES:
            drift.insert(table, 1)
        for table in TABLES:
            drift.arrives(table, 1)

        # A new column is in no view, whatever it holds.
        drift.db.execute("ALTER TABLE calm ADD COLUMN phone text")
        drift.db.execute("INSERT INTO calm (id, note, size, phone) VALUES (2, 'x', 1, %s)", [CANARY])
        drift.arrives("calm", 1, 2)

        # Renamed while both run; the others go on.
        drift.db.execute("ALTER TABLE renamed RENAME note TO remark")
        for number in (2, 3, 4):
            drift.insert("renamed", number, "remark")
        wait_for(lambda: "raw.drift.public.renamed" in drift.halted(), "the halt of `renamed`", 90)
        assert "no column 'note'" in drift.halted()["raw.drift.public.renamed"]
        drift.insert("calm", 3)
        drift.arrives("calm", 1, 2, 3)

    # Dropped and narrowed while neither runs; all three are held, the fourth goes on.
    drift.db.execute("ALTER TABLE dropped DROP COLUMN note")
    drift.db.execute("INSERT INTO dropped (id, size) VALUES (2, 1)")
    drift.db.execute("ALTER TABLE narrowed ALTER size TYPE text")
    drift.insert("narrowed", 2)
    drift.db.execute("UPDATE renamed SET size = 9 WHERE id = 3")
    with drift.process("connect", "drift"), drift.process("stream") as worker:
        wait_for(lambda: len(drift.halted()) == 3, "the halt of three topics", 90)
        drift.insert("calm", 4)
        drift.arrives("calm", 1, 2, 3, 4)
        assert all(drift.rows(table) == [1] for table in TABLES[:3])

        # The decision for one of them: its contract names the new column.
        drift.db.execute("ALTER TABLE dropped ADD COLUMN note text NOT NULL DEFAULT 'x'")
        drift.write("renamed", version=2, source="remark")
        drift.run("apply", "--yes")
        drift.arrives("renamed", 1, 2, 3, 4, 3)
        assert [row["size"] for row in drift.states("renamed")] == [1, 1, 1, 1, 9]
        drift.insert("renamed", 5, "remark")
        drift.arrives("renamed", 1, 2, 3, 4, 3, 5)
        assert [drift.rows(table) for table in ("dropped", "narrowed")] == [[1], [1]]
        wait_for(lambda: len(drift.halted()) == 2, "two topics that are still held", 90)
    positions = [at for at, _ in drift.seen["renamed"]]
    assert len(set(positions)) == len(positions)
    assert CANARY.encode() not in drift.raw
    assert CANARY not in worker.read_text()
