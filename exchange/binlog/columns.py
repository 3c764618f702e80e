"""A column as the bus sees it, and what the catalogue tells of it; the log's way is in the connector."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from exchange.binlog.charsets import CHARSETS

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
        return labelled(Column(name, kind, charset=charset, labels=labels))
    if kind in TEXTS:
        return text_column(name, charset)
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


def text_column(name: str, charset: str) -> Column:
    """Return a column of text.

    Raises: UnknownColumn when its character set is not converted here.
    """
    if charset not in CHARSETS:
        msg = f"column {name} has character set {charset}, which is not converted here; use utf8mb4"
        raise UnknownColumn(msg)
    return Column(name, "text", charset=charset)


def labelled(column: Column) -> Column:
    """Return an enum or set whose labels can be told from the log.

    They come there as bytes of their character set, and the library reads them as UTF-8.

    Raises: UnknownColumn.
    """
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
