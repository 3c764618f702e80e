"""A record's row as PostgreSQL takes it, and what it cannot hold. No I/O."""

from __future__ import annotations

from typing import Any, Final

from connectors.sink import DeliveredView
from connectors.sinks import laststate
from exchange.change import Op
from exchange.subscriber.plain import json_text
from exchange.subscriber.reader import Received

_JSON_KINDS: Final = frozenset({"array", "record"})


class Rows:
    """Makes rows of a view's records. A row: the view's columns in order, then partition and offset."""

    def __init__(self, view: DeliveredView) -> None:
        self._columns = [(column.name, column.kind in _JSON_KINDS) for column in view.columns]

    def unfit(self, record: Received) -> str:
        """Return why PostgreSQL cannot hold a record, empty when it can as far as it is seen from here."""
        reason = laststate.unfit(record)
        if reason or record.header is None or record.header.tombstone or record.header.op is Op.TRUNCATE:
            return reason
        try:
            self._values(laststate.after(record))
        except ValueError:
            return "a number that is not finite inside of a record or an array, which JSON cannot hold"
        if _has_nul(record.key) or _has_nul(laststate.after(record)):
            return "a text with the character NUL, which PostgreSQL cannot hold"
        return ""

    def row(self, record: Received) -> list[Any]:
        """Return the row of a create, update or read."""
        return [*self._values(laststate.after(record)), record.partition, record.offset]

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


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(map(_has_nul, value.values()))
    return isinstance(value, list) and any(map(_has_nul, value))
