"""Makes the contract's document of a table: types, key, labels, and guessed grades with their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import NAME, Contract
from exchange.draft.guess import guess, rules_for
from exchange.draft.table import ColumnType, LiveColumn, LiveTable
from exchange.encoding.avroname import avro_name
from exchange.errors import ContractError

_VARHDRSZ: Final = 4
"""PostgreSQL adds it to the typmod of varchar(n), char(n) and numeric(p,s)."""
_MOST_DIGITS: Final = 76
_ANY_NUMBER: Final = (38, 10)
_LONGEST_LABEL: Final = 60

_PLAIN: Final[dict[str, Any]] = {
    "int2": "int",
    "int4": "int",
    "int8": "long",
    "float4": "float",
    "float8": "double",
    "bool": "boolean",
    "bytea": "bytes",
    "uuid": {"type": "string", "logicalType": "uuid"},
    "date": {"type": "int", "logicalType": "date"},
    "time": {"type": "long", "logicalType": "time-micros"},
    "timestamp": {"type": "long", "logicalType": "local-timestamp-micros"},
    "timestamptz": {"type": "long", "logicalType": "timestamp-micros"},
}
"""Type of PostgreSQL → Avro; any other is text, exactly as the server writes it."""
_WITHOUT: Final = frozenset({"json", "jsonb"})
"""Types whose fields only a person can name."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft. guesses: field → reason; left_out: column → why it has no field."""

    document: dict[str, Any]
    guesses: dict[str, str]
    left_out: dict[str, str]


def draft(table: LiveTable, name: str) -> Draft:
    """Return the draft of a contract called <domain>.<resource>.

    Raises: ContractError when the table has no primary key, or one of a type that cannot be a key.
    """
    domain, _, resource = name.partition(".")
    usable = [column for column in table.columns if column.type.name not in _WITHOUT]
    left_out = {
        column.name: f"{column.type.name}: write its record or array by hand"
        for column in table.columns
        if column.type.name in _WITHOUT
    }
    key = sorted((c for c in table.columns if c.key_at is not None), key=lambda c: c.key_at or 0)
    if not key:
        msg = f"table {table.name} has no primary key; give it one, a contract names its fields"
        raise ContractError(msg)
    fields = [_field(column) for column in usable]
    document = {
        "type": "record",
        "namespace": domain,
        "name": resource,
        "doc": f"Draft made from table {table.name}; check every class, sensitivity and label.",
        "label": _label(table.comment, resource),
        "contractVersion": 1,
        "key": [avro_name(column.name) for column in key],
        "fields": fields,
    }
    Contract.parse(document, f"draft of {table.name}")
    return Draft(document, {field["name"]: field["doc"] for field in fields}, left_out)


def _field(column: LiveColumn) -> dict[str, Any]:
    type_ = _avro(column.type, column.name)
    nullable = column.nullable and column.key_at is None
    found = guess(column.name, column.comment, _kind(type_), column.shapes)
    field: dict[str, Any] = {
        "name": avro_name(column.name),
        "type": ["null", type_] if nullable else type_,
        **({"default": None} if nullable else {}),
        "doc": f"Guessed: {found.reason}.",
        "classification": found.classification,
        **({"sensitivity": found.sensitivity} if found.sensitivity else {}),
        "label": _label(column.comment, column.name),
    }
    rules = list(_rules(column, type_))
    return field | ({"rules": rules} if rules else {})


def _kind(type_: Any) -> str:
    return str(type_["type"] if isinstance(type_, dict) else type_)


def _avro(type_: ColumnType, column: str) -> Any:
    if type_.element is not None:
        return {"type": "array", "items": ["null", _avro(type_.element, column)]}
    if type_.name == "numeric":
        precision, scale = _precision(type_.typmod)
        return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    if type_.labels and all(NAME.fullmatch(label) for label in type_.labels):
        return {"type": "enum", "name": f"{avro_name(column)}_symbol", "symbols": list(type_.labels)}
    return _PLAIN.get(type_.name, "string")


def _precision(typmod: int) -> tuple[int, int]:
    """Return precision and scale of numeric(p,s). Source: PostgreSQL numeric.c, make_numeric_typmod."""
    packed = typmod - _VARHDRSZ
    precision, scale = packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
    if typmod < _VARHDRSZ or not 0 <= scale <= precision <= _MOST_DIGITS:
        return _ANY_NUMBER
    return precision, scale


def _rules(column: LiveColumn, type_: Any) -> Iterator[dict[str, Any]]:
    if type_ != "string":
        return
    if column.type.name in ("varchar", "bpchar") and column.type.typmod > _VARHDRSZ:
        yield {"rule": "length", "min": 0, "max": column.type.typmod - _VARHDRSZ}
    if column.type.labels:
        yield {"rule": "codes", "values": list(column.type.labels)}
    yield from ({"rule": name} for name in rules_for(column.shapes))


def _label(comment: str, name: str) -> dict[str, str]:
    """Return a label: the comment is the Chinese one, the name's words the English one."""
    words = re.sub(r"[_\W]+", " ", name).strip() or name
    return {"zh": comment[:_LONGEST_LABEL] or name, "en": words[:1].upper() + words[1:]}
