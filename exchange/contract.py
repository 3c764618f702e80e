"""A contract: one resource's Avro schema with, for each field, its grade, labels, rules and source column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from exchange import strictjson
from exchange.errors import ContractError
from exchange.fieldtype import LOGICAL, PRIMITIVES, ContractField, FieldType, Rule
from exchange.rules import compile_rule
from exchange.suggest import did_you_mean

SENSITIVITIES: Final = frozenset(
    {
        *("id_number", "person_name", "birth_date", "mobile", "email", "address", "credit_code"),
        *(
            "ethnic_code",
            "bank_account",
            "certificate_number",
            "biometric",
            "health",
            "location",
            "free_text",
        ),
    }
)
"""What kinds of sensitive value a field can be said to hold."""

_RECORD_ATTRIBUTES: Final = frozenset(
    {"type", "name", "namespace", "doc", "label", "contractVersion", "key", "fields"}
)
_FIELD_ATTRIBUTES: Final = frozenset(
    {"name", "type", "doc", "default", "classification", "sensitivity", "label", "rules", "source"}
)
_TYPE_ATTRIBUTES: Final = {
    "enum": frozenset({"type", "name", "doc", "symbols"}),
    "array": frozenset({"type", "items"}),
    "record": frozenset({"type", "name", "doc", "fields"}),
}
_LOGICAL_ATTRIBUTES: Final = frozenset({"type", "logicalType"})
_DECIMAL_ATTRIBUTES: Final = _LOGICAL_ATTRIBUTES | {"precision", "scale"}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_KEY_KINDS: Final = frozenset({"string", "uuid", "int", "long", "date"})
_MAX_PRECISION: Final = 76
"""The widest decimal ClickHouse and most subscribers can hold."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One resource's contract.

    name: `<domain>.<resource>`; document: the .avsc as read; key: the fields that name one row, in order, all
    at the top and never null; fields: top-level fields by name, in the document's order.
    """

    name: str
    document: Mapping[str, Any]
    version: int
    label_zh: str
    label_en: str
    key: tuple[str, ...]
    fields: Mapping[str, ContractField]

    @classmethod
    def parse(cls, document: Mapping[str, Any], where: str) -> Contract:
        """Return the contract an .avsc document declares; `where` begins every message (the file's path).

        Raises: ContractError listing all problems at once.
        """
        reader = _Reader()
        contract = reader.contract(document)
        if reader.problems or contract is None:
            raise ContractError("\n".join(f"{where}: {problem}" for problem in reader.problems))
        return contract

    def find(self, path: str) -> ContractField | None:
        """Return the field at a dotted path that leads through records only, or None."""
        first, *rest = path.split(".")
        found = self.fields.get(first)
        for name in rest:
            inside = found.type.fields if found is not None and found.type.kind == "record" else ()
            found = next((nested for nested in inside if nested.name == name), None)
        return found


def load_contracts(directory: Path) -> dict[str, Contract]:
    """Return all contracts of `<directory>/<domain>/<resource>.avsc` by name.

    Raises: ContractError listing all problems of all files; also when a file's place contradicts its name.
    """
    contracts: dict[str, Contract] = {}
    problems: list[str] = []
    for file in sorted(directory.glob("*/*.avsc")):
        try:
            contract = _load(file)
        except ContractError as error:
            problems.append(str(error))
            continue
        contracts[contract.name] = contract
    if problems:
        raise ContractError("\n".join(problems))
    if not contracts:
        msg = f"{directory}: no contracts; expected files like {directory}/population/person.avsc"
        raise ContractError(msg)
    return contracts


def _load(file: Path) -> Contract:
    try:
        document = strictjson.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        told = error if type(error) is ValueError else type(error).__name__
        msg = f"{file}: not readable as JSON: {told}"
        raise ContractError(msg) from None
    if not isinstance(document, dict):
        msg = f"{file}: not an Avro record: the file holds no JSON object"
        raise ContractError(msg)
    contract = Contract.parse(document, str(file))
    expected = f"{file.parent.name}.{file.stem}"
    if contract.name != expected:
        msg = f"{file}: declares {contract.name!r}; a contract in this place must be {expected!r}"
        raise ContractError(msg)
    return contract


class _Reader:
    """Reads one document; problems gather in `problems`, each with its place."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._named: dict[str, FieldType] = {}

    def contract(self, document: Mapping[str, Any]) -> Contract | None:
        self._attributes("record", document, _RECORD_ATTRIBUTES)
        if document.get("type") != "record":
            self._problem("type", 'a contract is an Avro record: expected "record"')
        domain, resource = (self._name(document, part) for part in ("namespace", "name"))
        version = document.get("contractVersion")
        if type(version) is not int or version < 1:
            self._problem("contractVersion", "expected a whole number from 1")
            version = 0
        zh, en = self._label("label", document.get("label"))
        fields = self._fields("fields", document.get("fields"))
        key = self._key(document.get("key"), fields)
        if self.problems:
            return None
        frozen = MappingProxyType({field.name: field for field in fields})
        return Contract(f"{domain}.{resource}", document, version, zh, en, key, frozen)

    def _problem(self, place: str, text: str) -> None:
        self.problems.append(f"{place}: {text}")

    def _attributes(self, place: str, seen: Mapping[str, Any], known: frozenset[str]) -> None:
        for attribute in seen:
            if attribute not in known:
                self._problem(place, f"unknown attribute {did_you_mean(attribute, known)}")

    def _name(self, seen: Mapping[str, Any], attribute: str, place: str = "") -> str:
        name = seen.get(attribute)
        if isinstance(name, str) and _NAME.fullmatch(name):
            return name
        self._problem(place or attribute, f"{attribute}: expected a name of letters, digits and _")
        return "?"

    def _label(self, place: str, label: Any) -> tuple[str, str]:
        if (
            isinstance(label, dict)
            and set(label) == {"zh", "en"}
            and all(isinstance(text, str) and text.strip() for text in label.values())
        ):
            return label["zh"], label["en"]
        self._problem(place, 'expected a label in both languages: {"zh": "…", "en": "…"}')
        return "", ""

    def _fields(self, place: str, declared: Any) -> tuple[ContractField, ...]:
        if not isinstance(declared, list) or not declared:
            self._problem(place, "expected a list of fields, not empty")
            return ()
        fields = []
        for index, entry in enumerate(declared):
            if not isinstance(entry, dict):
                self._problem(f"{place}[{index}]", "expected an object")
                continue
            fields.append(self._field(f"{place}[{index}] {entry.get('name')!r}", entry))
        names = [field.name for field in fields]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._problem(place, f"field {name!r} is declared twice")
        return tuple(fields)

    def _field(self, place: str, entry: dict[str, Any]) -> ContractField:
        self._attributes(place, entry, _FIELD_ATTRIBUTES)
        name = self._name(entry, "name", place)
        type_ = self._type(place, entry.get("type"))
        if "default" in entry and not (entry["default"] is None and type_.nullable):
            self._problem(place, "the only default a contract may give is null, for a type that allows null")
        zh, en = self._label(place, entry.get("label"))
        source = entry.get("source", name)
        if not isinstance(source, str) or not source:
            self._problem(place, "source: expected the column's name")
        return ContractField(
            name=name,
            type=type_,
            classification=self._classification(place, entry),
            sensitivity=self._sensitivity(place, entry),
            label_zh=zh,
            label_en=en,
            rules=self._rules(place, entry.get("rules", []), type_),
            source=str(source),
        )

    def _classification(self, place: str, entry: dict[str, Any]) -> int:
        classification = entry.get("classification")
        if type(classification) is int and 1 <= classification <= 4:
            return classification
        seen = "is missing" if classification is None else "is not one of 1, 2, 3, 4"
        self._problem(place, f"classification {seen}: grade the field from 1 (public) to 4 (core)")
        return 4

    def _sensitivity(self, place: str, entry: dict[str, Any]) -> str | None:
        sensitivity = entry.get("sensitivity")
        if sensitivity is None:
            return None
        if isinstance(sensitivity, str) and sensitivity in SENSITIVITIES:
            return sensitivity
        self._problem(place, f"unknown sensitivity {did_you_mean(str(sensitivity), SENSITIVITIES)}")
        return None

    def _rules(self, place: str, declared: Any, type_: FieldType) -> tuple[Rule, ...]:
        if not isinstance(declared, list):
            self._problem(place, "rules: expected a list")
            return ()
        rules: list[Rule] = []
        for entry in declared:
            try:
                rules.append(compile_rule(entry, type_))
            except ValueError as error:
                self._problem(place, str(error))
        names = [rule.name for rule in rules]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._problem(place, f"rule {name!r} is given twice")
        return tuple(rules)

    def _key(self, declared: Any, fields: tuple[ContractField, ...]) -> tuple[str, ...]:
        if (
            not isinstance(declared, list)
            or not declared
            or not all(isinstance(name, str) for name in declared)
        ):
            self._problem("key", "expected a list of the fields that name one row, not empty")
            return ()
        by_name = {field.name: field for field in fields}
        for name in declared:
            if name not in by_name:
                self._problem("key", f"unknown field {did_you_mean(name, by_name)}")
            elif by_name[name].type.nullable or by_name[name].type.kind not in _KEY_KINDS:
                wanted = ", ".join(sorted(_KEY_KINDS))
                self._problem(
                    "key", f"field {name!r} cannot be a key: a key is one of {wanted} and never null"
                )
        if len(set(declared)) != len(declared):
            self._problem("key", "a field is named twice")
        return tuple(declared)

    def _type(self, place: str, declared: Any) -> FieldType:
        if isinstance(declared, list):
            return self._union(place, declared)
        if isinstance(declared, str):
            if declared in self._named:
                return self._named[declared]
            if declared in PRIMITIVES:
                return FieldType(declared)
        elif isinstance(declared, dict):
            return self._complex(place, declared)
        known = PRIMITIVES | _TYPE_ATTRIBUTES.keys() | self._named.keys()
        self._problem(place, f"unknown type {did_you_mean(str(declared), known)}")
        return FieldType("string")

    def _union(self, place: str, branches: list[Any]) -> FieldType:
        if len(branches) == 2 and branches[0] == "null" and branches[1] != "null":
            return self._type(place, branches[1]).or_null()
        self._problem(place, 'the only union a contract may use is ["null", <type>]')
        return FieldType("string", nullable=True)

    def _complex(self, place: str, declared: dict[str, Any]) -> FieldType:
        kind = declared.get("type")
        if kind in ("enum", "array", "record"):
            self._attributes(place, declared, _TYPE_ATTRIBUTES[kind])
        if kind == "enum":
            return self._remember(declared, place, FieldType("enum", symbols=self._symbols(place, declared)))
        if kind == "array":
            return FieldType("array", items=self._type(f"{place} items", declared.get("items")))
        if kind == "record":
            nested = self._fields(f"{place} fields", declared.get("fields"))
            return self._remember(declared, place, FieldType("record", fields=nested))
        if "logicalType" in declared:
            return self._logical(place, declared)
        self._attributes(place, declared, frozenset({"type"}))
        return self._type(place, kind)

    def _remember(self, declared: dict[str, Any], place: str, type_: FieldType) -> FieldType:
        name = self._name(declared, "name", place)
        if name in self._named or name in PRIMITIVES:
            self._problem(place, f"type {name!r} is declared twice")
        self._named[name] = type_
        return type_

    def _symbols(self, place: str, declared: dict[str, Any]) -> tuple[str, ...]:
        symbols = declared.get("symbols")
        if (
            isinstance(symbols, list)
            and symbols
            and all(isinstance(symbol, str) and _NAME.fullmatch(symbol) for symbol in symbols)
            and len(set(symbols)) == len(symbols)
        ):
            return tuple(symbols)
        self._problem(place, "symbols: expected a list of different names of letters, digits and _")
        return ("UNKNOWN",)

    def _logical(self, place: str, declared: dict[str, Any]) -> FieldType:
        seen = (declared.get("type"), declared["logicalType"])
        if seen not in LOGICAL:
            known = ", ".join(f"{avro} with {logical}" for avro, logical in LOGICAL)
            self._problem(place, f"unknown logical type {seen[1]!r} on {seen[0]!r}; known: {known}")
            return FieldType("string")
        kind = LOGICAL[seen]
        if kind != "decimal":
            self._attributes(place, declared, _LOGICAL_ATTRIBUTES)
            return FieldType(kind)
        self._attributes(place, declared, _DECIMAL_ATTRIBUTES)
        precision, scale = declared.get("precision"), declared.get("scale", 0)
        if (
            type(precision) is int
            and type(scale) is int
            and 1 <= precision <= _MAX_PRECISION
            and 0 <= scale <= precision
        ):
            return FieldType("decimal", precision=precision, scale=scale)
        self._problem(place, f"decimal: expected precision 1 to {_MAX_PRECISION} and scale 0 to precision")
        return FieldType("decimal", precision=1)
