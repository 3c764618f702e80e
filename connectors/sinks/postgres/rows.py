"""A batch as the rows that it leaves: each key's last state, and which partitions were emptied. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.sink import DeliveredView
from exchange.change import Op
from exchange.subscriber.plain import json_text
from exchange.subscriber.reader import Received

JSON_KINDS: Final = frozenset({"array", "record"})

Key = tuple[Any, ...]


@dataclass(slots=True)
class Changes:
    """What some records leave: rows to put, keys to delete, and partitions to empty before either."""

    rows: dict[Key, tuple[Any, ...]] = field(default_factory=dict)
    deleted: dict[Key, int] = field(default_factory=dict)
    emptied: set[int] = field(default_factory=set)


class Rows:
    """Makes rows of a view's records. A row: the view's columns in order, then partition and offset."""

    def __init__(self, view: DeliveredView) -> None:
        self._columns = [(column.name, column.kind in JSON_KINDS) for column in view.columns]
        self._key = view.key

    def unfit(self, record: Received) -> str:
        """Return why PostgreSQL cannot hold a record, empty when it can as far as it is seen from here."""
        if record.problem or record.header is None:
            return record.problem
        if record.header.tombstone or record.header.op is Op.TRUNCATE:
            return ""
        image = record.key if record.header.op is Op.DELETE else record.value and record.value["after"]
        if not record.key or not image:
            return "the record lacks its key or its row"
        try:
            values = [*record.key.values(), *self._values(image)]
        except ValueError:
            return "a number that is not finite inside of a record or an array, which JSON cannot hold"
        if any(isinstance(value, str) and ("\x00" in value or "\\u0000" in value) for value in values):
            return "a text with the character NUL, which PostgreSQL cannot hold"
        return ""

    def changes(self, records: Iterable[Received]) -> Changes:
        """Return what fit records leave. A key's last change counts, as they come in order."""
        left = Changes()
        for record in records:
            header = record.header
            if header is None or header.tombstone:
                continue
            if header.op is Op.TRUNCATE:
                self._empty(left, record.partition)
                continue
            key = tuple((record.key or {})[name] for name in self._key)
            if header.op is Op.DELETE:
                left.rows.pop(key, None)
                left.deleted[key] = record.partition
            else:
                left.deleted.pop(key, None)
                values = self._values((record.value or {})["after"])
                left.rows[key] = (*values, record.partition, record.offset)
        return left

    def _empty(self, left: Changes, partition: int) -> None:
        left.rows = {key: row for key, row in left.rows.items() if row[-2] != partition}
        left.deleted = {key: at for key, at in left.deleted.items() if at != partition}
        left.emptied.add(partition)

    def _values(self, image: dict[str, Any]) -> list[Any]:
        """Return the values of the columns: a record may be of an earlier plan, with other fields.

        What the view shows no more is left out, what it shows since is null.

        Raises: ValueError for a number that JSON cannot hold.
        """
        values = []
        for name, is_json in self._columns:
            value = image.get(name)
            values.append(json_text(value, allow_nan=False) if is_json and value is not None else value)
        return values
