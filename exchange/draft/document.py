"""Makes the contract's document of a table: types, key, labels, and guessed grades with their reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import Contract
from exchange.draft.guess import guess, rules_for
from exchange.draft.table import LiveColumn, LiveTable
from exchange.encoding.avroname import avro_name
from exchange.errors import ContractError

_LONGEST_LABEL: Final = 60


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
    usable = [column for column in table.columns if column.avro is not None]
    left_out = {column.name: column.unfit for column in table.columns if column.avro is None}
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
    type_ = column.avro
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


def _rules(column: LiveColumn, type_: Any) -> Iterator[dict[str, Any]]:
    if type_ != "string":
        return
    if column.most_characters:
        yield {"rule": "length", "min": 0, "max": column.most_characters}
    if column.labels:
        yield {"rule": "codes", "values": list(column.labels)}
    yield from ({"rule": name} for name in rules_for(column.shapes))


def _label(comment: str, name: str) -> dict[str, str]:
    """Return a label: the comment is the Chinese one, the name's words the English one."""
    words = re.sub(r"[_\W]+", " ", name).strip() or name
    return {"zh": comment[:_LONGEST_LABEL] or name, "en": words[:1].upper() + words[1:]}
