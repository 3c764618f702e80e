"""A record's values as ClickHouse takes them, and what it cannot hold. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from connectors.sink import DeliveredView
from connectors.sinks import laststate
from exchange.change import Op
from exchange.subscriber.plain import json_text
from exchange.subscriber.reader import Received

_FIRST_YEAR, _LAST_YEAR = 1900, 2299
"""Of Date32 and DateTime64(6). Source: ClickHouse documentation, data types."""


class Cells:
    """Makes a view's values; a date out of ClickHouse's range would silently become another one."""

    def __init__(self, view: DeliveredView) -> None:
        self._makers = [
            (
                column.name,
                _MAKERS.get(column.kind, _as_it_is),
                _NOTHING.get(column.kind, "") if column.name in view.key else None,
            )
            for column in view.columns
        ]

    @property
    def nothing(self) -> list[Any]:
        """The values of a change that is none."""
        return [nothing for *_, nothing in self._makers]

    def values(self, record: Received) -> list[Any]:
        """Return the values of the view's columns; of a delete those of the key, of a truncate none.

        The key's columns are never null: of a truncate they hold their type's own nothing.

        Raises: ValueError with what ClickHouse cannot hold, or that is no change at all; never with a value.
        """
        reason = laststate.unfit(record)
        if reason:
            raise ValueError(reason)
        is_row = record.header is not None and record.header.op not in (Op.DELETE, Op.TRUNCATE)
        image: Mapping[str, Any] = laststate.after(record) if is_row else record.key or {}
        return [
            nothing if (value := image.get(name)) is None else _made(name, make, value)
            for name, make, nothing in self._makers
        ]


def _made(name: str, make: Callable[[Any], Any], value: Any) -> Any:
    try:
        return make(value)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from None


def _as_it_is(value: Any) -> Any:
    return value


def _json(value: Any) -> str:
    try:
        return json_text(value, allow_nan=False)
    except ValueError:
        msg = "a number that is not finite, which JSON cannot hold"
        raise ValueError(msg) from None


def _date(value: date) -> date:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        msg = f"a date outside of the years {_FIRST_YEAR} to {_LAST_YEAR}, which ClickHouse cannot hold"
        raise ValueError(msg)
    return value


def _instant(value: datetime) -> datetime:
    """Return the time as UTC: one without zone would be taken for the machine's own."""
    _date(value)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


_MAKERS: Final[dict[str, Callable[[Any], Any]]] = {
    "array": _json,
    "record": _json,
    "date": _date,
    "timestamp": _instant,
    "local_timestamp": _instant,
    "time": str,
}

_NOTHING: Final[dict[str, Any]] = {
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "decimal": Decimal(0),
    "uuid": UUID(int=0),
    "date": date(1970, 1, 1),
    "timestamp": datetime(1970, 1, 1, tzinfo=UTC),
    "local_timestamp": datetime(1970, 1, 1, tzinfo=UTC),
}
