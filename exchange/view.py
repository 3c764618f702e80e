"""A view: which fields of a resource a subscriber sees, how each is masked, and which rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.fieldtype import TEXT_KINDS, ContractField, FieldType
from exchange.masking import Clear, MaskSpec, Omit, Token, output_type
from exchange.model import Label, Model
from exchange.suggest import did_you_mean


def _expand_bare_mask(mask: Any) -> Any:
    """`region_code: clear` is short for `region_code: {kind: clear}`."""
    return {"kind": mask} if isinstance(mask, str) else mask


class RowCondition(Model):
    """A row is in scope when the field's value starts with one of `prefix`, or is one of `values`."""

    field: str = Field(description="Field of the contract, dotted into nested records; text or code.")
    prefix: tuple[str, ...] = Field(default=(), description="Allowed beginnings, for instance region codes.")
    values: tuple[str, ...] = Field(default=(), description="Allowed values.")


class ViewSpec(Model):
    """The declaration of one view. Fields that are not listed are absent from it."""

    resource: str = Field(description="Resource whose changes the view shows.")
    label: Label = Field(description="Name shown in the console.")
    fields: dict[str, Annotated[MaskSpec, BeforeValidator(_expand_bare_mask)]] = Field(
        description="Field of the contract → mask; dotted (address.region_code) to show part of a record."
    )
    rows: tuple[RowCondition, ...] = Field(default=(), description="Conditions that a row must all meet.")
    delay_budget_ms: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Milliseconds within which 99 of 100 changes are meant to be readable after the source's "
        "commit; the monitor names the stage that takes longest when they are not.",
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """One field a view shows: masked as a whole, or a nested record of which `parts` are shown."""

    path: str
    field: ContractField
    mask: MaskSpec | None
    parts: tuple[Shown, ...] = ()

    def output(self) -> FieldType:
        """Return the type subscribers see, null aside."""
        if self.mask is not None:
            return output_type(self.mask, self.field.type)
        parts = tuple(replace(part.field, type=part.output().or_null()) for part in self.parts)
        return FieldType("record", fields=parts)


@dataclass(frozen=True, slots=True)
class View:
    """A compiled view: what it shows of a contract, in the contract's order, and which rows.

    resource: whose changes it shows (several resources may share a contract); name: the last part of the
    view's name. Field values are as `exchange.fieldtype` describes them.
    """

    contract: Contract
    resource: str
    name: str
    shown: tuple[Shown, ...]
    rows: tuple[RowCondition, ...]

    @property
    def full_name(self) -> str:
        """<resource>.<view>, the domain of its tokens and the end of its topic's name."""
        return f"{self.resource}.{self.name}"

    @property
    def namespace(self) -> str:
        """Avro namespace of the view's schemas."""
        return f"share.{self.full_name}"

    def key_schema(self) -> dict[str, Any]:
        """Return the Avro schema of the view's record keys: the contract's key, masked, never null."""
        by_name = {shown.field.name: shown for shown in self.shown}
        fields = [
            {"name": name, "type": by_name[name].output().avro(name), "doc": _doc(by_name[name].field)}
            for name in self.contract.key
        ]
        return {"type": "record", "name": "Key", "namespace": self.namespace, "fields": fields}

    def value_schema(self) -> dict[str, Any]:
        """Return the Avro schema of the view's record values, in Debezium's envelope.

        Every field but the key may be null and defaults to it, so that when one is added or taken away its
        readers stay compatible.
        """
        value = {
            "type": "record",
            "name": "Value",
            "doc": f"{self.contract.label_zh} / {self.contract.label_en}",
            "fields": [self._value_field(shown) for shown in self.shown],
        }
        source = [
            {"name": "name", "type": "string", "doc": "resource"},
            {"name": "ts_ms", "type": "long", "doc": "commit in the source, ms since 1970-01-01 UTC"},
            {"name": "snapshot", "type": "boolean", "doc": "read by a snapshot, not from the log"},
        ]
        return {
            "type": "record",
            "name": "Envelope",
            "namespace": self.namespace,
            "fields": [
                {"name": "before", "type": ["null", value], "default": None},
                {"name": "after", "type": ["null", f"{self.namespace}.Value"], "default": None},
                {"name": "source", "type": {"type": "record", "name": "Source", "fields": source}},
                {"name": "op", "type": "string", "doc": "c, u, d, r or t"},
                {"name": "ts_ms", "type": ["null", "long"], "default": None, "doc": "when it was captured"},
            ],
        }

    def _value_field(self, shown: Shown) -> dict[str, Any]:
        type_, doc = shown.output(), _doc(shown.field)
        if shown.field.name in self.contract.key:
            return {"name": shown.field.name, "type": type_.avro(shown.path), "doc": doc}
        nullable = type_.or_null().avro(shown.path)
        return {"name": shown.field.name, "type": nullable, "default": None, "doc": doc}


def _doc(field: ContractField) -> str:
    return f"{field.label_zh} / {field.label_en}"


def compile_view(contract: Contract, spec: ViewSpec, name: str) -> View:
    """Return the view; `name` is the last part of its name.

    Raises: ConfigError listing all problems: unknown field, a mask that does not fit its type, a sensitive
    field shown clear without a reason, a key field missing or masked so that two rows could get one key, a
    row condition that cannot be judged.
    """
    problems: list[str] = []
    if _VIEW_NAME.fullmatch(name) is None:
        problems.append("the name must be lower-case letters, digits and _, beginning with a letter")
    masks = {
        path: mask for path, mask in spec.fields.items() if not _is_misplaced(path, contract, spec, problems)
    }
    shown = _shown_of(tuple(contract.fields.values()), "", masks, problems)
    if not shown and not problems:
        problems.append("fields: nothing is shown")
    _check_key(contract, spec, problems)
    for index, condition in enumerate(spec.rows):
        _check_condition(contract, condition, f"rows[{index}]", problems)
    if problems:
        raise ConfigError("\n".join(f"view {spec.resource}.{name}: {problem}" for problem in problems))
    return View(contract, spec.resource, name, shown, spec.rows)


_VIEW_NAME: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


def _is_misplaced(path: str, contract: Contract, spec: ViewSpec, problems: list[str]) -> bool:
    if contract.find(path) is None:
        parent, _, last = path.rpartition(".")
        inside = contract.find(parent) if parent else None
        known = [nested.name for nested in inside.type.fields] if inside else list(contract.fields)
        problems.append(f"fields.{path}: unknown field {did_you_mean(last, known)}")
        return True
    steps = path.split(".")
    for length in range(1, len(steps)):
        above = ".".join(steps[:length])
        if above in spec.fields:
            problems.append(f"fields.{path}: {above} is listed as a whole; list it or its parts, not both")
            return True
    return False


def _shown_of(
    fields: tuple[ContractField, ...], prefix: str, masks: Mapping[str, MaskSpec], problems: list[str]
) -> tuple[Shown, ...]:
    shown: list[Shown] = []
    for field in fields:
        path = prefix + field.name
        mask = masks.get(path)
        if mask is None:
            parts = _shown_of(field.type.fields, f"{path}.", masks, problems)
            if parts:
                shown.append(Shown(path, field, None, parts))
        elif not isinstance(mask, Omit):
            _check_mask(path, field, mask, problems)
            shown.append(Shown(path, field, mask))
    return tuple(shown)


def _check_mask(path: str, field: ContractField, mask: MaskSpec, problems: list[str]) -> None:
    try:
        output_type(mask, field.type)
    except ValueError as error:
        problems.append(f"fields.{path}: {error}")
    if not isinstance(mask, Clear) or mask.reason.strip():
        return
    for leaf_path, leaf in [(path, field), *field.leaves(path)]:
        if leaf.sensitive:
            kind = leaf.sensitivity or f"classification {leaf.classification}"
            problems.append(
                f"fields.{path}: shows {leaf_path} ({kind}) clear; mask it, or give "
                "{kind: clear, reason: …} with what entitles this view to it"
            )
            return


def _check_key(contract: Contract, spec: ViewSpec, problems: list[str]) -> None:
    for name in contract.key:
        mask = spec.fields.get(name)
        if not isinstance(mask, Clear | Token):
            seen = "is not shown" if mask is None else f"is masked by {mask.kind}"
            problems.append(
                f"fields.{name}: the key field {seen}, so two rows could get one key; use token or clear"
            )


def _check_condition(contract: Contract, condition: RowCondition, place: str, problems: list[str]) -> None:
    field = contract.find(condition.field)
    if field is None:
        problems.append(f"{place}: unknown field {did_you_mean(condition.field, contract.fields)}")
        return
    if field.type.kind not in TEXT_KINDS:
        problems.append(
            f"{place}: {condition.field} is {field.type.describe()}; conditions judge text or code"
        )
    if not condition.prefix and not condition.values:
        problems.append(f"{place}: give prefix or values; without them no row is in scope")
    if "" in condition.prefix:
        problems.append(f"{place}: an empty prefix lets every row in; leave the condition out instead")
    for value in condition.values if field.type.kind == "enum" else ():
        if value not in field.type.symbols:
            problems.append(f"{place}: unknown value {did_you_mean(value, field.type.symbols)}")
