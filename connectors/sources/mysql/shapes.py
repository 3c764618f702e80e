"""A table's shape and its changes as Debezium change events in Avro, as the log's table map tells them.

Source: Debezium documentation, MySQL and MariaDB connectors, "Data change events".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connectors import avrobytes
from connectors.rawschema import VERSION, source_schema
from connectors.sources.mysql.rowimage import RowReader
from connectors.sources.mysql.snapshot import SourceTable
from connectors.sources.mysql.tablemap import from_table_map
from connectors.sources.mysql.types import mapping
from connectors.sources.postgres.envelope import Moment, ShapeColumn, TableShape
from exchange.binlog.columns import Column, UnknownColumn

_PLACES: Final = (
    {"name": "db", "type": "string"},
    {"name": "table", "type": "string"},
    {"name": "file", "type": "string"},
    {"name": "pos", "type": "long", "doc": "where the transaction begins in the file"},
    {"name": "gtid", "type": ["null", "string"], "default": None},
)


@dataclass(frozen=True, slots=True)
class BinlogMoment(Moment):
    """What all changes of one transaction share. lsn: its commit number; xid: its place in its file."""

    file: str = ""
    gtid: str = ""


@dataclass(slots=True)
class BinlogShape(TableShape):
    """One table as of one table map: the envelope of PostgreSQL's, with the source block of a binary log."""

    kind: str = field(kw_only=True)
    """mysql or mariadb."""

    def source_texts(self, *, snapshot: bool = False) -> tuple[bytes, bytes]:
        """Return what an envelope's source says before and after the time of commit, up to the file."""
        texts = (VERSION, self.kind, self.system)
        places = ("true" if snapshot else "false", self.schema, self.table)
        return b"".join(map(avrobytes.text, texts)), b"".join(map(avrobytes.text, places))

    def _write_source(self, moment: Moment) -> bytes:
        head, tail = self.source_texts(snapshot=moment.snapshot)
        file, gtid = (moment.file, moment.gtid) if isinstance(moment, BinlogMoment) else ("", "")
        place = avrobytes.text(file) + avrobytes.long(moment.lsn & 0xFFFF_FFFF)
        told = avrobytes.PRESENT + avrobytes.text(gtid) if gtid else avrobytes.NULL
        return head + avrobytes.long(moment.source_ms) + tail + place + told

    def _source_schema(self) -> dict[str, Any]:
        return source_schema(f"io.debezium.connector.{self.kind}", _PLACES)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A table map in force: the shape of its rows, and how they are read."""

    shape: BinlogShape
    reader: RowReader
    columns: int


class Shapes:
    """Compiles shapes: of tables as they are now, and of table maps; each distinct one once."""

    def __init__(
        self, system: str, kind: str, tables: Mapping[str, SourceTable], collations: Mapping[int, str]
    ):
        self._system = system
        self._kind = kind
        self._tables = tables
        self._collations = collations
        self._last: dict[str, BinlogShape] = {}
        self._made: dict[tuple[str, tuple[Column, ...], tuple[str, ...]], BinlogShape] = {}

    def of_table(self, table: SourceTable) -> BinlogShape:
        """Compile a table's shape as the catalogue showed it."""
        return self._compile(table.name, table.columns, table.key)

    def last_of(self, name: str) -> BinlogShape:
        """Return a table's shape as it was told last: by the log, else by the catalogue."""
        return self._last.get(name) or self.of_table(self._tables[name])

    def of_table_map(self, event: Any) -> Mapped:
        """Return what the table map of a captured table says.

        Raises: UnknownColumn when its rows could not be read exactly.
        """
        name = f"{event.schema}.{event.table}"
        columns = from_table_map(event, self._collations)
        told = event.optional_metadata
        at = told.simple_primary_key_list or list(told.primary_keys_with_prefix)
        if not at:
            msg = "it no longer has a primary key"
            raise UnknownColumn(msg)
        key = tuple(columns[number].name for number in at)
        return Mapped(self._compile(name, columns, key), RowReader(event.columns), len(columns))

    def _compile(self, name: str, columns: tuple[Column, ...], key: tuple[str, ...]) -> BinlogShape:
        known = self._made.get((name, columns, key))
        if known is None:
            schema, _, table = name.partition(".")
            written = tuple(
                ShapeColumn(column.name, column.name in key, mapping(column)) for column in columns
            )
            known = BinlogShape(self._system, schema, schema, table, written, kind=self._kind)
            self._made[name, columns, key] = known
        self._last[name] = known
        return known
