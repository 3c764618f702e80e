"""A contract: one resource's Avro schema with, for each field, its grade, labels, rules and source column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from exchange.errors import ContractError
from exchange.fieldtype import LOGICAL, PRIMITIVES, ContractField, FieldType, Rule
from exchange.files.problem import Steps
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
    {"name", "type", "doc", "default", "classification", "sensitivity", "label", "rules", "source", "element"}
)
_TYPE_ATTRIBUTES: Final = {
    "enum": frozenset({"type", "name", "doc", "symbols"}),
    "array": frozenset({"type", "items"}),
    "record": frozenset({"type", "name", "doc", "fields"}),
}
_LOGICAL_ATTRIBUTES: Final = frozenset({"type", "logicalType"})
_DECIMAL_ATTRIBUTES: Final = _LOGICAL_ATTRIBUTES | {"precision", "scale"}
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
"""A name as Avro takes it."""

_ELEMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}", re.ASCII)
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
        """Return the contract an .avsc document declares; `where` begins every message (topic and version).

        For a document that stands in no file; exchange/files/contracts.py shows the line of each problem too.

        Raises: ContractError listing all problems at once.
        """
        reader = Reader()
        contract = reader.contract(document)
        if reader.findings or contract is None:
            raise ContractError("\n".join(f"{where}: {finding.told}" for finding in reader.findings))
        return contract

    def find(self, path: str) -> ContractField | None:
        """Return the field at a dotted path that leads through records only, or None."""
        first, *rest = path.split(".")
        found = self.fields.get(first)
        for name in rest:
            inside = found.type.fields if found is not None and found.type.kind == "record" else ()
            found = next((nested for nested in inside if nested.name == name), None)
        return found


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a place of the document; `key` when the attribute's name is meant, not its value."""

    steps: Steps
    told: str
    key: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the document: the words for it, and the steps that lead there."""

    words: str
    steps: tuple[str | int, ...]

    def __truediv__(self, step: str | int) -> _Place:
        """Return the place inside, under the same words."""
        return _Place(self.words, (*self.steps, step))


class Reader:
    """Reads one document; what is wrong gathers in `findings`, each with its place."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._named: dict[str, FieldType] = {}

    def contract(self, document: Mapping[str, Any]) -> Contract | None:
        """Return the contract, or None where `findings` say why there is none."""
        top = _Place("record", ())
        self._attributes(top, document, _RECORD_ATTRIBUTES)
        if document.get("type") != "record":
            self._problem(_of_record("type", document), 'a contract is an Avro record: expected "record"')
        domain, resource = (self._name(top, document, part) for part in ("namespace", "name"))
        version = document.get("contractVersion")
        if type(version) is not int or version < 1:
            self._problem(_of_record("contractVersion", document), "expected a whole number from 1")
            version = 0
        zh, en = self._label(_of_record("label", document), document.get("label"))
        fields = self._fields(_of_record("fields", document), document.get("fields"))
        key = self._key(_of_record("key", document), document.get("key"), fields)
        if self.findings:
            return None
        frozen = MappingProxyType({field.name: field for field in fields})
        return Contract(f"{domain}.{resource}", document, version, zh, en, key, frozen)

    def _problem(self, place: _Place, text: str, *, key: bool = False) -> None:
        self.findings.append(Finding(place.steps, f"{place.words}: {text}", key))

    def _attributes(self, place: _Place, seen: Mapping[str, Any], known: frozenset[str]) -> None:
        for attribute in seen:
            if attribute not in known:
                self._problem(
                    place / attribute, f"unknown attribute {did_you_mean(attribute, known)}", key=True
                )

    def _name(self, place: _Place, seen: Mapping[str, Any], attribute: str) -> str:
        name = seen.get(attribute)
        if isinstance(name, str) and NAME.fullmatch(name):
            return name
        at = _of(place, attribute, seen)
        self._problem(at, f"{attribute}: expected a name of letters, digits and _")
        return "?"

    def _label(self, place: _Place, label: Any) -> tuple[str, str]:
        if (
            isinstance(label, dict)
            and set(label) == {"zh", "en"}
            and all(isinstance(text, str) and text.strip() for text in label.values())
        ):
            return label["zh"], label["en"]
        self._problem(place, 'expected a label in both languages: {"zh": "…", "en": "…"}')
        return "", ""

    def _fields(self, place: _Place, declared: Any) -> tuple[ContractField, ...]:
        if not isinstance(declared, list) or not declared:
            self._problem(place, "expected a list of fields, not empty")
            return ()
        fields: list[ContractField] = []
        twice: dict[str, _Place] = {}
        for index, entry in enumerate(declared):
            words = f"{place.words}[{index}]"
            if not isinstance(entry, dict):
                self._problem(_Place(words, (*place.steps, index)), "expected an object")
                continue
            at = _Place(f"{words} {entry.get('name')!r}", (*place.steps, index))
            field = self._field(at, entry)
            if any(field.name == other.name for other in fields):
                twice.setdefault(field.name, place / index / "name")
            fields.append(field)
        for name in sorted(twice):
            self._problem(twice[name], f"field {name!r} is declared twice")
        return tuple(fields)

    def _field(self, place: _Place, entry: dict[str, Any]) -> ContractField:
        self._attributes(place, entry, _FIELD_ATTRIBUTES)
        name = self._name(place, entry, "name")
        type_ = self._type(_of(place, "type", entry), entry.get("type"))
        if "default" in entry and not (entry["default"] is None and type_.nullable):
            self._problem(
                place / "default", "the only default a contract may give is null, for a type that allows null"
            )
        zh, en = self._label(_of(place, "label", entry), entry.get("label"))
        source = entry.get("source", name)
        if not isinstance(source, str) or not source:
            self._problem(place / "source", "source: expected the column's name")
        return ContractField(
            name=name,
            type=type_,
            classification=self._classification(place, entry),
            sensitivity=self._sensitivity(place, entry),
            label_zh=zh,
            label_en=en,
            rules=self._rules(place / "rules", entry.get("rules", []), type_),
            source=str(source),
            element=self._element(place, entry),
        )

    def _classification(self, place: _Place, entry: dict[str, Any]) -> int:
        classification = entry.get("classification")
        if type(classification) is int and 1 <= classification <= 4:
            return classification
        seen = "is missing" if classification is None else "is not one of 1, 2, 3, 4"
        at = _of(place, "classification", entry)
        self._problem(at, f"classification {seen}: grade the field from 1 (public) to 4 (core)")
        return 4

    def _sensitivity(self, place: _Place, entry: dict[str, Any]) -> str | None:
        sensitivity = entry.get("sensitivity")
        if sensitivity is None:
            return None
        if isinstance(sensitivity, str) and sensitivity in SENSITIVITIES:
            return sensitivity
        told = f"unknown sensitivity {did_you_mean(str(sensitivity), SENSITIVITIES)}"
        self._problem(place / "sensitivity", told)
        return None

    def _element(self, place: _Place, entry: dict[str, Any]) -> str:
        element = entry.get("element", "")
        if isinstance(element, str) and (_ELEMENT.fullmatch(element) or "element" not in entry):
            return element
        self._problem(place / "element", "element: expected the code of a data element, like DE00032")
        return ""

    def _rules(self, place: _Place, declared: Any, type_: FieldType) -> tuple[Rule, ...]:
        if not isinstance(declared, list):
            self._problem(place, "rules: expected a list")
            return ()
        rules: list[Rule] = []
        twice: dict[str, _Place] = {}
        for index, entry in enumerate(declared):
            try:
                rule = compile_rule(entry, type_)
            except ValueError as error:
                self._problem(place / index, str(error))
                continue
            if any(rule.name == other.name for other in rules):
                twice.setdefault(rule.name, place / index)
            rules.append(rule)
        for name in sorted(twice):
            self._problem(twice[name], f"rule {name!r} is given twice")
        return tuple(rules)

    def _key(self, place: _Place, declared: Any, fields: tuple[ContractField, ...]) -> tuple[str, ...]:
        if (
            not isinstance(declared, list)
            or not declared
            or not all(isinstance(name, str) for name in declared)
        ):
            self._problem(place, "expected a list of the fields that name one row, not empty")
            return ()
        by_name = {field.name: field for field in fields}
        for index, name in enumerate(declared):
            if name not in by_name:
                self._problem(place / index, f"unknown field {did_you_mean(name, by_name)}")
            elif by_name[name].type.nullable or by_name[name].type.kind not in _KEY_KINDS:
                wanted = ", ".join(sorted(_KEY_KINDS))
                told = f"field {name!r} cannot be a key: a key is one of {wanted} and never null"
                self._problem(place / index, told)
        again = [index for index, name in enumerate(declared) if name in declared[:index]]
        if again:
            self._problem(place / again[0], "a field is named twice")
        return tuple(declared)

    def _type(self, place: _Place, declared: Any) -> FieldType:
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
        if declared is None:
            self._problem(place, f"type is missing (known: {', '.join(sorted(known))})")
        else:
            self._problem(place, f"unknown type {did_you_mean(str(declared), known)}")
        return FieldType("string")

    def _union(self, place: _Place, branches: list[Any]) -> FieldType:
        if len(branches) == 2 and branches[0] == "null" and branches[1] != "null":
            return self._type(place / 1, branches[1]).or_null()
        self._problem(place, 'the only union a contract may use is ["null", <type>]')
        return FieldType("string", nullable=True)

    def _complex(self, place: _Place, declared: dict[str, Any]) -> FieldType:
        kind = declared.get("type")
        if kind in ("enum", "array", "record"):
            self._attributes(place, declared, _TYPE_ATTRIBUTES[kind])
        if kind == "enum":
            return self._remember(declared, place, FieldType("enum", symbols=self._symbols(place, declared)))
        if kind == "array":
            items = _Place(f"{place.words} items", _of(place, "items", declared).steps)
            return FieldType("array", items=self._type(items, declared.get("items")))
        if kind == "record":
            fields = _Place(f"{place.words} fields", _of(place, "fields", declared).steps)
            nested = self._fields(fields, declared.get("fields"))
            return self._remember(declared, place, FieldType("record", fields=nested))
        if "logicalType" in declared:
            return self._logical(place, declared)
        self._attributes(place, declared, frozenset({"type"}))
        return self._type(place / "type", kind)

    def _remember(self, declared: dict[str, Any], place: _Place, type_: FieldType) -> FieldType:
        name = self._name(place, declared, "name")
        if name in self._named or name in PRIMITIVES:
            self._problem(place / "name", f"type {name!r} is declared twice")
        self._named[name] = type_
        return type_

    def _symbols(self, place: _Place, declared: dict[str, Any]) -> tuple[str, ...]:
        symbols = declared.get("symbols")
        if (
            isinstance(symbols, list)
            and symbols
            and all(isinstance(symbol, str) and NAME.fullmatch(symbol) for symbol in symbols)
            and len(set(symbols)) == len(symbols)
        ):
            return tuple(symbols)
        told = "symbols: expected a list of different names of letters, digits and _"
        self._problem(_of(place, "symbols", declared), told)
        return ("UNKNOWN",)

    def _logical(self, place: _Place, declared: dict[str, Any]) -> FieldType:
        seen = (declared.get("type"), declared["logicalType"])
        if not all(isinstance(part, str) for part in seen) or seen not in LOGICAL:
            known = ", ".join(f"{avro} with {logical}" for avro, logical in LOGICAL)
            told = f"unknown logical type {seen[1]!r} on {seen[0]!r}; known: {known}"
            self._problem(place / "logicalType", told)
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


def _of_record(attribute: str, document: Mapping[str, Any]) -> _Place:
    """Return the place of one of the contract's own attributes."""
    return _Place(attribute, _of(_Place("", ()), attribute, document).steps)


def _of(place: _Place, attribute: str, seen: Mapping[str, Any]) -> _Place:
    """Return the place of an attribute; of one that is missing, the name of what lacks it."""
    return place / (attribute if attribute in seen else "name")
