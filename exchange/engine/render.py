"""A view bound to its keys: turns a valid record into what subscribers see. Built from the allow-list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from exchange.change import Reason, Rejected
from exchange.fieldtype import TEXT_KINDS, ContractField
from exchange.keys import TokenKey
from exchange.masking import Clear, Mask, TokenScope, compile_mask
from exchange.view import RowCondition, Shown, View

Record = Mapping[str, Any]


class Renderer:
    """Masks records for one view. Records are complete and valid, as `exchange.image` returns them."""

    def __init__(self, view: View, key: TokenKey) -> None:
        masks = [(shown.field.name, mask_of(shown, view, key)) for shown in view.shown]
        self._value_masks = masks
        self._key_masks = [(name, mask) for name, mask in masks if name in view.contract.key]
        self._conditions = [condition_of(row) for row in view.rows]
        hidden, approved = sensitive_paths(view)
        self._hidden = [(path, texts_at(path)) for path in hidden]
        self._approved = [texts_at(path) for path in approved]
        self.scoped = bool(view.rows)
        """Whether the view shows only some rows."""

    def value(self, record: Record) -> dict[str, Any] | Rejected:
        """Return the view's Value record; a mask that fails withholds the record, it never shows more."""
        return _apply(self._value_masks, record)

    def key(self, record: Record) -> dict[str, Any] | Rejected:
        """Return the view's Key record; `record` needs no other fields than the key."""
        return _apply(self._key_masks, record)

    def in_scope(self, record: Record) -> bool:
        """Return whether the row is one the view shows; a null that would have to be judged is not."""
        return all(condition(record) for condition in self._conditions)

    def hidden(self, records: Iterable[Record]) -> dict[str, str]:
        """Return text → path of the sensitive values that the view must not let out as they are."""
        return {text: path for record in records for path, texts in self._hidden for text in texts(record)}

    def approved(self, records: Iterable[Record]) -> set[str]:
        """Return the sensitive texts that the view shows clear for a stated reason."""
        return {text for record in records for texts in self._approved for text in texts(record)}


def _apply(masks: list[tuple[str, Mask]], record: Record) -> dict[str, Any] | Rejected:
    masked = {}
    for name, mask in masks:
        try:
            masked[name] = mask(record[name])
        except Exception:  # whatever went wrong: fail closed, and say no more than where
            return Rejected(Reason.MASK, name)
    return masked


def mask_of(shown: Shown, view: View, key: TokenKey) -> Mask:
    """Return what makes of a field's value the one that a view shows."""
    if shown.mask is None:
        return _part_mask([(part.field.name, mask_of(part, view, key)) for part in shown.parts])
    scope = TokenScope(
        key=key,
        view=view.full_name,
        field=shown.path,
        sensitivity=shown.field.sensitivity,
        exact=shown.path in view.contract.key,
    )
    return compile_mask(shown.mask, shown.field.type, scope)


def _part_mask(masks: list[tuple[str, Mask]]) -> Mask:
    def masked(record: Any) -> Any:
        return None if record is None else {name: mask(record[name]) for name, mask in masks}

    return masked


def condition_of(row: RowCondition) -> Callable[[Record], bool]:
    """Return what tells whether a record meets a condition."""
    steps, prefix, values = row.field.split("."), row.prefix, frozenset(row.values)

    def holds(record: Record) -> bool:
        value: Any = record
        for step in steps:
            value = None if value is None else value[step]
        return value is not None and (value in values or (bool(prefix) and value.startswith(prefix)))

    return holds


def sensitive_paths(view: View) -> tuple[list[str], list[str]]:
    """Return the paths of sensitive texts that are hidden, and of those shown clear."""
    clear = set(_clear_paths(view.shown))
    hidden: list[str] = []
    approved: list[str] = []
    for field in view.contract.fields.values():
        for path, leaf in field.leaves():
            if leaf.sensitive and (leaf.type.kind in TEXT_KINDS or _is_text_array(leaf)):
                (approved if path in clear else hidden).append(path)
    return hidden, approved


def _is_text_array(field: ContractField) -> bool:
    return field.type.kind == "array" and field.type.items is not None and field.type.items.kind in TEXT_KINDS


def _clear_paths(shown: tuple[Shown, ...]) -> Iterator[str]:
    for one in shown:
        yield from _clear_paths(one.parts)
        if isinstance(one.mask, Clear):
            for path, _ in one.field.leaves(one.path):
                yield path


def texts_at(path: str) -> Callable[[Record], list[str]]:
    """Return what collects the texts at a path; arrays on the way are gone through item by item."""
    first, *steps = path.replace("[]", "").split(".")

    def texts(record: Record) -> list[str]:
        value = record.get(first)
        if isinstance(value, str):
            return [value]
        values = _flat([value])
        for step in steps:
            values = _flat([value.get(step) for value in values])
        return values

    return texts


def _flat(values: list[Any]) -> list[Any]:
    """Return the values without null, arrays replaced by their items."""
    flat: list[Any] = []
    for value in values:
        if isinstance(value, list):
            flat += _flat(value)
        elif value is not None:
            flat.append(value)
    return flat
