"""A contract's field: its type, of a closed set, what else is declared of it, and how it is written in Avro.

Values travel through the bus in the form Avro stores them: a date is the number of days since 1970-01-01, a
timestamp microseconds, a decimal the two's complement bytes of its unscaled value. Nothing is converted that
a rule or a mask does not need converted, so nothing is approximated on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from exchange.change import Reason

PRIMITIVES: Final = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})

LOGICAL: Final = {
    ("int", "date"): "date",
    ("long", "time-micros"): "time",
    ("long", "timestamp-micros"): "timestamp",
    ("long", "local-timestamp-micros"): "local_timestamp",
    ("bytes", "decimal"): "decimal",
    ("string", "uuid"): "uuid",
}
"""(Avro type, logical type) → kind. Source: Avro 1.12 specification, "Logical Types"."""

_AVRO_OF_KIND: Final = {kind: avro for avro, kind in LOGICAL.items()}
TEXT_KINDS: Final = frozenset({"string", "uuid", "enum"})
SENSITIVE_FROM: Final = 3
"""Classification from which a field needs a reason to be shown clear, whatever its `sensitivity`."""


Test = Callable[[Any, int], bool]
"""(value as Avro stores it, source commit time in ms) → whether the value keeps the rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule: its name, the reason a refusal gives, its parameters as declared, and its test."""

    name: str
    reason: Reason
    parameters: Mapping[str, Any]
    test: Test


@dataclass(frozen=True, slots=True)
class FieldType:
    """One type. `kind` is a primitive's name, a value of LOGICAL, or enum, array, record."""

    kind: str
    nullable: bool = False
    symbols: tuple[str, ...] = ()
    precision: int = 0
    scale: int = 0
    items: FieldType | None = None
    fields: tuple[ContractField, ...] = ()

    def not_null(self) -> FieldType:
        """Return the same type without null."""
        return replace(self, nullable=False)

    def or_null(self) -> FieldType:
        """Return the same type with null."""
        return replace(self, nullable=True)

    def describe(self) -> str:
        """Return the type as an error message names it."""
        if self.kind == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.kind == "array" and self.items is not None:
            return f"array of {self.items.describe()}"
        return self.kind

    def avro(self, path: str) -> Any:
        """Return the Avro schema; named types are named after `path`, so that each name occurs once."""
        schema = self._avro_not_null(path)
        return ["null", schema] if self.nullable else schema

    def _avro_not_null(self, path: str) -> Any:
        if self.kind == "enum":
            return {"type": "enum", "name": type_name(path), "symbols": list(self.symbols)}
        if self.kind == "array" and self.items is not None:
            return {"type": "array", "items": self.items.avro(path)}
        if self.kind == "record":
            return {
                "type": "record",
                "name": type_name(path),
                "fields": [nested.avro(f"{path}.{nested.name}") for nested in self.fields],
            }
        if self.kind not in _AVRO_OF_KIND:
            return self.kind
        avro_type, logical = _AVRO_OF_KIND[self.kind]
        schema: dict[str, Any] = {"type": avro_type, "logicalType": logical}
        if self.kind == "decimal":
            schema |= {"precision": self.precision, "scale": self.scale}
        return schema


@dataclass(frozen=True, slots=True)
class ContractField:
    """One field of a contract, at the top or inside a nested record.

    classification: 1 (public) to 4 (core); sensitivity: what kind of sensitive value it holds, or None;
    source: the table's column, or the member of the JSON object where the field is nested; element: code of
    the data element of a standard that it holds, or empty.
    """

    name: str
    type: FieldType
    classification: int
    sensitivity: str | None
    label_zh: str
    label_en: str
    rules: tuple[Rule, ...] = field(default=(), compare=False)
    source: str = ""
    element: str = field(default="", compare=False)

    @property
    def sensitive(self) -> bool:
        """Whether a view must give a reason to show the field as it is."""
        return self.classification >= SENSITIVE_FROM or self.sensitivity is not None

    def avro(self, path: str) -> dict[str, Any]:
        """Return the Avro field; a nullable one gets the default null."""
        schema: dict[str, Any] = {"name": self.name, "type": self.type.avro(path)}
        if self.type.nullable:
            schema["default"] = None
        return schema

    def leaves(self, path: str = "") -> Iterator[tuple[str, ContractField]]:
        """Yield (dotted path, field) of this field or, for records and arrays of records, of all inside."""
        path = path or self.name
        inner = self.type.items if self.type.kind == "array" else self.type
        if inner is None or inner.kind != "record":
            yield path, self
            return
        step = f"{path}[]" if self.type.kind == "array" else path
        for nested in inner.fields:
            yield from nested.leaves(f"{step}.{nested.name}")


def type_name(path: str) -> str:
    """Return the Avro name of a nested type: `address.geo` → `AddressGeo`."""
    return "".join(word[:1].upper() + word[1:] for word in path.replace(".", "_").split("_") if word)


def decimal_bytes(unscaled: int) -> bytes:
    """Return the shortest big-endian two's complement bytes of an unscaled value."""
    length = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return unscaled.to_bytes(length, "big", signed=True)


def decimal_unscaled(encoded: bytes) -> int:
    """Return the unscaled value held in big-endian two's complement bytes."""
    return int.from_bytes(encoded, "big", signed=True)
