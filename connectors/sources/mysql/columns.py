"""A column as the bus sees it: told by the catalogue for the snapshot, by the log for the stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pymysqlreplication.constants import FIELD_TYPE

from connectors.sources.mysql.charsets import CHARSETS

BINARY_CHARSET: Final = "binary"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `kind`: a type's name, or text, binary, geometry for families of types.

    size: bytes that a fixed binary is filled up to, or bits; scale: of a decimal, or digits of a fraction of
    a second; labels: of an enum or set, in their order.
    """

    name: str
    kind: str
    unsigned: bool = False
    size: int = 0
    precision: int = 0
    scale: int = 0
    charset: str = ""
    labels: tuple[str, ...] = ()


class UnknownColumn(Exception):
    """A column that cannot be read exactly; `why` says which and why not, and holds no value."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


CATALOGUE: Final = (
    "SELECT column_name, data_type, column_type, coalesce(character_set_name, ''),"
    " coalesce(numeric_precision, 0), coalesce(numeric_scale, 0), coalesce(datetime_precision, 0),"
    " coalesce(character_maximum_length, 0) FROM information_schema.columns"
    " WHERE (table_schema, table_name) = (%s, %s) ORDER BY ordinal_position"
)
"""What `from_catalogue` wants."""

_SAME: Final = frozenset(
    [
        "tinyint",
        "smallint",
        "mediumint",
        "int",
        "bigint",
        "decimal",
        "float",
        "double",
        "date",
        "time",
        "datetime",
        "timestamp",
        "year",
        "bit",
    ]
)
TEXTS: Final = frozenset(["char", "varchar", "tinytext", "text", "mediumtext", "longtext"])
BINARIES: Final = frozenset(["binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
_GEOMETRIES: Final = frozenset(
    [
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
    ]
)
_FIXED: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")


def from_catalogue(row: Sequence[str]) -> Column:
    """Return the column of one row of CATALOGUE.

    Raises: UnknownColumn.
    """
    name, kind, full, charset = row[:4]
    precision, scale, fraction, length = map(int, row[4:])
    if kind in ("enum", "set"):
        labels = tuple(label.replace("''", "'") for label in _LABEL.findall(full))
        return _labelled(Column(name, kind, charset=charset, labels=labels))
    if kind in TEXTS:
        return _text(name, charset)
    if kind in BINARIES or kind in _FIXED:
        return Column(name, "binary", size=_FIXED.get(kind, length if kind == "binary" else 0))
    if kind in _GEOMETRIES:
        return Column(name, "geometry")
    if kind not in _SAME:
        msg = f"column {name} is of type {kind}"
        raise UnknownColumn(msg)
    unsigned = "unsigned" in full
    if kind == "decimal":
        return Column(name, kind, precision=precision, scale=scale)
    if kind == "bit":
        return Column(name, kind, size=precision)
    return Column(name, kind, unsigned=unsigned and kind.endswith("int"), scale=fraction)


_KINDS: Final = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.TIME2: "time",
    FIELD_TYPE.DATETIME2: "datetime",
    FIELD_TYPE.TIMESTAMP2: "timestamp",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.GEOMETRY: "geometry",
    FIELD_TYPE.ENUM: "enum",
    FIELD_TYPE.SET: "set",
}
_STRINGS: Final = (FIELD_TYPE.STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.BLOB)


def from_table_map(event: Any, collations: Mapping[int, str]) -> tuple[Column, ...]:
    """Return the columns of a table map event; `collations`: id → character set.

    Raises: UnknownColumn, also when the event does not tell the columns' names.
    """
    told = event.optional_metadata
    if len(told.column_name_list) != event.column_count:
        msg = "the log does not tell the columns' names (binlog_row_metadata was not FULL)"
        raise UnknownColumn(msg)
    texts = iter(told.charset_collation_list or ())
    labelled = iter(told.enum_and_set_collation_list or ())
    is_character = event._is_character_column  # noqa: SLF001 - the library's own rule, which differs by server
    columns = []
    for given in event.columns:
        charset = ""
        if is_character(given.type, dbms=event.dbms):
            charset = _charset(given.name, next(texts, None), collations)
        elif given.type in (FIELD_TYPE.ENUM, FIELD_TYPE.SET):
            charset = _charset(given.name, next(labelled, None), collations)
        columns.append(_from_log(given, charset))
    return tuple(columns)


def _from_log(given: Any, charset: str) -> Column:
    if given.type in _STRINGS:
        if charset == BINARY_CHARSET:
            return Column(
                given.name, "binary", size=given.max_length if given.type == FIELD_TYPE.STRING else 0
            )
        return _text(given.name, charset)
    kind = _KINDS.get(given.type)
    if kind is None:
        msg = f"column {given.name} has type number {given.type} in the log"
        raise UnknownColumn(msg)
    if kind in ("enum", "set"):
        labels = given.enum_values[1:] if kind == "enum" else given.set_values
        return _labelled(Column(given.name, kind, charset=charset, labels=tuple(labels or ())))
    if kind == "decimal":
        return Column(given.name, kind, precision=given.precision, scale=given.decimals)
    if kind == "bit":
        return Column(given.name, kind, size=given.bits)
    return Column(
        given.name,
        kind,
        unsigned=bool(given.unsigned) and kind.endswith("int"),
        scale=getattr(given, "fsp", 0),
    )


def _charset(name: str, collation: int | None, collations: Mapping[int, str]) -> str:
    charset = collations.get(-1 if collation is None else collation)
    if charset is None:
        msg = f"column {name} has a collation that the server does not list"
        raise UnknownColumn(msg)
    return charset


def _text(name: str, charset: str) -> Column:
    if charset not in CHARSETS:
        msg = f"column {name} has character set {charset}, which is not converted here; use utf8mb4"
        raise UnknownColumn(msg)
    return Column(name, "text", charset=charset)


def _labelled(column: Column) -> Column:
    """Labels come in the log as bytes of their character set, and the library reads them as UTF-8."""
    is_utf8 = column.charset.startswith("utf8") or column.charset == "ascii"
    plain = column.charset in CHARSETS and not column.charset.startswith(("utf16", "utf32", "ucs2"))
    if not column.labels or not (is_utf8 or (plain and "".join(column.labels).isascii())):
        msg = (
            f"column {column.name} is an {column.kind} with labels in character set {column.charset}, "
            "which cannot be told from the log; use utf8mb4"
        )
        raise UnknownColumn(msg)
    if not is_utf8 and "" in column.labels:  # what the library makes of a label that is not UTF-8
        msg = f"column {column.name} has a label that the log does not tell; use utf8mb4"
        raise UnknownColumn(msg)
    return column
