"""A bus with one table and a view, to which a second one can be added while it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from exchange.snapshots import Snapshots, SnapshotStatus
from tests.checkers.committed import CommittedReader
from tests.checkers.wire import At, Schemas, stamp
from tests.stack import Stack, running_stack, wait_for

SYSTEM = "grow"
OLD, NEW = "share.grow.thing.old", "share.grow.thing.new"
LAST = 9_999_999
TOPOLOGY = """\
departments:
  office: {label: {zh: 局, en: Office}}
  school: {label: {zh: 学校, en: School}}
systems:
  grow: {department: office, kind: postgres, connection_env: GROW_DSN}
resources:
  grow.thing:
    {label: {zh: 物, en: Thing}, system: grow, table: public.thing, catalogue_code: G-1,
     share: unconditional, partitions: 3}
views:
  grow.thing.old:
    resource: grow.thing
    label: {zh: 旧, en: Old}
    fields: {id: clear, note: clear, size: clear}
"""
NEW_VIEW = """\
  grow.thing.new:
    resource: grow.thing
    label: {zh: 新, en: New}
    fields: {id: clear, size: clear}
    rows:
      - {field: note, prefix: ["first", "last"]}
"""
SUBSCRIBERS = """\
subscribers:
  campus: {department: school, label: {zh: 校园, en: Campus}}
grants:
  - {subscriber: campus, view: grow.thing.old}
"""
LABEL = {"zh": "列", "en": "Column"}
CONTRACT = {
    "type": "record",
    "namespace": "grow",
    "name": "thing",
    "label": LABEL,
    "contractVersion": 1,
    "key": ["id"],
    "fields": [
        {"name": "id", "type": "long", "classification": 1, "label": LABEL},
        {"name": "note", "type": "string", "classification": 1, "label": LABEL},
        {"name": "size", "type": "int", "classification": 1, "label": LABEL},
    ],
}


@dataclass
class Bus:
    """One table of one source, connector and worker, and what is readable in both views."""

    stack: Stack
    files: Path
    dsn: str
    schemas: Schemas = field(init=False)
    told: dict[str, list[tuple[At, str, Any, Any]]] = field(default_factory=lambda: {OLD: [], NEW: []})

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "EXCHANGE_HOME": str(self.stack.home),
            "EXCHANGE_TOPOLOGY": str(self.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(self.files / "avro"),
        }

    def declare(self, views: str) -> None:
        (self.files / "topology.yaml").write_text(TOPOLOGY + views + SUBSCRIBERS)

    def run(self, *args: str) -> str:
        command = [sys.executable, "-m", "exchange.cli", *args]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def process(self, *args: str) -> Iterator[subprocess.Popen[bytes]]:
        log = self.stack.home / "logs" / f"{args[0]}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "exchange.cli", *args], stdout=out, stderr=out, env=self.environment
            )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)

    def read(self, reader: CommittedReader) -> None:
        """Note what a view tells: position, operation, key and row."""
        for message in reader.read(0.1):
            stamped = stamp(message.headers())
            assert stamped is not None
            if stamped.tombstone:
                continue
            key, value = (
                self.schemas.decode(message.key() or b""),
                self.schemas.decode(message.value() or b""),
            )
            self.told[message.topic() or ""].append((stamped.at, stamped.op, key["id"], value["after"]))

    def arrives(self, reader: CommittedReader, key: int) -> None:
        def look() -> bool:
            self.read(reader)
            return any(told[2] == key for view in self.told.values() for told in view[-5_000:])

        wait_for(look, f"row {key}", 120)

    def shows(self, reader: CommittedReader, wanted: dict[int, Any]) -> None:
        """Wait until the view that a reader reads leaves these rows."""

        def look() -> bool:
            before = sum(map(len, self.told.values()))
            self.read(reader)
            after = sum(map(len, self.told.values()))
            return after == before and wanted in (self.state(OLD), self.state(NEW))

        wait_for(look, f"{len(wanted)} rows in the view", 240)

    def state(self, view: str) -> dict[int, Any]:
        """Return what the view's records leave; of each key they are in the order of their positions."""
        rows: dict[int, Any] = {}
        last: dict[int, At] = {}
        for at, _, key, row in self.told[view]:
            assert key not in last or last[key] < at
            last[key] = at
            rows[key] = row
        return {key: row for key, row in rows.items() if row is not None}

    def operations(self, view: str) -> Counter[str]:
        return Counter(op for _, op, _, _ in self.told[view])

    def progress(self) -> SnapshotStatus:
        """Return how the snapshot is that was ordered last."""
        found = Snapshots(self.stack.settings, SYSTEM).status()
        assert found is not None
        return found

    def balance(self) -> Any:
        url = f"{self.stack.settings.endpoints().api}/api/accounts/balance"
        return httpx.get(url, trust_env=False, timeout=30).json()


@contextmanager
def growing_bus(rows: int) -> Iterator[Bus]:
    """Bring up the parts, fill the table and declare the bus; its children are not started yet."""
    with running_stack() as stack, tempfile.TemporaryDirectory(prefix="exchange-grow-") as files:
        made = Bus(stack, Path(files), stack.create_database(SYSTEM))
        stack.settings.secrets.put("GROW_DSN", made.dsn)
        (made.files / "avro" / "grow").mkdir(parents=True)
        (made.files / "avro" / "grow" / "thing.avsc").write_text(json.dumps(CONTRACT))
        made.declare("")
        with psycopg.connect(made.dsn, autocommit=True) as db:
            db.execute("CREATE TABLE thing (id bigint PRIMARY KEY, note text NOT NULL, size int NOT NULL)")
            db.execute("ALTER TABLE thing REPLICA IDENTITY FULL")
            db.execute("INSERT INTO thing SELECT g, 'first', g %% 5 FROM generate_series(1, %s) g", [rows])
        made.run("keys", "create", "office")
        made.run("apply", "--yes")
        made.schemas = Schemas(stack.settings.endpoints().registry)
        yield made


@contextmanager
def writing(bus: Bus, rows: int, pause_s: float = 0.005) -> Iterator[Callable[[], int]]:
    """Change rows all over the table until the body ends; yields the question how often it was."""
    stop, count = threading.Event(), [0]
    writer = threading.Thread(target=_write, args=(bus.dsn, rows, pause_s, stop, count))
    writer.start()
    try:
        yield lambda: count[0]
    finally:
        stop.set()
        writer.join()


def _write(dsn: str, rows: int, pause_s: float, stop: threading.Event, count: list[int]) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        while not stop.wait(pause_s):
            number = count[0] = count[0] + 1
            key = 1 + number * 7919 % rows
            match number % 4:
                case 0:
                    db.execute("DELETE FROM thing WHERE id = %s", [key])
                case 1:
                    db.execute("UPDATE thing SET size = (size + 1) %% 5 WHERE id = %s", [key])
                case 2:
                    db.execute("UPDATE thing SET id = %s WHERE id = %s", [rows + number, key])
                case _:
                    db.execute("UPDATE thing SET note = %s WHERE id = %s", [f"note {number}", key])
