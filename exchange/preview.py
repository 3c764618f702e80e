"""What a view, declared or only thought of, makes of a made-up record, by the masks that workers run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from exchange.change import Rejected
from exchange.contract import Contract
from exchange.engine.render import Renderer
from exchange.errors import ConfigError
from exchange.example import example_of, text_of
from exchange.fieldtype import ContractField, FieldType
from exchange.keys import TokenKey
from exchange.masking import Clear, MaskSpec, Omit, output_type
from exchange.model import Label
from exchange.view import RowCondition, View, ViewSpec, compile_view

_KEY: Final = TokenKey(1, bytes(32))
"""Of examples alone: no worker has it, so a token in a preview tells nothing of one in a topic."""
_MASKS: Final[TypeAdapter[MaskSpec]] = TypeAdapter(MaskSpec)
_NAME: Final = "preview"


@dataclass(frozen=True, slots=True)
class Previewed:
    """One field: the example's text, and the view's of it; both None for null, shown False where absent."""

    path: str
    field: ContractField
    mask: MaskSpec | None
    example: str | None
    shown: bool
    text: str | None
    problem: str


@dataclass(frozen=True, slots=True)
class Preview:
    """Every field in the contract's order, and what is wrong apart from fields."""

    fields: tuple[Previewed, ...]
    problems: tuple[str, ...]


def preview(contract: Contract, spec: ViewSpec, problems: Mapping[str, str] | None = None) -> Preview:
    """Return what a view shows of the example. Where something is wrong, that is told and nothing shown.

    problems: by field, what was found before, as by `proposed`.
    """
    example = example_of(contract.fields.values(), spec.rows)
    by_field, others = dict(problems or {}), list[str]()
    shown: Mapping[str, Any] = {}
    try:
        view = compile_view(contract, spec, _NAME)
    except ConfigError as error:
        _sort_out(str(error), spec.resource, by_field, others)
    else:
        shown = {} if by_field else _shown(view, example, others)
    fields = tuple(
        _previewed(path, field, spec.fields, example, shown, by_field)
        for path, field in _walk(contract.fields.values(), "")
    )
    known = {one.path for one in fields}
    others += [f"{path}: {told}" for path, told in by_field.items() if path not in known]
    return Preview(fields, tuple(others))


def proposed(
    resource: str, masks: Mapping[str, Any], rows: tuple[RowCondition, ...]
) -> tuple[ViewSpec, dict[str, str]]:
    """Return a view that nobody has declared, and what is wrong with its masks, by field."""
    good: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for path, declared in masks.items():
        try:
            good[path] = _MASKS.validate_python({"kind": declared} if isinstance(declared, str) else declared)
        except ValidationError as error:
            problems[path] = "; ".join(
                f"{'.'.join(map(str, one['loc'][1:] or ('kind',)))}: {one['msg']}" for one in error.errors()
            )
    spec = ViewSpec(resource=resource, label=Label(zh="预览", en="Preview"), fields=good, rows=rows)
    return spec, problems


def _shown(view: View, example: Mapping[str, Any], others: list[str]) -> Mapping[str, Any]:
    found = Renderer(view, _KEY).value(example)
    if isinstance(found, Rejected):
        others.append(f"fields.{found.field}: the mask does not take the example, so no record is shown")
        return {}
    return found


def _sort_out(told: str, resource: str, by_field: dict[str, str], others: list[str]) -> None:
    """Sort the lines of `compile_view` by the field that each begins with."""
    for line in told.splitlines():
        where = line.removeprefix(f"view {resource}.{_NAME}: ")
        path, colon, problem = where.removeprefix("fields.").partition(": ")
        if where.startswith("fields.") and colon:
            by_field.setdefault(path, problem)
        else:
            others.append(where)


def _previewed(
    path: str,
    field: ContractField,
    masks: Mapping[str, MaskSpec],
    example: Mapping[str, Any],
    shown: Mapping[str, Any],
    problems: Mapping[str, str],
) -> Previewed:
    mask = masks.get(path)
    is_leaf = field.type.kind != "record"
    is_there, value = _at(shown, path)
    has_text = is_there and (is_leaf or mask is not None)
    return Previewed(
        path=path,
        field=field,
        mask=mask,
        example=text_of(_at(example, path)[1], field.type) if is_leaf else None,
        shown=has_text,
        text=text_of(value, _type_of(mask, field.type)) if has_text else None,
        problem=problems.get(path, ""),
    )


def _type_of(mask: MaskSpec | None, type_: FieldType) -> FieldType:
    return type_ if mask is None or isinstance(mask, Clear | Omit) else output_type(mask, type_)


def _at(record: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    value: Any = record
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return False, None
        value = value[step]
    return True, value


def _walk(fields: Iterable[ContractField], prefix: str) -> Iterator[tuple[str, ContractField]]:
    for field in fields:
        path = prefix + field.name
        yield path, field
        if field.type.kind == "record":
            yield from _walk(field.type.fields, f"{path}.")
