"""What the log's events mean: each row gets its place in its transaction and becomes a record."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from pymysqlreplication.constants import BINLOG
from pymysqlreplication.event import (
    BeginLoadQueryEvent,
    ExecuteLoadQueryEvent,
    FormatDescriptionEvent,
    GtidEvent,
    HeartbeatLogEvent,
    MariadbGtidEvent,
    NotImplementedEvent,
    QueryEvent,
    RotateEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import RowsEvent, TableMapEvent, UpdateRowsEvent

from connectors.position import SourcePosition
from connectors.source import Captured
from connectors.sources.marks import TableMarks
from connectors.sources.mysql.place import Mark, byte_of, file_number, number_of, place
from connectors.sources.mysql.rowevent import UnreadableChange, row_images, row_records, rows_begin
from connectors.sources.mysql.shapes import BinlogMoment, Mapped, Shapes
from connectors.sources.mysql.statement import Effect, judge
from connectors.sources.postgres.record import Place, truncate_record
from exchange.binlog.columns import UnknownColumn
from exchange.change import Position
from exchange.errors import SourceError

_MARIADB_STANDALONE: Final = 1
_MARIADB_PREPARED_XA: Final = 64
"""Flags of MariaDB's GTID event. Source: MariaDB documentation, "GTID_EVENT"."""
_HARMLESS: Final = frozenset({BINLOG.INTVAR_EVENT, BINLOG.RAND_EVENT, BINLOG.USER_VAR_EVENT, 28, 37})
"""Events that the library does not read and that change no row. 28: may be ignored by its own words; 37: a
change in a group of servers."""
_LAST_INDEX: Final = 0xFFFF_FFFF


class Transactions:
    """(GTID → (table map | rows | statement)* → end)*, from `stored` on.

    A row's index is the byte of the transaction at which it stands in the log: the same at every reading,
    whatever tables are captured, and growing.
    """

    def __init__(
        self,
        stream_id: int,
        shapes: Shapes,
        stored: SourcePosition,
        tables: Collection[str],
        marks: TableMarks,
    ) -> None:
        self._system = stored.system
        self._done = (stored.commit, stored.index)
        self._stream_id = stream_id
        self._shapes = shapes
        self._tables = frozenset(tables)
        self._marks = marks
        mark = Mark.of(stored.mark)
        self._created_s = mark.created_s
        self._gtids = {gtid.partition("-")[0]: gtid for gtid in mark.gtids}
        self._base = mark.base
        self._number = number_of(stored.resume)
        self._maps: dict[int, Mapped | None] = {}
        self.resume = stored.resume
        """Start of the log to read again, as in SourcePosition; everything before it has been taken."""
        self.last = self._done
        """Commit position and index of the last change that was captured."""
        self.is_open = False
        """Whether more of a transaction is to come."""
        self._moment = BinlogMoment(0, 0, None, 0)
        self._explicit = self._prepared = False
        self._counted: dict[str, int] = {}
        self._offset = 0

    @property
    def mark(self) -> str:
        """What tells this log from another at `resume`."""
        return Mark(self._base, self._created_s, tuple(sorted(self._gtids.values()))).text()

    def take(self, event: Any) -> list[Captured]:
        """Take the next event in; return the records that it gives."""
        match event:
            case RowsEvent():
                return self._rows(event)
            case TableMapEvent():
                self._maps[event.table_id] = self._table_map(event)
            case MariadbGtidEvent() | GtidEvent():
                self._begin(event)
            case XidEvent():
                self._end(event)
            case XAPrepareEvent():
                self._prepared = True
                self._end(event)
            case QueryEvent():
                return self._statement(event)
            case RotateEvent():
                self._rotate(event)
            case FormatDescriptionEvent():
                self._created_s = event.timestamp
            case HeartbeatLogEvent():
                pass
            case _:
                self._other(event)
        return []

    # -- where we are

    def _begin(self, event: Any) -> None:
        start = place(self._number, event.packet.log_pos - event.packet.event_size)
        gtid = getattr(event, "gtid", "")
        now_ms = time.time_ns() // 1_000_000
        file = f"{self._base}.{self._number:06d}"
        self._moment = BinlogMoment(
            event.timestamp * 1000, start, byte_of(start), now_ms, file=file, gtid=gtid
        )
        flags = event.flags if isinstance(event, MariadbGtidEvent) else _MARIADB_STANDALONE
        self._explicit = not flags & _MARIADB_STANDALONE
        self._prepared = bool(flags & _MARIADB_PREPARED_XA)
        self.is_open = True
        self._counted, self._offset = {}, 0

    def _end(self, event: Any) -> None:
        if isinstance(gtid := self._moment.gtid, str) and gtid.count("-") == 2:  # of MariaDB
            self._gtids[gtid.partition("-")[0]] = gtid
        self.is_open = self._explicit = self._prepared = False
        self._moment = replace(self._moment, gtid="")
        self._reached(event)

    def _reached(self, event: Any) -> None:
        """Outside a transaction everything up to the event's end has been taken.

        Behind a transaction of more than 4 GiB the byte is told modulo that; the file ends there, and the
        next one gives the next place.
        """
        self.resume = max(self.resume, place(self._number, event.packet.log_pos))

    def _rotate(self, event: Any) -> None:
        self._maps.clear()
        self._base, self._number = event.next_binlog.rpartition(".")[0], file_number(event.next_binlog)
        self._created_s = 0  # until the file's first event tells it
        self.resume = max(self.resume, place(self._number, event.position))

    def _other(self, event: Any) -> None:
        """Take what is neither a change nor the bounds of one; what is not known to be harmless halts."""
        number = event.event_type
        if number == BINLOG.ANONYMOUS_GTID_LOG_EVENT:
            self._begin(event)
        elif isinstance(event, BeginLoadQueryEvent | ExecuteLoadQueryEvent):
            msg = "LOAD DATA was logged as a statement (binlog_format was not ROW)"
            raise self._halt(msg)
        elif isinstance(event, NotImplementedEvent) and number not in _HARMLESS:
            msg = f"an event of type {number} is not understood (compressed?)"
            raise self._halt(msg)
        elif not self.is_open and event.packet.log_pos:
            self._reached(event)

    # -- statements

    def _statement(self, event: Any) -> list[Captured]:
        judged = judge(event.query, event.schema.decode(errors="replace"), self._tables)
        match judged.effect:
            case Effect.HALT:
                if not judged.tables:
                    raise self._halt(judged.why)
                for table in judged.tables:
                    self._halt_table(table, judged.why)
                self._end_unless_explicit(event)
            case Effect.TRUNCATE:
                taken = [record for table in judged.tables for record in self._truncate(event, table)]
                self._end_unless_explicit(event)
                return taken
            case Effect.BEGIN:
                self._explicit = True
            case Effect.PREPARED:
                self._explicit = self._prepared = True
            case Effect.END:
                self._end(event)
            case Effect.NOTHING:
                self._end_unless_explicit(event)
        return []

    def _end_unless_explicit(self, event: Any) -> None:
        if not self._explicit:
            self._end(event)

    def _truncate(self, event: Any, table: str) -> list[Captured]:
        if not self._takes(table):
            return []
        found = self._place(table, self._start_of(event))
        shape = self._shapes.last_of(table)
        return [] if found is None else [truncate_record(Place(shape, *found))]

    # -- rows

    def _takes(self, table: str) -> bool:
        """Whether changes of a table are captured where the log is now."""
        return table in self._tables and self._marks.takes(table, self._moment.lsn)

    def _table_map(self, event: Any) -> Mapped | None:
        table = f"{event.schema}.{event.table}"
        if not self._takes(table):
            return None
        try:
            return self._shapes.of_table_map(event)
        except UnknownColumn as problem:
            self._halt_table(table, f"cannot be read exactly any more: {problem}")
            return None

    def _rows(self, event: Any) -> list[Captured]:
        mapped = self._maps.get(event.table_id)
        if mapped is None or not self._takes(mapped.shape.shape.table):
            return []
        table = mapped.shape.shape.table
        rows_at = self._start_of(event) + rows_begin(event)
        try:
            if self._prepared:
                msg = "was changed by an XA transaction, whose end the log tells apart"
                raise UnreadableChange(msg)
            images = row_images(event, mapped)
        except UnreadableChange as problem:
            self._halt_table(table, str(problem))
            return []
        made: list[Captured] = []
        step = 2 if isinstance(event, UpdateRowsEvent) else 1
        for at in range(0, len(images), step):
            found = self._place(table, rows_at + images[at][0])
            if found is not None:
                rows = [row for _, row in images[at : at + step]]
                made += row_records(event, Place(mapped.shape, *found), rows)
        return made

    def _start_of(self, event: Any) -> int:
        """Return the byte of its transaction at which an event begins."""
        begins = event.packet.log_pos - event.packet.event_size - byte_of(self._moment.lsn)
        offset: int = begins & _LAST_INDEX
        if offset < self._offset:
            msg = "a transaction is larger than 4 GiB; split such changes"
            raise self._halt(msg)
        self._offset = offset
        return offset

    def _place(self, table: str, index: int) -> tuple[Position, BinlogMoment, tuple[int, int]] | None:
        """Give a change its position; None when it is in Kafka already."""
        if not self.is_open:
            msg = f"a change of table {table} stands outside a transaction"
            raise self._halt(msg)
        self._counted[table] = self._counted.get(table, 0) + 1
        at = (self._moment.lsn, index)
        if at <= self._done:
            return None
        self.last = at
        order = (sum(self._counted.values()), self._counted[table])
        return Position(self._stream_id, *at), self._moment, order

    def _halt_table(self, table: str, why: str) -> None:
        if self._takes(table):
            self._marks.halt(table, f"{why} (log at {self._at()})")

    def _at(self) -> str:
        return f"{self._base}.{number_of(self._moment.lsn):06d}:{byte_of(self._moment.lsn)}"

    def _halt(self, why: str) -> SourceError:
        return SourceError(
            f"source {self._system}: transaction at {self._at()}: {why}. Nothing from there on was captured; "
            f"mend the cause, then run `exchange resnapshot {self._system}` to read all tables anew"
        )
