"""The departments at work: rows inserted, changed, deleted and given other keys, now and then a wrong one."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import Connection

from exchange import log
from exchange.demo.databases import clerk
from exchange.demo.invention import Invention
from exchange.demo.tables import Row, Table
from exchange.settings import Settings

_INVALID_SHARE: Final = 0.03
_MAX_ROWS: Final = 3000
_MAX_CHANGES: Final = 4
"""Changes of one source transaction: 1 to this, 2.5 on average."""
_SAMPLE_EVERY_S: Final = 4.0
_SAMPLES: Final = 20
"""As many are remembered, so that a view that is late still finds its own."""
_LONGEST_WAIT_S: Final = 5.0

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One invented source row and where its change stands in the log: low <= commit LSN < high."""

    table: Table
    row: Row
    low: int
    high: int


class Traffic:
    """Keeps changing rows of all tables at a rate, one thread per system, until it is stopped."""

    def __init__(self, settings: Settings, tables: tuple[Table, ...], rate: float) -> None:
        """Take the changes a second over all tables; nothing starts yet."""
        systems = sorted({table.system for table in tables})
        self._clerks = [
            _Clerk(
                settings,
                system,
                tuple(table for table in tables if table.system == system),
                rate / len(systems),
            )
            for system in systems
        ]

    def start(self) -> None:
        """Begin to change rows."""
        for each in self._clerks:
            each.start()

    def stop(self) -> None:
        """End after the transactions that are under way; return when they are committed."""
        for each in self._clerks:
            each.stopping.set()
        for each in self._clerks:
            each.join()

    def samples(self, system: str) -> tuple[Sample, ...]:
        """Return the latest samples of a system, each a change that was alone in its transaction."""
        return next((tuple(each.samples) for each in self._clerks if each.system == system), ())

    def committed_after(self) -> dict[str, int]:
        """Return for each system a log position that its last commit lies behind; 0 without a commit."""
        return {each.system: each.committed_after for each in self._clerks}

    def troubles(self) -> list[str]:
        """Return what keeps clerks from working, empty while all is well."""
        return [each.trouble for each in self._clerks if each.trouble]


class _Clerk(threading.Thread):
    """Changes the rows of one system; comes back by itself when its database was away."""

    def __init__(self, settings: Settings, system: str, tables: tuple[Table, ...], rate: float) -> None:
        super().__init__(name=f"clerk-{system}", daemon=True)
        self.system = system
        self.stopping = threading.Event()
        self.samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self.trouble = ""
        self.committed_after = 0
        self._settings = settings
        self._tables = tables
        self._rate = rate
        self._invention = Invention(time.time_ns())
        self._rows: dict[str, dict[Any, Row]] = {}
        self._cures: dict[tuple[str, Any], Row] = {}
        self._sampled_at = 0.0

    def run(self) -> None:
        wait_s = 0.2
        while not self.stopping.is_set():
            try:
                with clerk(self._settings, self.system) as connection:
                    self._rows = {table.name: self._known(connection, table) for table in self._tables}
                    self._cures.clear()
                    connection.commit()
                    self.trouble, wait_s = "", 0.2
                    self._work(connection)
            except psycopg.Error as error:
                self.trouble = f"{self.system}: {type(error).__name__} ({error.sqlstate or 'no answer'})"
                _log.warning(
                    "clerk_waits", system=self.system, error=type(error).__name__, retry_after_s=wait_s
                )
                self.stopping.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _known(self, connection: Connection[Any], table: Table) -> dict[Any, Row]:
        return {row[table.key]: row for row in table.rows(connection, 2 * _MAX_ROWS)}

    def _work(self, connection: Connection[Any]) -> None:
        """Commit transactions on a schedule; at most a second of lateness is made up for."""
        due = time.monotonic()
        while not self.stopping.wait(max(0.0, due - time.monotonic())):
            changes = self._transaction(connection)
            due = max(due, time.monotonic() - 1.0) + changes / self._rate

    def _transaction(self, connection: Connection[Any]) -> int:
        """Commit one transaction; return its number of changes."""
        if time.monotonic() - self._sampled_at > _SAMPLE_EVERY_S:
            return self._take_sample(connection)
        table = self._invention.random.choice(self._tables)
        changes = self._invention.random.randint(1, _MAX_CHANGES)
        for _ in range(changes):
            self._change(connection, table, self._rows[table.name])
        low = _log_position(connection)
        connection.commit()
        self.committed_after = low
        return changes

    def _change(self, connection: Connection[Any], table: Table, rows: dict[Any, Row]) -> None:
        """Make one change, in the database and in `rows`."""
        draw = self._invention.random.random()
        if len(rows) < 10 or (draw < 0.3 and len(rows) < _MAX_ROWS):
            valid = table.invent(self._invention)
            row = valid | self._spoilt_now_and_then(table, valid)
            if row[table.key] not in rows:
                table.insert(connection, row)
                self._note(table, row[table.key], row, valid)
                return
        key = self._invention.random.choice(list(rows))
        if draw < 0.8:
            self._update(connection, table, rows, key)
        elif draw < 0.84:
            self._give_other_key(connection, table, rows, key)
        else:
            table.delete(connection, key)
            self._forget(table, key)

    def _update(self, connection: Connection[Any], table: Table, rows: dict[Any, Row], key: Any) -> None:
        """Amend a row, or mend it where it is a spoilt one."""
        cure = self._cures.get((table.name, key))
        valid = rows[key] | table.amend(rows[key], self._invention) if cure is None else cure
        new = valid if cure is not None else valid | self._spoilt_now_and_then(table, valid)
        if new[table.key] != key and (new[table.key] in rows or cure is None):
            return
        table.update(connection, key, new)
        self._forget(table, key)
        self._note(table, new[table.key], new, valid)

    def _give_other_key(
        self, connection: Connection[Any], table: Table, rows: dict[Any, Row], key: Any
    ) -> None:
        changes = table.rekey(rows[key], self._invention)
        if changes[table.key] in rows or (table.name, key) in self._cures:
            return
        table.update(connection, key, changes)
        row = rows[key] | changes
        self._forget(table, key)
        self._note(table, row[table.key], row, row)

    def _note(self, table: Table, key: Any, row: Row, valid: Row) -> None:
        """Remember a row as it is, and as it should be where it is spoilt."""
        self._rows[table.name][key] = row
        if row != valid:
            self._cures[table.name, key] = valid

    def _forget(self, table: Table, key: Any) -> None:
        del self._rows[table.name][key]
        self._cures.pop((table.name, key), None)

    def _spoilt_now_and_then(self, table: Table, row: Row) -> Row:
        """Return the columns that make a row invalid; none of them, most of the time."""
        if self._invention.random.random() >= _INVALID_SHARE:
            return {}
        fault = self._invention.random.choice(table.faults)
        return fault.spoil(copy.deepcopy(row), self._invention)

    def _take_sample(self, connection: Connection[Any]) -> int:
        """Insert one valid row, alone in its transaction; note between which log positions it committed."""
        self._sampled_at = time.monotonic()
        table = self._tables[0]
        row = table.invent(self._invention)
        if row[table.key] in self._rows[table.name]:
            return 0
        table.insert(connection, row)
        low = _log_position(connection)
        connection.commit()
        high = _log_position(connection)
        connection.commit()
        self._rows[table.name][row[table.key]] = row
        self.committed_after = low
        self.samples.append(Sample(table, row, low, high))
        return 1


def _log_position(connection: Connection[Any]) -> int:
    """Return where the next record of the write-ahead log will stand, as an unsigned 64-bit number."""
    cursor = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    found = cursor.fetchone()
    return int(found[0]) if found is not None else 0
