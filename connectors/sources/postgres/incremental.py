"""Reads one table again while the stream of all tables goes on, in chunks between watermarks.

A chunk's way, in this order:

1. its rows are read in a thread, with the transactions that the read has seen, and a mark is written into the
   log behind them: whatever was seen was committed before the mark;
2. the stream goes on, and its keys are noted by transaction (window.py), until it has passed the mark;
3. rows whose key a transaction has changed that the read did not see are left out: the stream told something
   newer; the others go to Kafka as reads (`r`) that stand just before the mark, in one transaction with the
   progress. They come behind all that they show, and before all that follows.

Before the first chunk of a run it waits until all transactions are seen that were open when noting began.
Where a chunk cannot be judged (TRUNCATE, too many keys, another shape in the stream) it is read again.

Source: A. Andreakis and I. Papapanagiotou, "DBLog: A Watermark Based Change-Data-Capture Framework"
(arXiv:2010.12597), with PostgreSQL's snapshots in place of its low watermark.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from connectors.source import Batch, Captured, ForView
from connectors.sources.chunks import FIRST_ROWS, next_limit
from connectors.sources.postgres.catalog import SourceTable
from connectors.sources.postgres.chunkread import ChunkRead, ChunkReader, key_columns
from connectors.sources.postgres.envelope import TableShape
from connectors.sources.postgres.marks import Marks
from connectors.sources.postgres.pgoutput import Relation
from connectors.sources.postgres.record import Place, row_record, snapshot_moment
from connectors.sources.postgres.shapes import Shapes
from connectors.sources.postgres.snapshot import key_texts
from connectors.sources.postgres.transaction import Transactions
from connectors.sources.postgres.window import Window
from exchange import log
from exchange.change import Op, Position, view_number
from exchange.errors import SourceError, TransientError
from exchange.plan import raw_topic
from exchange.position import IncrementalProgress, IncrementalState
from exchange.snapshot_orders import SnapshotOrder, Wish

_log = log.get(__name__)

_AGAIN_S: Final = 0.2
_RETRY_S: Final = 2.0
_STATES: Final = {
    Wish.RUN: IncrementalState.RUNNING,
    Wish.PAUSE: IncrementalState.PAUSED,
    Wish.STOP: IncrementalState.STOPPED,
}


class Incremental:
    """attach → (due → note)*; `obey` at any time between. progress: of the last operation, if any."""

    def __init__(
        self,
        reader: ChunkReader,
        shapes: Shapes,
        marks: Marks,
        tables: Mapping[str, SourceTable],
        stream_id: int,
        progress: IncrementalProgress | None,
    ) -> None:
        self.progress = progress
        self._shapes = shapes
        self._marks = marks
        self._tables = tables
        self._stream_id = stream_id
        self._transactions: Transactions | None = None
        self._reader = reader
        self._shape: tuple[Relation, TableShape] | None = None
        self._rows_per_s = 0
        self._hint = ""
        self._begin_run()

    @property
    def is_running(self) -> bool:
        """Whether chunks are to be read."""
        return self.progress is not None and self.progress.state is IncrementalState.RUNNING

    @property
    def figures(self) -> dict[str, int | str]:
        """How it gets on, for the heartbeat; empty when there never was one."""
        if self.progress is None:
            return {}
        done = self.progress
        return {
            "snapshot_operation": done.operation,
            "snapshot_table": done.table,
            "snapshot_view": done.view,
            "snapshot_state": done.state.value,
            "snapshot_rows": done.rows + done.passed,
            "snapshot_estimated_rows": done.estimated_rows,
            "snapshot_rows_per_s": round(self._read / (time.monotonic() - self._began)) if self._read else 0,
            "snapshot_hint": done.reason or self._hint,
        }

    def attach(self, transactions: Transactions) -> None:
        """Note the transactions of a stream that begins."""
        self._transactions = transactions
        self._begin_run()

    def obey(self, order: SnapshotOrder) -> None:
        """Begin, pause, resume or stop an operation; one that has ended is over."""
        self._rows_per_s = order.rows_per_s
        progress = self.progress
        if progress is None or progress.operation != order.operation:
            progress = IncrementalProgress(order.operation, order.table, order.view, order.plan_version)
            _log.info("snapshot_ordered", system=self._marks.system, table=order.table, view=order.view)
        elif progress.has_ended or progress.state is _STATES[order.wish]:
            return
        self.progress = progress
        self._become(_STATES[order.wish])

    def due(self, reached: int) -> list[Captured] | None:
        """Return the records to be written now, None when the stream has to go on first.

        reached: log position up to which the stream has told everything.
        """
        if not self.is_running:
            return None
        try:
            return self._due(self._operation, reached)
        except TransientError as error:
            self._read_again(str(error), _RETRY_S)
        except SourceError as error:
            self._fail(str(error))
        return None

    def note(self, batch: Batch) -> None:
        """Take in what the stream tells."""
        if self.is_running and self._transactions is not None:
            self._window.note(batch, self._transactions.take_begun())

    # -- states

    @property
    def _operation(self) -> IncrementalProgress:
        if self.progress is None:
            msg = f"source {self._marks.system}: no snapshot was ordered"
            raise SourceError(msg)
        return self.progress

    def _become(self, state: IncrementalState, reason: str = "") -> None:
        ended = state not in (IncrementalState.RUNNING, IncrementalState.PAUSED)
        self.progress = replace(self._operation, state=state, reason=reason)
        if ended:
            self.progress = replace(self.progress, last_key=())
        self._begin_run()
        _log.info(
            f"snapshot_{state.value}",
            system=self._marks.system,
            table=self.progress.table,
            view=self.progress.view,
            records=self.progress.rows,
            reason=reason or None,
        )

    def _fail(self, reason: str) -> None:
        self._become(IncrementalState.FAILED, reason)

    def _begin_run(self) -> None:
        """Begin to note keys from here on, and forget what was read before."""
        table = self.progress.table if self.progress is not None else ""
        self._window = Window(table, raw_topic(self._marks.system, table))
        self._floor: int | None = None
        self._settled = False
        self._chunk: ChunkRead | None = None
        self._reader.abandon()
        self._told_before: Relation | None = None
        self._not_before = 0.0
        self._limit = FIRST_ROWS
        self._hint = ""
        self._read, self._began = 0, time.monotonic()
        if self._transactions is not None:
            self._transactions.track(on=self.is_running)

    # -- chunks

    def _due(self, operation: IncrementalProgress, reached: int) -> list[Captured] | None:
        self._check(operation.table)
        if self._chunk is None:
            found = self._next_read(operation)
            if found is None:
                return None
            if found.table.identity != self._tables[operation.table].identity:
                msg = (
                    f"table {operation.table} is not the one that is captured any more; see `exchange status`"
                )
                raise SourceError(msg)
            if found.rows is None:
                return self._looked(found)
            self._chunk = found
        if reached < self._chunk.mark:
            return None
        chunk, self._chunk = self._chunk, None
        return self._passed(chunk, chunk.rows or [])

    def _next_read(self, operation: IncrementalProgress) -> ChunkRead | None:
        """Return what was read; begin to read where nothing is under way."""
        if not self._reader.is_idle:
            return self._reader.result()
        if time.monotonic() >= self._not_before:
            self._told_before = self._shapes.told(operation.table)
            if self._settled:
                self._reader.read(operation.table, operation.key, operation.last_key, self._most_rows())
            else:
                self._reader.look(operation.table, operation.key)
        return None

    def _check(self, table: str) -> None:
        if table in self._marks.halted:
            raise SourceError(self._marks.halted[table])
        if table not in self._tables:
            msg = f"table {table} is not captured; see `exchange status`"
            raise SourceError(msg)

    def _looked(self, found: ChunkRead) -> list[Captured] | None:
        """Begin once all is seen that may have been told before keys were noted; announce rows for a view."""
        operation = self._operation
        self.progress = replace(operation, key=key_columns(found.table), estimated_rows=found.estimated_rows)
        if operation.view and not operation.announced:
            self.progress = replace(self.progress, announced=True)
            self._window.clear()
            return [self._announcement(found)]
        if self._floor is None:
            # Not the read's xmax: that is behind the last transaction that ended, and others are open beyond.
            self._floor = found.marked_by
        if found.seen.xmin < self._floor:
            self._read_again("a transaction that is older than the snapshot is still open", _AGAIN_S)
        else:
            self._settled = True
            self._hint = ""
        return None

    def _passed(self, chunk: ChunkRead, rows: list[tuple[bytes | None, ...]]) -> list[Captured] | None:
        """Return the rows of a chunk whose mark the stream has passed, but for those that are stale."""
        told = self._shapes.told(chunk.table.name)
        if (
            told is not self._told_before
            and told is not None
            and told.columns != chunk.table.relation.columns
        ):
            self._read_again("the table got another shape", 0)
            return None
        stale = self._window.stale(chunk.seen)
        if stale is None:
            self._read_again("a transaction changed more of the table than can be noted", _AGAIN_S)
            return None
        self._window.forget(chunk.seen)
        records = [record for record in self._records(chunk, rows) if record.key not in stale]
        self._advance(chunk, rows, len(records))
        return records

    def _advance(self, chunk: ChunkRead, rows: list[tuple[bytes | None, ...]], sent: int) -> None:
        operation = self._operation
        self._hint = ""
        self._read += len(rows)
        self._limit = next_limit(self._limit, rows)
        if self._rows_per_s:
            self._not_before = time.monotonic() + len(rows) / self._rows_per_s
        self.progress = replace(
            operation,
            chunks=operation.chunks + 1,
            rows=operation.rows + sent,
            passed=operation.passed + len(rows) - sent,
            last_key=key_texts(chunk.table, rows[-1]) if rows else operation.last_key,
        )
        if chunk.last:
            self._become(IncrementalState.COMPLETE)

    def _read_again(self, hint: str, after_s: float) -> None:
        self._chunk = None
        self._hint = hint
        self._not_before = time.monotonic() + after_s

    def _most_rows(self) -> int:
        return min(self._limit, self._rows_per_s) if self._rows_per_s else self._limit

    # -- records

    def _records(self, chunk: ChunkRead, rows: list[tuple[bytes | None, ...]]) -> list[Captured]:
        commit = chunk.mark - 1  # where no transaction's commit record can stand: they are aligned
        shape, moment, for_view = self._shape_of(chunk.table), snapshot_moment(commit), self._for_view()
        records = []
        for index, row in enumerate(rows):
            place = Place(shape, Position(self._stream_id, commit, index), moment)
            record = row_record(place, Op.READ, None, row)
            record.for_view = for_view
            records.append(record)
        return records

    def _announcement(self, found: ChunkRead) -> Captured:
        """Return the record at which workers wait for the plan that has the view.

        What they have read before it may have missed the view; keys are noted from here on, so no row is left
        out for the sake of such a record.
        """
        commit = found.mark - 1
        shape, moment = self._shape_of(found.table), snapshot_moment(commit)
        value = shape.envelope(Op.READ, None, None, moment, None)
        position = Position(self._stream_id, commit, 0)
        return Captured(
            shape.shape, position, Op.READ, moment.source_ms, None, value, for_view=self._for_view()
        )

    def _for_view(self) -> ForView | None:
        operation = self._operation
        return ForView(view_number(operation.view), operation.plan_version) if operation.view else None

    def _shape_of(self, table: SourceTable) -> TableShape:
        """Return the compiled shape, the same one as long as the table is: each is registered once."""
        if self._shape is None or self._shape[0] != table.relation:
            self._shape = table.relation, self._shapes.of_table(table)
        return self._shape[1]
