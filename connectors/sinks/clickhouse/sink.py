"""The sink into ClickHouse: a batch as one insert into each of two tables.

ClickHouse has no transaction over two tables. What stands for one:

1. what is parked, then the last states: a row has its offset for a version, and may be written again;
2. the changes last, in one block, which is there as a whole or not at all. The highest offset in them says
   how far the target is, and what lies before it is not written again;
3. an insert whose outcome is unknown may still arrive after it was repeated: two rows of one place, which the
   engine takes for one (`FINAL`, and for good once parts are merged).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from connectors.sink import DeliveredView, Parked
from connectors.sinks.clickhouse import tables as names
from connectors.sinks.clickhouse.cells import Cells
from connectors.sinks.clickhouse.client import ClickHouseTarget, quoted
from connectors.sinks.clickhouse.tables import Tables
from connectors.sinks.laststate import last_state
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received

Values = Mapping[tuple[int, int], list[Any]]
"""Partition and offset → the values of the view's columns."""


class ClickhouseSink:
    """The `Sink` protocol on the tables of one view."""

    linger_s: ClassVar[float] = 1.0
    """ClickHouse wants few inserts of many rows."""
    max_records: ClassVar[int] = 50_000

    def __init__(self, delivery: PlannedDelivery, view: DeliveredView, secrets: Secrets) -> None:
        doing = f"delivery to {delivery.subscriber}, view {view.name}"
        self._target = ClickHouseTarget(doing, delivery.connection_env, delivery.namespace, secrets)
        self._view = view
        self._tables = Tables(view)
        self._cells = Cells(view)
        self._already: dict[int, int] = {}

    def open(self) -> Mapping[int, Place]:
        """Make the tables; return the places behind the changes that they hold.

        They hold no marks: what would tell a duplicate is the place itself.
        """
        self._target.open()
        self._tables.make(self._target)
        found = self._target.rows(
            f"SELECT {names.PARTITION}, max({names.OFFSET}) + 1 FROM {quoted(self._tables.changes)} "  # noqa: S608
            f"GROUP BY {names.PARTITION}"
        )
        self._already = {int(partition): int(offset) for partition, offset in found}
        return {partition: Place(offset) for partition, offset in self._already.items()}

    def write(self, batch: Batch) -> Parked:
        """Write a batch: 1 parked, 2 last states, 3 changes."""
        new = [one for one in batch.records if one.offset >= self._already.get(one.partition, 0)]
        parked = self._parked_before(batch.records) if len(new) < len(batch.records) else set()
        values: dict[tuple[int, int], list[Any]] = {}
        unfit: list[tuple[Received, str]] = []
        for record in new:
            try:
                values[record.partition, record.offset] = self._cells.values(record)
            except ValueError as error:
                unfit.append((record, str(error)))
        self._park(unfit)
        fit = [one for one in new if (one.partition, one.offset) in values]
        self._write_latest(fit, values)
        self._write_changes(new, values)
        return parked | {(record.partition, record.offset) for record, _ in unfit}

    def begin_anew(self) -> str:
        """Return the SQL that makes the target forget the view."""
        return f"run in the subscriber's ClickHouse: {self._tables.forget()}"

    def close(self) -> None:
        """Close the connection."""
        self._target.close()

    def _write_latest(self, records: Sequence[Received], values: Values) -> None:
        left = last_state(records, self._view.key)
        for partition, offset in left.emptied.items():
            self._empty(partition, offset)
        columns = [*self._tables.columns, names.PARTITION, names.OFFSET, names.DELETED]
        rows = [
            [*values[one.partition, one.offset], one.partition, one.offset, deleted]
            for deleted, group in ((0, left.rows), (1, left.deleted))
            for one in group.values()
        ]
        self._target.insert(self._tables.latest, columns, rows)

    def _empty(self, partition: int, offset: int) -> None:
        """Mark every row of a partition before a truncate as deleted by it."""
        key = ", ".join(map(quoted, self._view.key))
        table, own = quoted(self._tables.latest), f"{names.PARTITION}, {names.OFFSET}, {names.DELETED}"
        self._target.command(
            f"INSERT INTO {table} ({key}, {own}) SELECT {key}, {names.PARTITION}, {offset}, 1 "  # noqa: S608
            f"FROM {table} FINAL WHERE {names.PARTITION} = {partition} AND {names.OFFSET} < {offset}"
        )

    def _write_changes(self, records: Sequence[Received], values: Values) -> None:
        """Write changes; a parked one leaves a row without values, so that the places have no holes."""
        own = [names.PARTITION, names.OFFSET, names.OP, names.SOURCE_MS]
        rows = [
            self._change(one, values.get((one.partition, one.offset)))
            for one in records
            if one.header is None or not one.header.tombstone
        ]
        self._target.insert(self._tables.changes, [*self._tables.columns, *own], rows)

    def _change(self, record: Received, values: list[Any] | None) -> list[Any]:
        at, header = [record.partition, record.offset], record.header
        if header is None or values is None:
            return [*self._cells.nothing, *at, names.PARKED_OP, 0]
        return [*values, *at, header.op.value, header.source_ms]

    def _park(self, unfit: Sequence[tuple[Received, str]]) -> None:
        columns = ["topic", "partition", "kafka_offset", "op", "reason"]
        rows = [
            [one.topic, one.partition, one.offset, one.header.op.value if one.header else "", reason]
            for one, reason in unfit
        ]
        self._target.insert(names.PARKED, columns, rows)

    def _parked_before(self, records: Sequence[Received]) -> set[tuple[int, int]]:
        """Return the places of those records that were parked by the process before us."""
        found = self._target.rows(
            f"SELECT partition, kafka_offset FROM {names.PARKED} WHERE topic = {{topic:String}}",  # noqa: S608 - own name
            topic=self._view.topic,
        )
        return {(one.partition, one.offset) for one in records} & {(int(at), int(of)) for at, of in found}
