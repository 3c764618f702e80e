"""The sink into PostgreSQL: a batch's rows and places in one transaction.

Exactly once: the places are in the same transaction as the rows, so both are there or neither; on opening
they say where to go on. A second process is found out by them too: the places are locked and compared before
anything is written, so of two only one writes from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import psycopg
from psycopg import sql

from connectors.sink import DeliveredView, OvertakenError, Parked
from connectors.sinks.laststate import LastState, last_state
from connectors.sinks.postgres.connection import RefusedRowsError, connect, in_our_words
from connectors.sinks.postgres.rows import Rows
from connectors.sinks.postgres.table import OFFSET, PARTITION, Table
from exchange.errors import TransientError
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received

_STAGE: Final = "_exchange_stage"


class PostgresSink:
    """The `Sink` protocol on one table."""

    linger_s: ClassVar[float] = 0.0
    max_records: ClassVar[int] = 10_000

    def __init__(self, delivery: PlannedDelivery, view: DeliveredView, secrets: Secrets) -> None:
        self._delivery = delivery
        self._secrets = secrets
        self._view = view
        self._table = Table(delivery.namespace, view)
        self._rows = Rows(view)
        self._places: dict[int, int] = {}
        self._already: dict[int, int] = {}
        """Places when it was opened: records before them were written by a process before us."""
        self._connection: psycopg.Connection[Any] | None = None
        self._put = self._put_statement()

    def open(self) -> Mapping[int, Place]:
        """Make the tables; return the places they hold."""
        self._connection = connect(self._delivery.subscriber, self._delivery.connection_env, self._secrets)
        try:
            found = self._prepare(self._connection)
        except RefusedRowsError as error:  # somebody else made the same thing at the same moment
            msg = f"view {self._view.name}: its tables could not be made (SQLSTATE {error.sqlstate})"
            raise TransientError(msg) from None
        self._places = {partition: offset for partition, offset, _ in found}
        self._already = dict(self._places)
        return {partition: Place(offset, marks) for partition, offset, marks in found}

    def _prepare(self, connection: psycopg.Connection[Any]) -> list[tuple[int, int, str]]:
        """Make what is missing; return partition, offset and marks of each place."""
        places = "SELECT partition, next_offset, marks FROM {schema}._exchange_offsets WHERE topic = %s"
        with self._in_our_words(), connection.transaction():
            self._table.make(connection)
            found = connection.execute(self._sql(places), [self._view.topic]).fetchall()
            connection.execute(
                self._sql(
                    "CREATE TEMPORARY TABLE {stage} ON COMMIT DELETE ROWS "
                    "AS SELECT * FROM {table} WITH NO DATA"
                )
            )
        return found

    def write(self, batch: Batch) -> Parked:
        """Write a batch: 1 compare places, 2 empty, delete, put, 3 park, 4 places; then commit."""
        with self._in_our_words(), self._open.transaction():
            if self._held() != self._places:
                raise self._overtaken()
            new = [one for one in batch.records if one.offset >= self._already.get(one.partition, 0)]
            parked = self._parked_before(batch.records) if len(new) < len(batch.records) else set()
            parked |= self._write(new)
            places = {
                at: place for at, place in batch.places.items() if place.offset > self._places.get(at, -1)
            }
            self._keep(places)
        self._places |= {at: place.offset for at, place in places.items()}
        return parked

    def begin_anew(self) -> str:
        """Return the SQL that makes the target forget the view."""
        forget = self._sql("DELETE FROM {schema}._exchange_offsets WHERE topic = ")
        return (
            f"run in the subscriber's database: {self._table.text('TRUNCATE {}')}; "
            f"{forget.as_string(None)}'{self._view.topic}'"
        )

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            msg = "the sink is not open"
            raise RuntimeError(msg)
        return self._connection

    def _held(self) -> dict[int, int]:
        """Return the view's places in the target, locked."""
        statement = (
            "SELECT partition, next_offset FROM {schema}._exchange_offsets WHERE topic = %s FOR UPDATE"
        )
        return dict(self._open.execute(self._sql(statement), [self._view.topic]).fetchall())

    def _overtaken(self) -> OvertakenError:
        return OvertakenError(
            f"delivery to {self._delivery.subscriber}: another process has written view {self._view.name} "
            "meanwhile; only one may run, stop either of them"
        )

    def _keep(self, places: Mapping[int, Place]) -> None:
        for partition, place in places.items():
            statement = (
                "UPDATE {schema}._exchange_offsets SET next_offset = %s, marks = %s, at = now() "
                "WHERE topic = %s AND partition = %s"
                if partition in self._places
                else "INSERT INTO {schema}._exchange_offsets (next_offset, marks, topic, partition) "
                "VALUES (%s, %s, %s, %s)"
            )
            given = [place.offset, place.marks, self._view.topic, partition]
            try:
                with self._in_our_words():
                    self._open.execute(self._sql(statement), given)
            except RefusedRowsError:  # its place was there all of a sudden
                raise self._overtaken() from None

    def _write(self, records: Sequence[Received]) -> set[tuple[int, int]]:
        """Write records; return the places of those that were parked instead."""
        fit, parked = [], set()
        for record in records:
            reason = self._rows.unfit(record)
            if reason:
                parked.add(self._park(record, reason))
            else:
                fit.append(record)
        return parked | self._write_fit(fit)

    def _write_fit(self, records: Sequence[Received]) -> set[tuple[int, int]]:
        """Write records that look fit; where the server refuses some, find them by halves, in order."""
        if not records:
            return set()
        try:
            with self._open.transaction(), self._in_our_words():
                self._apply(last_state(records, self._view.key))
        except RefusedRowsError as error:
            if len(records) == 1:
                return {self._park(records[0], f"PostgreSQL refuses it with SQLSTATE {error.sqlstate}")}
            middle = len(records) // 2
            return self._write_fit(records[:middle]) | self._write_fit(records[middle:])
        return set()

    def _apply(self, left: LastState) -> None:
        run = self._open.execute
        if left.emptied:
            run(self._sql("DELETE FROM {table} WHERE {partition} = ANY (%s)"), [list(left.emptied)])
        if left.deleted:
            columns = [sql.Identifier(name) for name in self._view.key]
            self._copy(columns, left.deleted)
            run(self._delete_statement())
            run(self._sql("DELETE FROM {stage}"))
        if left.rows:
            names = [*self._table.columns, PARTITION, OFFSET]
            self._copy([sql.Identifier(name) for name in names], map(self._rows.row, left.rows.values()))
            run(self._put)
            run(self._sql("DELETE FROM {stage}"))

    def _copy(self, columns: Sequence[sql.Identifier], rows: Iterable[Sequence[Any]]) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(_STAGE), sql.SQL(", ").join(columns)
        )
        with self._open.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def _delete_statement(self) -> sql.Composed:
        same = sql.SQL(" AND ").join(
            sql.SQL("t.{0} = s.{0}").format(sql.Identifier(name)) for name in self._view.key
        )
        return sql.SQL("DELETE FROM {} t USING {} s WHERE {}").format(
            self._table.name, sql.Identifier(_STAGE), same
        )

    def _put_statement(self) -> sql.Composed:
        names = [*self._table.columns, PARTITION, OFFSET]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        changed = [name for name in names if name not in self._view.key]
        new = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changed
        )
        key = sql.SQL(", ").join(map(sql.Identifier, self._view.key))
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO UPDATE SET {}").format(
            self._table.name, columns, columns, sql.Identifier(_STAGE), key, new
        )

    def _park(self, record: Received, reason: str) -> tuple[int, int]:
        self._open.execute(
            self._sql(
                "INSERT INTO {schema}._exchange_parked (topic, partition, kafka_offset, op, reason) "
                "VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
            ),
            [
                record.topic,
                record.partition,
                record.offset,
                record.header.op.value if record.header else "",
                reason,
            ],
        )
        return record.partition, record.offset

    def _parked_before(self, records: Sequence[Received]) -> set[tuple[int, int]]:
        """Return the places of those records that were parked by the process before us."""
        found = self._open.execute(
            self._sql("SELECT partition, kafka_offset FROM {schema}._exchange_parked WHERE topic = %s"),
            [self._view.topic],
        )
        return {(one.partition, one.offset) for one in records} & set(found.fetchall())

    def _sql(self, statement: str) -> sql.Composed:
        return sql.SQL(statement).format(
            schema=self._table.schema,
            table=self._table.name,
            stage=sql.Identifier(_STAGE),
            partition=sql.Identifier(PARTITION),
        )

    def _in_our_words(self) -> Any:
        return in_our_words(f"delivery to {self._delivery.subscriber}, view {self._view.name}")
