"""A table's columns as a table map event of the log tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pymysqlreplication.constants import FIELD_TYPE

from exchange.binlog.columns import BINARY_CHARSET, Column, UnknownColumn, labelled, text_column

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
        return text_column(given.name, charset)
    kind = _KINDS.get(given.type)
    if kind is None:
        msg = f"column {given.name} has type number {given.type} in the log"
        raise UnknownColumn(msg)
    if kind in ("enum", "set"):
        labels = given.enum_values[1:] if kind == "enum" else given.set_values
        return labelled(Column(given.name, kind, charset=charset, labels=tuple(labels or ())))
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
