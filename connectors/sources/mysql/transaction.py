"""What the log's events mean: each row gets its place in its transaction and becomes a record."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
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

from connectors.source import Captured
from connectors.sources.marks import TableMarks
from connectors.sources.mysql.numbering import Numbering, UnattributedError
from connectors.sources.mysql.place import byte_of
from connectors.sources.mysql.prepared import MOST_BYTES, HeldRows, Prepared
from connectors.sources.mysql.progress import LogProgress
from connectors.sources.mysql.rowevent import UnreadableChange, row_images, row_records, rows_begin
from connectors.sources.mysql.shapes import BinlogMoment, Mapped, Shapes
from connectors.sources.mysql.statement import Effect, judge
from connectors.sources.postgres.record import Place, truncate_record
from exchange.binlog.columns import UnknownColumn
from exchange.errors import SourceError
from exchange.position import SourcePosition

_MARIADB_STANDALONE: Final = 1
_MARIADB_PREPARED_XA: Final = 64
"""Flags of MariaDB's GTID event. Source: MariaDB documentation, "GTID_EVENT"."""
_HARMLESS: Final = frozenset({BINLOG.INTVAR_EVENT, BINLOG.RAND_EVENT, BINLOG.USER_VAR_EVENT, 28, 37})
"""Events that the library does not read and that change no row. 28: may be ignored by its own words; 37: a
change in a group of servers."""
_LAST_PLACE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class _Ending:
    """A prepared transaction whose commit was read; `rows` are those that are not told yet."""

    event: Any
    xid: str
    rows: deque[HeldRows]


class Transactions:
    """(GTID → (table map | rows | statement)* → end)*, from `stored` on.

    What goes wrong with one table halts that table alone; `marks` say which are halted, and why.
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
        self._numbers = Numbering(stream_id, (stored.commit, stored.index))
        self._shapes = shapes
        self._tables = frozenset(tables)
        self._marks = marks
        self._log = LogProgress(stored)
        self._maps: dict[int, Mapped | None] = {}
        self._xa = Prepared()
        self._ending: _Ending | None = None
        self._explicit = self._prepared = False

    @property
    def is_open(self) -> bool:
        """Whether more of a transaction is to come."""
        return self._numbers.is_open

    @property
    def last(self) -> tuple[int, int]:
        """Commit position and index of the last change that was captured."""
        return self._numbers.last

    @property
    def resume(self) -> int:
        """Start of the log to read again, as in SourcePosition; everything before it has been taken."""
        oldest = self._xa.oldest
        return self._log.resume if oldest is None else min(self._log.resume, oldest[0])

    @property
    def mark(self) -> str:
        """What tells this log from another at `resume`."""
        oldest = self._xa.oldest
        return self._log.mark if oldest is None else oldest[1]

    def take(self, event: Any) -> list[Captured]:
        """Take the next event in; return the records that it gives.

        Raises: SourceError when nobody can tell which tables it concerns.
        """
        try:
            return self._take(event)
        except UnattributedError as problem:
            at = self._log.text(self._numbers.moment.lsn)
            msg = (
                f"source {self._system}: transaction at {at}: {problem}. Nothing from there on was captured; "
                f"mend the cause, then run `exchange resnapshot {self._system}` to read all tables anew"
            )
            raise SourceError(msg) from None

    def _take(self, event: Any) -> list[Captured]:
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
                return self._prepare(event)
            case QueryEvent():
                return self._statement(event)
            case RotateEvent():
                self._rotate(event)
            case FormatDescriptionEvent():
                self._log.begin_file(event.timestamp)
            case HeartbeatLogEvent():
                pass
            case _:
                self._other(event)
        return []

    @property
    def has_more(self) -> bool:
        """Whether `more` is to be called before the next event, which fills a batch in portions."""
        return self._ending is not None

    def more(self) -> list[Captured]:
        """Return the next records of what the event before has ended."""
        if self._ending is None:
            return []
        rows = self._ending.rows
        taken = self._records(rows.popleft()) if rows else []
        if not rows:
            ended, self._ending = self._ending, None
            self._drop_prepared(ended.event, ended.xid)
        return taken

    # -- where we are

    def _begin(self, event: Any) -> None:
        start = self._log.begin_of(event)
        gtid = getattr(event, "gtid", "")
        now_ms = time.time_ns() // 1_000_000
        at_ms = event.timestamp * 1000
        file = self._log.file
        self._numbers.begin(BinlogMoment(at_ms, start, byte_of(start), now_ms, file=file, gtid=gtid))
        flags = event.flags if isinstance(event, MariadbGtidEvent) else _MARIADB_STANDALONE
        self._explicit, self._prepared = not flags & _MARIADB_STANDALONE, False
        if flags & _MARIADB_PREPARED_XA:
            self._begin_prepared()

    def _end(self, event: Any) -> None:
        self._log.ended(self._numbers.moment.gtid)
        self._numbers.end()
        self._explicit = self._prepared = False
        self._log.reached(event)

    def _rotate(self, event: Any) -> None:
        self._maps.clear()
        self._log.rotate(event)

    def _other(self, event: Any) -> None:
        """Take what is neither a change nor the bounds of one; what is not known to be harmless halts."""
        number = event.event_type
        if number == BINLOG.ANONYMOUS_GTID_LOG_EVENT:
            self._begin(event)
        elif isinstance(event, BeginLoadQueryEvent | ExecuteLoadQueryEvent):
            msg = "LOAD DATA was logged as a statement (binlog_format was not ROW)"
            raise UnattributedError(msg)
        elif isinstance(event, NotImplementedEvent) and number not in _HARMLESS:
            msg = f"an event of type {number} is not understood (compressed?)"
            raise UnattributedError(msg)
        elif not self.is_open and event.packet.log_pos:
            self._log.reached(event)

    # -- statements

    def _statement(self, event: Any) -> list[Captured]:
        judged = judge(event.query, event.schema.decode(errors="replace"), self._tables)
        match judged.effect:
            case Effect.HALT:
                if not judged.tables:
                    raise UnattributedError(judged.why)
                for table in judged.tables:
                    self._halt_table(table, judged.why)
                self._end_unless_explicit(event)
            case Effect.TRUNCATE:
                taken = [record for table in judged.tables for record in self._truncate(event, table)]
                self._end_unless_explicit(event)
                return taken
            case Effect.BEGIN:
                self._explicit = True
            case Effect.XA_START:
                self._explicit = True
                self._begin_prepared()
            case Effect.XA_END:
                self._xa.name(judged.xid)
            case Effect.XA_COMMIT:
                return self._end_prepared(event, judged.xid)
            case Effect.XA_ROLLBACK:
                self._drop_prepared(event, judged.xid)
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
        found = self._numbers.find(table, self._numbers.start_of(event))
        shape = self._shapes.last_of(table)
        return [] if found is None else [truncate_record(Place(shape, *found))]

    # -- XA transactions

    def _begin_prepared(self) -> None:
        if not self._prepared:
            self._prepared = True
            self._xa.begin(self._numbers.moment.lsn, self._log.mark)

    def _prepare(self, event: Any) -> list[Captured]:
        xid = self._xa.hold()
        if event.one_phase:
            self._prepared = False
            return self._end_prepared(event, xid)
        self._end(event)
        return []

    def _end_prepared(self, event: Any, xid: str) -> list[Captured]:
        """Begin to tell a transaction that is committed at last, under the place of its commit."""
        rows = self._xa.rows_of(xid)
        if rows is None:
            msg = "an XA transaction was committed whose changes stand in the log before the capture began"
            raise UnattributedError(msg)
        self._ending = _Ending(event, xid, deque(rows))
        return self.more()

    def _drop_prepared(self, event: Any, xid: str) -> None:
        self._xa.drop(xid)
        self._end(event)

    # -- rows

    def _takes(self, table: str) -> bool:
        """Whether changes of a table are captured where the log is now.

        A prepared transaction's place is not known yet: whether its changes are is seen at its end.
        """
        place_or_later = _LAST_PLACE if self._prepared else self._numbers.moment.lsn
        return table in self._tables and self._marks.takes(table, place_or_later)

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
        at = self._numbers.start_of(event) + rows_begin(event)
        try:
            rows = HeldRows(event, mapped, row_images(event, mapped), at)
        except UnreadableChange as problem:
            self._halt_table(table, str(problem))
            return []
        if not self._prepared:
            return self._records(rows)
        self._xa.add(rows)
        if self._xa.size_bytes > MOST_BYTES:
            msg = f"prepared XA transactions hold more than {MOST_BYTES} bytes of log"
            raise UnattributedError(msg)
        return []

    def _records(self, rows: HeldRows) -> list[Captured]:
        table = rows.mapped.shape.shape.table
        if not self._takes(table):
            return []
        made: list[Captured] = []
        step = 2 if isinstance(rows.event, UpdateRowsEvent) else 1
        for number in range(0, len(rows.images), step):
            found = self._numbers.find(table, rows.at + rows.images[number][0])
            if found is not None:
                images = [image for _, image in rows.images[number : number + step]]
                made += row_records(rows.event, Place(rows.mapped.shape, *found), images)
        return made

    def _halt_table(self, table: str, why: str) -> None:
        if self._takes(table):
            self._marks.halt(table, f"{why} (log at {self._log.text(self._numbers.moment.lsn)})")
