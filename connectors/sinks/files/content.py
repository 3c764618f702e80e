"""What is in a file: CSV by ourselves, Parquet by pyarrow. No I/O."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Final

from connectors.sink import Column, DeliveredView
from connectors.sinks import laststate
from exchange.change import Op
from exchange.errors import ConfigError, SinkError
from exchange.subscriber.plain import json_text
from exchange.subscriber.reader import Received

OWN: Final = ("_op", "_partition", "_offset", "_source_ms")
Content = Callable[[Sequence[Received]], bytes]
_JSON_KINDS: Final = frozenset({"array", "record"})
_MAX_PRECISION: Final = 76


def content_of(form: str, view: DeliveredView) -> Content:
    """Return what makes a file's bytes of its records.

    Raises: ConfigError when pyarrow is not installed; SinkError when Parquet has no type for a column.
    """
    return _csv(view) if form == "csv" else _parquet(view)


def rows_of(view: DeliveredView, records: Sequence[Received]) -> list[list[Any]]:
    """Return a row for each change: OWN, then the view's columns; of a delete those of the key alone."""
    names = [column.name for column in view.columns]
    rows: list[list[Any]] = []
    for record in records:
        header = record.header
        if header is None or header.tombstone:
            continue
        is_row = header.op not in (Op.DELETE, Op.TRUNCATE)
        image = laststate.after(record) if is_row else record.key or {}
        own = [header.op.value, record.partition, record.offset, header.source_ms]
        rows.append([*own, *(image.get(name) for name in names)])
    return rows


def _csv(view: DeliveredView) -> Content:
    head = ",".join(map(_cell, [*OWN, *(column.name for column in view.columns)]))

    def content(records: Sequence[Received]) -> bytes:
        lines = [head, *(",".join(map(_cell, row)) for row in rows_of(view, records))]
        return "".join(f"{line}\r\n" for line in lines).encode()

    return content


def _cell(value: Any) -> str:
    """Return a cell: null is nothing at all, an empty text a pair of quotes. Source: RFC 4180."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json_text(value)
    if not isinstance(value, str) and text.startswith('"'):
        text = text[1:-1]  # a date, decimal, …: text in JSON that needs no escapes
    if text == "" or any(mark in text for mark in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _parquet(view: DeliveredView) -> Content:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        msg = (
            "Parquet files need pyarrow, which is not installed: pip install 'exchange-bus[parquet]', or csv"
        )
        raise ConfigError(msg) from None
    own = [("_op", pyarrow.string()), ("_partition", pyarrow.int32())]
    own += [("_offset", pyarrow.int64()), ("_source_ms", pyarrow.int64())]
    schema = pyarrow.schema([*own, *((column.name, _arrow(pyarrow, column)) for column in view.columns)])
    to_text = {len(own) + at for at, one in enumerate(view.columns) if one.kind in _JSON_KINDS}
    to_str = {len(own) + at for at, one in enumerate(view.columns) if one.kind == "uuid"}

    def made(at: int, value: Any) -> Any:
        if value is None:
            return None
        return json_text(value) if at in to_text else str(value) if at in to_str else value

    def content(records: Sequence[Received]) -> bytes:
        rows = rows_of(view, records)
        arrays = [
            pyarrow.array([made(at, row[at]) for row in rows], field.type) for at, field in enumerate(schema)
        ]
        out = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), out)
        return out.getvalue()

    return content


def _arrow(pyarrow: Any, column: Column) -> Any:
    if column.kind == "decimal":
        if column.precision > _MAX_PRECISION:
            msg = (
                f"column {column.name} has {column.precision} digits, Parquet takes {_MAX_PRECISION}; use csv"
            )
            raise SinkError(msg)
        make = pyarrow.decimal128 if column.precision <= 38 else pyarrow.decimal256
        return make(column.precision, column.scale)
    types = {
        "boolean": pyarrow.bool_(),
        "int": pyarrow.int32(),
        "long": pyarrow.int64(),
        "float": pyarrow.float32(),
        "double": pyarrow.float64(),
        "bytes": pyarrow.binary(),
        "date": pyarrow.date32(),
        "time": pyarrow.time64("us"),
        "timestamp": pyarrow.timestamp("us", "UTC"),
        "local_timestamp": pyarrow.timestamp("us"),
    }
    return types.get(column.kind, pyarrow.string())
