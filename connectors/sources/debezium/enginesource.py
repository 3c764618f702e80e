"""Debezium's engine as a `Source`: it goes on at the end of a transaction, and what Kafka has is passed over.

Debezium's offsets within a transaction are not exact: rows may share one. So the position holds the offset
at the end of the last whole transaction, how many records came since, and a digest of these: after a restart
they come again, are counted and compared, and are not told twice.
"""

from __future__ import annotations

import hashlib
import json
import secrets as random_secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from connectors.source import Batch, Captured
from connectors.sources.debezium.engine import Engine, Told
from connectors.sources.debezium.messages import JsonMessages
from connectors.sources.debezium.properties import destinations, engine_properties
from connectors.sources.debezium.record import Records
from connectors.sources.debezium.shapes import Place
from connectors.sources.debezium.slot import POSTGRES, Slot
from exchange import log
from exchange.change import Op, stream_id
from exchange.errors import GapError, SourceError
from exchange.plan import PlannedEngine
from exchange.position import SourcePosition
from exchange.tablemark import ANEW, TableMark

_log = log.get(__name__)

_IDLE_S: Final = 1.0
_MEND: Final = "Mend the table or the properties under `engine`, run `exchange apply`, then"
_HEARTBEAT: Final = "__debezium-heartbeat."
_LAST: Final = b'"snapshot":"last"'


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where Debezium goes on: partition and offset as JSON, empty before its snapshot is complete.

    passed: records since that offset which are in Kafka; digest: what they were.
    """

    partition: str = ""
    offset: str = ""
    passed: int = 0
    digest: str = ""

    @classmethod
    def read(cls, texts: Sequence[str]) -> Cursor:
        """Return the cursor of a position's texts."""
        if not texts:
            return cls()
        partition, offset, passed, digest = texts
        return cls(partition, offset, int(passed), digest)

    def texts(self) -> tuple[str, ...]:
        """Return the texts for a position."""
        return (self.partition, self.offset, str(self.passed), self.digest) if self.offset else ()

    def after(self, change: Captured) -> Cursor:
        """Return the cursor behind one more record; each has its digest from those before and from itself."""
        when = 0 if change.rejected is not None else change.source_ms
        told = f"{self.digest} {change.op.value} {when} ".encode() + (change.key or b"")
        return replace(self, passed=self.passed + 1, digest=hashlib.sha256(told).hexdigest())


class EngineSource:
    """The `Source` protocol on Debezium's engine. See connectors/source.py for the calling order."""

    # Known from open() on.
    _position: SourcePosition
    _cursor: Cursor
    _number: int
    """Of the last record that was read, in this history."""
    _records: dict[str, Records]
    _to_empty: set[str]

    def __init__(
        self,
        system: str,
        engine: PlannedEngine,
        secrets: Mapping[str, SecretStr],
        tables: Sequence[str],
        *,
        whole_before: bool,
    ) -> None:
        """secrets: by the property that they are the value of; tables: <schema>.<table>."""
        self._system = system
        self._tables = tables
        self._whole_before = whole_before
        properties = engine_properties(system, engine, secrets, tables)
        self._slot = Slot(system, properties) if engine.connector_class == POSTGRES else None
        self._destinations = destinations(system, tables)
        self._engine = Engine(system, properties, [one.get_secret_value() for one in secrets.values()])
        self._told_of_history = True
        self._started = False
        self._taken = False
        self._whole = 0
        """Records of the batch that was taken last, up to the end of its last whole transaction."""
        self._streams = False
        self._in_transaction = False
        self._already = Cursor()
        """Up to where records that come again are in Kafka; without any: nowhere."""

    def open(self, stored: SourcePosition | None) -> None:
        """Go on at the stored offset. A snapshot that was interrupted begins again, with emptied views."""
        cursor = Cursor.read(() if stored is None else stored.cursor)
        if stored is None or not cursor.offset:
            if stored is None and self._slot is not None:
                self._slot.refuse_another()
            self._position = self._new_history(stored)
            self._told_of_history = False
        else:
            self._refuse_new_tables(stored)
            if self._slot is not None:
                self._slot.refuse_gap(cursor.offset)
            self._position = stored
        self._already, self._cursor = cursor, replace(cursor, passed=0, digest="")
        self._number = self._position.commit - cursor.passed
        marks = map(TableMark.parse, self._position.tables)
        self._to_empty = {mark.name for mark in marks if mark.state == ANEW}
        stream = stream_id(self._system, self._position.system_identifier, self._position.timeline)
        self._records = {
            table: Records(
                self._system,
                table,
                stream,
                (JsonMessages(), JsonMessages()),
                whole_before=self._whole_before,
                mend=_MEND,
            )
            for table in self._tables
        }

    def read(self) -> Batch:
        """Return the engine's next batch; before a snapshot, that one is about to begin."""
        if not self._told_of_history:
            self._told_of_history = True
            return Batch((), self._position)
        if not self._started:
            self._start()
        told = self._engine.take(_IDLE_S)
        if not told:
            return Batch((), self._position)
        self._taken, self._whole = True, 0
        changes: list[Captured] = []
        for number, record in enumerate(told, 1):
            changes += self._captured(record)
            if not self._in_transaction and self._cursor.passed == 0:
                self._whole = number
        self._position = self._reached()
        return Batch(changes, self._position)

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the engine go on, and the source forget what transactions are whole in Kafka.

        Of a part of one it must not: right after a start Debezium takes the place of a single change for the
        slot's, and that is beyond the offset to go on at.
        """
        if self._taken and position == self._position:
            self._taken = False
            self._engine.release(self._whole)
        if position.cursor and self._started and not self._streams:
            self._streams = True
            _log.info("stream_started", system=self._system)

    def close(self) -> None:
        """End the engine; what was not acknowledged comes again."""
        self._engine.close()

    def _start(self) -> None:
        cursor = self._cursor
        if cursor.offset:
            offset = cursor.offset if self._slot is None else self._slot.told_whole(cursor.offset)
            self._engine.start((cursor.partition, offset))
        else:
            if self._slot is not None:
                self._slot.drop()  # of an interrupted snapshot: the next needs one that begins with it
            self._engine.start(None)
        self._started = True

    def _new_history(self, before: SourcePosition | None) -> SourcePosition:
        """Return the position of a new history: its number tells its positions from those of any other."""
        timeline = time.time_ns() // 1_000_000
        history = random_secrets.token_hex(8)
        full: set[str] = set()
        if before is not None:
            timeline, history = max(timeline, before.timeline + 1), before.system_identifier
            full = self._perhaps_full(before)
        marks = (TableMark(table, state=ANEW if table in full else "") for table in self._tables)
        return SourcePosition(self._system, history, timeline, "", 1, tables=tuple(map(str, marks)))

    def _perhaps_full(self, before: SourcePosition) -> set[str]:
        """Return the tables of which rows were told that the next snapshot may not have any more."""
        if before.resume == 0 or before.commit > 0:
            return set(self._tables)
        return {mark.name for mark in map(TableMark.parse, before.tables) if mark.state == ANEW}

    def _refuse_new_tables(self, stored: SourcePosition) -> None:
        """Refuse tables whose rows no snapshot has read. Raises: SourceError."""
        known = {mark.name for mark in map(TableMark.parse, stored.tables)}
        if new := sorted(set(self._tables) - known):
            msg = (
                f"source {self._system}: table {new[0]} is new, and Debezium's snapshot was taken without "
                f"it. Read all tables anew: `exchange resnapshot {self._system}`"
            )
            raise SourceError(msg)

    def _captured(self, told: Told) -> list[Captured]:
        """Return what a record gives; a transaction's end moves the offset, and gives nothing."""
        if told.value is None:
            return []
        if told.destination.startswith(_HEARTBEAT):
            self._see_whether_it_streams(told)
            return []
        if told.destination == f"{self._system}.transaction":
            self._in_transaction = json.loads(told.value)["payload"]["status"] != "END"
            if not self._in_transaction:
                self._move(told)
            return []
        if told.destination == self._system:  # a change of some table's schema, which each record shows too
            return []
        table = self._table(told.destination)
        place = Place(told.destination, 0, self._number)
        change = self._records[table].captured(place, told.key, told.value)
        self._number += 1
        self._cursor = self._cursor.after(change)
        if change.op is Op.READ and _LAST in told.value and _is_last(told.value):
            self._move(told)
        if self._comes_again():
            return []
        if table in self._to_empty and (emptying := self._records[table].emptying()) is not None:
            self._to_empty.discard(table)
            return [emptying, change]
        return [change]

    def _comes_again(self) -> bool:
        """Tell whether the record is in Kafka already. Raises: GapError when it is another than was there."""
        cursor, already = self._cursor, self._already
        if not already.passed or cursor.passed > already.passed:
            return False
        if cursor.passed == already.passed and cursor.digest != already.digest:
            raise self._another_log()
        return True

    def _move(self, told: Told) -> None:
        """Take a record's offset to go on at. Raises: GapError when records before it are missing."""
        if self._cursor.passed < self._already.passed:
            raise self._another_log()
        self._cursor, self._already = Cursor(*told.place()), Cursor()

    def _see_whether_it_streams(self, heartbeat: Told) -> None:
        """Take a heartbeat's offset where there is none: the snapshot is over, though it had no rows."""
        if self._cursor.offset or self._in_transaction:
            return
        if "snapshot" not in json.loads(heartbeat.place()[1]):
            self._move(heartbeat)

    def _another_log(self) -> GapError:
        return GapError(
            f"source {self._system}: behind its stored offset Debezium does not tell what Kafka has. "
            "Changes may be missing, so nothing was captured since. Read all tables anew: "
            f"`exchange resnapshot {self._system}`"
        )

    def _reached(self) -> SourcePosition:
        """Return the position behind what was read; as long as it comes again, the one that was stored."""
        if self._cursor.passed < self._already.passed:
            return self._position
        marks = (TableMark(table, state=ANEW if table in self._to_empty else "") for table in self._tables)
        return replace(
            self._position,
            commit=self._number,
            tables=tuple(map(str, marks)),
            cursor=self._cursor.texts(),
        )

    def _table(self, destination: str) -> str:
        """Return the table of a topic's name: <prefix>[.<database>].<schema>.<table>. Raises: SourceError."""
        prefix, _, rest = destination.partition(".")
        without_database = f"{prefix}.{rest.partition('.')[2]}"
        for name in (destination, without_database):
            if name in self._destinations:
                return self._destinations[name]
        msg = (
            f"source {self._system}: Debezium tells of {destination}, and no resource has that table; known "
            f"are {', '.join(sorted(self._destinations))}"
        )
        raise SourceError(msg)


def _is_last(value: bytes) -> bool:
    return bool(json.loads(value)["payload"]["source"]["snapshot"] == "last")
