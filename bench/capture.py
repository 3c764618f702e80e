"""`exchange bench capture`: the connector reading a write-ahead log, against merely receiving that log.

Each competitor has a replication slot of its own on one PostgreSQL and reads the same committed rows from it:
first the warm-up's, then those that count, in transactions of a hundred.

- the connector, from `exchange connect`: to records committed in the raw topic, seen from outside (pace.py)
- the limit: psycopg2 receives the messages, nothing decodes them; its own clock
- Debezium's engine in Python (pydbzengine): to a handler that counts and drops; its own clock
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import peer, person
from bench.contest import Results, Run, measure
from bench.ground import DATABASE, SYSTEM, Ground, Table, ground
from bench.machine import machine
from bench.pace import Pace
from bench.pipeline import WARM_UP_SHARE, warmed
from bench.progress import say
from bench.raw import PER_TRANSACTION
from bench.verify import WrongOutputError, unaltered
from exchange.errors import PartError
from exchange.local import process
from exchange.local.kafka import find_java
from exchange.local.process import Running
from exchange.plan import publication_name, slot_name
from exchange.registry import for_writing

TABLE: Final = Table("person_capture")
HEAD: Final = ("reader of the log", "changes/s, median (least–greatest)", "bus ÷ it")
RATIOS: Final = {"capture_vs_raw": "raw", "capture_vs_debezium": "debezium"}
_LIMIT_SLOT: Final = "bench_limit"
_DEBEZIUM_SLOT: Final = "bench_debezium"
_READY_S: Final = 60.0
_RUN_S: Final = 900.0
_SHORT_S: Final = 1.0
_TITLES: Final = {
    "bus": "bus: decoded, in Kafka, exactly once",
    "raw": "limit: psycopg2 receives, nothing decoded",
    "debezium": "Debezium's engine in Python, to nowhere",
}


def run(records: int, rounds: int, *, with_peers: bool) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, records, rounds, with_peers=with_peers)


def on(parts: Ground, records: int, rounds: int, *, with_peers: bool) -> dict[str, Any]:
    """Measure on running parts that have captured nothing yet; return the JSON object."""
    parts.declare([TABLE])
    source = _Source(parts)
    readers: dict[str, Callable[[int], Pace]] = {}
    missing = _add_readers(parts, source, readers, with_peers=with_peers)
    names = _TITLES if with_peers else ("bus", "raw")
    results = Results({name: _TITLES[name] for name in names}, missing=missing)
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}: committing {warmed(records):,} rows")
        source.commit(warmed(records))
        for name, measure_once in readers.items():
            done = measure_once(records)
            results.paces.setdefault(name, []).append(done)
            say(f"round {number} of {rounds}: {_TITLES[name]}: {done.records_per_s:,.0f} changes/s")
    return answer(results, {"records": records, "rounds": rounds, "peers": with_peers})


def answer(results: Results, given: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object."""
    return {
        "benchmark": "capture",
        "given": given,
        "machine": machine(),
        "ratios": results.ratios("bus", RATIOS),
        "records_per_s": results.medians(),
        "rounds": results.raw(),
        "table": {"head": list(HEAD), "rows": results.rows("bus")},
    }


def _add_readers(
    parts: Ground, source: _Source, readers: dict[str, Callable[[int], Pace]], *, with_peers: bool
) -> dict[str, str]:
    """Add those who can run; return of the others why not."""
    missing: dict[str, str] = {}
    if with_peers:
        python = peer.python_with("pydbzengine")
        if python is None:
            missing["debezium"] = peer.not_installed("pydbzengine")
        else:
            readers["debezium"] = _debezium(parts, source, python).measure
    readers["bus"] = _Connector(parts, source).measure
    python = peer.python_with("psycopg2")
    if python is None:
        missing["raw"] = peer.not_installed("psycopg2")
    else:
        source.make_slot(_LIMIT_SLOT)  # last: behind the rows with which the others were made ready
        settings = {"dsn": parts.dsn, "slot": _LIMIT_SLOT, "publication": publication_name(SYSTEM)}
        readers["raw"] = _Program(parts, python, "wal_reader", settings).measure
    return missing


class _Source:
    """The database whose log is read."""

    def __init__(self, parts: Ground) -> None:
        self.dsn = parts.dsn
        self._next = 0

    def commit(self, rows: int) -> None:
        """Commit new rows, a hundred a transaction."""
        columns = ", ".join(name for name, _, _ in person.COLUMNS)
        with psycopg.connect(self.dsn) as connection:
            for first in range(0, rows, PER_TRANSACTION):
                portion = range(self._next + first, self._next + min(first + PER_TRANSACTION, rows))
                copy = f"COPY public.{TABLE.name} ({columns}) FROM STDIN".encode()
                with connection.cursor() as cursor, cursor.copy(copy) as target:
                    target.write("".join(map(_line, portion)))
                connection.commit()
        self._next += rows

    def make_slot(self, slot: str) -> None:
        """Make a slot that keeps the log from now on."""
        self._ask(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")

    def wait_until_read(
        self, slot: str, what: str, running: Running, remembered: Callable[[], bool] | None = None
    ) -> None:
        """Commit a row and wait until a slot's reader follows the log from there.

        remembered: whether the reader has noted its place; else the slot's acknowledgement says so.
        """
        self._wait(what, running, lambda: bool(self._ask(f"{_SLOTS} = '{slot}' AND active")))
        time.sleep(2)  # Debezium holds its slot a moment before it knows from where to read
        self.commit(1)
        (end,) = self._ask("SELECT pg_current_wal_lsn() - '0/0'")[0]
        where = f"{_SLOTS} = '{slot}' AND confirmed_flush_lsn - '0/0' >= {end}"
        self._wait(what, running, remembered or (lambda: bool(self._ask(where))))

    def _wait(self, what: str, running: Running, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_S
        while not look():
            if not process.alive(running) or time.monotonic() > deadline:
                msg = f"{what} did not get ready within {_READY_S:.0f} s:\n{process.tail(running.log)}"
                raise PartError(msg)
            time.sleep(0.1)

    def _ask(self, query: str) -> list[Any]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


_SLOTS: Final = "SELECT 1 FROM pg_replication_slots WHERE slot_name"


def _line(number: int) -> str:
    return "\t".join((person.row(number) | {"person_id": str(number + 1)}).values()) + "\n"


class _Connector:
    """The bus's connector. Its first start takes the snapshot of the empty table; rounds are its stream."""

    def __init__(self, parts: Ground, source: _Source) -> None:
        self._parts = parts
        with parts.children({"connect": ["connect", SYSTEM]}) as running:
            slot = slot_name(SYSTEM)
            source.wait_until_read(slot, "the connector", running[0])
        with for_writing(parts.settings) as registry:
            latest = registry.latest(f"{TABLE.raw}-value")
        if latest is None:
            msg = "the connector registered no schema"
            raise PartError(msg)
        self._judge = unaltered(latest[2])

    def measure(self, records: int) -> Pace:
        """Let it read a round's rows; they are checked and deleted."""
        one = Run(
            records=warmed(records),
            warm_up=records // WARM_UP_SHARE,
            judges={TABLE.raw: self._judge},
            start=lambda: self._parts.children({"connect": ["connect", SYSTEM]}),
        )
        return measure(self._parts, one)


@dataclass(frozen=True)
class _Program:
    """A reader that takes its own time and writes the result to a file."""

    parts: Ground
    python: Path
    name: str
    settings: dict[str, Any]
    environment: tuple[tuple[str, str], ...] = ()
    may_repeat: int = 0
    """How many changes it may give twice, for a reader that promises no more than at least once."""

    def measure(self, records: int) -> Pace:
        """Let it read a round's rows. Raises: PartError, WrongOutputError when it saw more or fewer."""
        out = self.parts.home / f"{self.name}-result.json"
        out.unlink(missing_ok=True)
        warm_up = records // WARM_UP_SHARE
        start = peer.module(
            self.parts,
            self.python,
            self.name,
            self.settings | {"warm_up": warm_up, "records": records, "out": str(out)},
            **dict(self.environment),
        )
        with start() as running:
            deadline = time.monotonic() + _RUN_S
            while process.alive(running[0]) and time.monotonic() < deadline:
                time.sleep(0.05)
        if not out.exists():
            msg = f"{self.name} did not read the log to its end:\n{process.tail(running[0].log)}"
            raise PartError(msg)
        result = json.loads(out.read_text())
        if not 0 <= result["seen"] - warm_up - records <= self.may_repeat:
            msg = f"{self.name}: {result['seen']:,} changes came, {warm_up + records:,} were committed"
            raise WrongOutputError(msg)
        seconds = max(result["seconds"], 1e-6)
        return Pace(result["counted"] / seconds, seconds, seconds < _SHORT_S)


def _debezium(parts: Ground, source: _Source, python: Path) -> _Program:
    """Return the engine once it follows the log: without a stored offset it would begin at its own start."""
    host, port = (parts.settings.endpoints().postgres or "").rsplit(":", 1)
    login = psycopg.conninfo.conninfo_to_dict(parts.dsn)
    properties = {
        "name": "engine",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(parts.home / "debezium-offsets"),
        "offset.flush.interval.ms": "0",
        "database.hostname": host,
        "database.port": port,
        "database.user": str(login["user"]),
        "database.password": str(login["password"]),
        "database.dbname": DATABASE,
        "topic.prefix": "bench",
        "table.include.list": f"public.{TABLE.name}",
        "plugin.name": "pgoutput",
        "slot.name": _DEBEZIUM_SLOT,
        "publication.name": publication_name(SYSTEM),
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "max.batch.size": "8192",
        "max.queue.size": "32768",
    }
    java = peer.find_javac() or find_java()
    home = (("JAVA_HOME", str(java.resolve().parents[1])),)
    program = _Program(parts, python, "debezium", {"properties": properties}, home, PER_TRANSACTION)
    idle = {"properties": properties, "warm_up": 0, "records": 0, "out": str(parts.home / "none")}
    start = peer.module(parts, python, "debezium", idle, **dict(home))
    offsets = Path(properties["offset.storage.file.filename"])

    def noted() -> bool:
        return offsets.exists() and offsets.stat().st_size > 0

    say("Debezium's engine: first start, with no row to read")
    with start() as running:
        source.wait_until_read(_DEBEZIUM_SLOT, "Debezium's engine", running[0], noted)
    return program
