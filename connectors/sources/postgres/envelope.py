"""A table's shape and its changes as Debezium change events in Avro.

A relation compiles once to a `TableShape`; each change is then written straight from the server's texts.

Source: Debezium documentation, PostgreSQL connector, "Data change events".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors import avrobytes
from connectors.rawschema import VERSION, change_schema, key_schema, raw_namespace, source_schema
from connectors.source import Shape
from connectors.sources.convert import Convert, Mapping, Unrepresentable
from connectors.sources.postgres.pgoutput import UNCHANGED, Cell, Row
from exchange.change import Op, Reason, Rejected
from exchange.encoding.avroname import avro_name
from exchange.errors import SourceError

_CONNECTOR: Final = "postgresql"
_OPS: Final = {op: avrobytes.text(op.value) for op in Op}

_SOURCE_SCHEMA: Final = source_schema(
    "io.debezium.connector.postgresql",
    [
        {"name": "db", "type": "string"},
        {"name": "schema", "type": "string"},
        {"name": "table", "type": "string"},
        {"name": "txId", "type": ["null", "long"], "default": None},
        {"name": "lsn", "type": ["null", "long"], "default": None},
    ],
)


@dataclass(frozen=True, slots=True)
class ShapeColumn:
    """A column as compiled: its name in the source, whether it is in the key, how its values are written."""

    name: str
    in_key: bool
    mapping: Mapping


@dataclass(frozen=True, slots=True)
class Moment:
    """What all changes of one transaction (or one chunk of a snapshot) share."""

    source_ms: int
    lsn: int
    xid: int | None
    captured_ms: int
    snapshot: bool = False


@dataclass(slots=True)
class TableShape:
    """One table as of one relation message: schemas and writers for its keys and rows."""

    system: str
    database: str
    schema: str
    table: str
    columns: tuple[ShapeColumn, ...]
    shape: Shape = field(init=False)
    key_at: tuple[int, ...] = field(init=False)
    """Where the key's columns stand, in the order of the columns."""
    _writers: tuple[tuple[str, bool, Convert], ...] = field(init=False)
    _moment: Moment | None = field(init=False, default=None)
    _source: bytes = field(init=False, default=b"")
    _captured_at: bytes = field(init=False, default=b"")
    _transaction: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self.key_at = tuple(at for at, column in enumerate(self.columns) if column.in_key)
        self._writers = tuple((column.name, column.in_key, column.mapping.convert) for column in self.columns)
        name = f"{self.schema}.{self.table}"
        if len({avro_name(column.name) for column in self.columns}) < len(self.columns):
            msg = f"source {self.system}: table {name} has two columns with one name in Avro; rename either"
            raise SourceError(msg)
        namespace = raw_namespace(self.system, self.schema, self.table)
        columns = [(column.name, column.in_key, column.mapping.avro) for column in self.columns]
        changes = change_schema(namespace, columns, self._source_schema())
        self.shape = Shape(name, key_schema(namespace, columns), changes)

    def key(self, row: Row) -> bytes | Rejected:
        """Return the Avro bytes of a row's primary key."""
        written = []
        for at in self.key_at:
            name, _, convert = self._writers[at]
            cell = row[at]
            if not isinstance(cell, bytes):
                return Rejected(Reason.UNREPRESENTABLE, name)
            try:
                written.append(convert(cell))
            except Unrepresentable:
                return Rejected(Reason.UNREPRESENTABLE, name)
        return b"".join(written)

    def row(self, row: Row) -> bytes | Rejected:
        """Return the Avro bytes of a whole row; of a bare key too: its other columns are null."""
        written = []
        for cell, (name, in_key, convert) in zip(row, self._writers, strict=True):
            if cell is None and not in_key:
                written.append(b"\x00")
                continue
            if not isinstance(cell, bytes):
                reason = Reason.UNREPRESENTABLE if cell is None else Reason.UNCHANGED_TOAST
                return Rejected(reason, name)
            try:
                written.append(convert(cell) if in_key else b"\x02" + convert(cell))
            except Unrepresentable:
                return Rejected(Reason.UNREPRESENTABLE, name)
        return b"".join(written)

    def envelope(
        self, op: Op, before: bytes | None, after: bytes | None, moment: Moment, order: tuple[int, int] | None
    ) -> bytes:
        """Return the envelope's Avro bytes.

        order: the change's number in its transaction, overall and of this table, from 1.
        """
        if moment is not self._moment:
            self._moment = moment
            self._source = self._write_source(moment)
            self._captured_at = avrobytes.PRESENT + avrobytes.long(moment.captured_ms)
            self._transaction = avrobytes.PRESENT + avrobytes.text(f"{moment.xid}:{moment.lsn}")
        return b"".join(
            (
                b"\x00" if before is None else b"\x02" + before,
                b"\x00" if after is None else b"\x02" + after,
                self._source,
                _OPS[op],
                self._captured_at,
                avrobytes.NULL
                if order is None
                else self._transaction + avrobytes.long(order[0]) + avrobytes.long(order[1]),
            )
        )

    def as_sent(self, before: Row | None, after: Row | None) -> bytes:
        """Return a change as JSON of the source's own texts, for the sealed payload of a refused one."""
        images = {"before": before and self._texts(before), "after": after and self._texts(after)}
        return json.dumps(images, ensure_ascii=False).encode()

    def source_texts(self, *, snapshot: bool = False) -> tuple[bytes, bytes]:
        """Return what an envelope's source says before and after the time of commit, up to `txId`."""
        texts = (VERSION, _CONNECTOR, self.system)
        places = ("true" if snapshot else "false", self.database, self.schema, self.table)
        return b"".join(map(avrobytes.text, texts)), b"".join(map(avrobytes.text, places))

    def _texts(self, row: Sequence[Cell]) -> dict[str, str | None]:
        return {
            column.name: cell.decode(errors="backslashreplace") if isinstance(cell, bytes) else None
            for column, cell in zip(self.columns, row, strict=True)
            if cell is not UNCHANGED
        }

    def _write_source(self, moment: Moment) -> bytes:
        head, tail = self.source_texts(snapshot=moment.snapshot)
        xid = avrobytes.NULL if moment.xid is None else avrobytes.PRESENT + avrobytes.long(moment.xid)
        return b"".join(
            (
                head,
                avrobytes.long(moment.source_ms),
                tail,
                xid,
                avrobytes.PRESENT,
                avrobytes.long(moment.lsn),
            )
        )

    def _source_schema(self) -> dict[str, Any]:
        return _SOURCE_SCHEMA
