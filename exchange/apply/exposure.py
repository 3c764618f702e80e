"""What a change of views and grants means to readers: what they see more of, and what they lose.

A change `exposes` unless it is certain that it doesn't: new values must follow from the old ones alone. A
shorter `partial` is no such case: it shows of short values what the longer one hid wholly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from exchange.masking import Clear, Generalise, MaskSpec, Null, Omit, Redact
from exchange.view import RowCondition, ViewSpec

_ABSENT: Final = "not shown"
_ALL_ROWS: Final = "all"

Readers = Mapping[str, frozenset[str]]
"""View → the subscribers that may read it."""


@dataclass(frozen=True, slots=True)
class ViewChange:
    """One thing of a view that is to change.

    what: `field <path>`, `rows`, `reader <subscriber>` or `view`; readers: who reads the view then.
    """

    view: str
    what: str
    before: str
    after: str
    exposes: bool
    readers: tuple[str, ...]

    def __str__(self) -> str:
        mark = "!" if self.exposes else "~"
        readers = ", ".join(self.readers) or "nobody"
        return f"{mark} view {self.view}, {self.what}: {self.before} → {self.after} (read by {readers})"


def view_changes(
    before: Mapping[str, ViewSpec], after: Mapping[str, ViewSpec], readers_before: Readers, readers: Readers
) -> tuple[ViewChange, ...]:
    """Return what changes for the readers of each view, by the views' names."""
    found: list[ViewChange] = []
    for view in sorted({*before, *after}):
        were, are = readers_before.get(view, frozenset()), readers.get(view, frozenset())
        told = tuple(sorted(are or were))
        if view not in after:
            found.append(
                ViewChange(view, "view", "declared", "no longer declared", exposes=False, readers=told)
            )
            continue
        for what, old, new, exposes in _of_spec(before.get(view), after[view]):
            found.append(ViewChange(view, what, old, new, exposes, told))
        for reader in sorted(are - were):
            found.append(ViewChange(view, f"reader {reader}", "no access", _shows(after[view]), True, told))
        for reader in sorted(were - are):
            found.append(ViewChange(view, f"reader {reader}", "reads", "no access", False, told))
    return tuple(found)


def _of_spec(before: ViewSpec | None, after: ViewSpec) -> Iterator[tuple[str, str, str, bool]]:
    """Yield what changes in a view that both sides have; what a new view shows is told with its readers."""
    if before is None:
        return
    for path in sorted({*before.fields, *after.fields}):
        old, new = before.fields.get(path), after.fields.get(path)
        if _told(old) != _told(new):
            yield f"field {path}", _told(old), _told(new), shows_more(_mask_over(before, path), new)
    if before.rows != after.rows:
        exposes = not is_within(after.rows, before.rows)
        yield "rows", _rows_told(before.rows), _rows_told(after.rows), exposes


def shows_more(old: MaskSpec | None, new: MaskSpec | None) -> bool:
    """Return whether the new mask may show what the old one hid; None is a field that is not listed."""
    if isinstance(old, Clear) or old == new:
        return False
    match new:
        case None | Omit() | Null() | Redact():
            return False
        case Generalise() if isinstance(old, Generalise):
            return not _is_coarser(new, old)
        case _:
            return True


def _is_coarser(new: Generalise, old: Generalise) -> bool:
    if new.to == "bucket" == old.to:
        return new.size % old.size == 0
    return new.to == "year" and old.to == "month"


def is_within(new: tuple[RowCondition, ...], old: tuple[RowCondition, ...]) -> bool:
    """Return whether every row that meets all new conditions is certain to meet all old ones."""
    return all(any(_implies(one, other) for one in new) for other in old)


def _implies(one: RowCondition, other: RowCondition) -> bool:
    return (
        one.field == other.field
        and all(text.startswith(other.prefix) for text in one.prefix)
        and all(text in other.values or text.startswith(other.prefix) for text in one.values)
    )


def _mask_over(view: ViewSpec, path: str) -> MaskSpec | None:
    """Return the mask of a field, or of the record that it stood in."""
    while path:
        if path in view.fields:
            return view.fields[path]
        path = path.rpartition(".")[0]
    return None


def _told(mask: MaskSpec | None) -> str:
    """Return a mask in words; the reason for a clear one is its paperwork, not what it shows."""
    if mask is None or isinstance(mask, Omit):
        return _ABSENT
    given = mask.model_dump(exclude_defaults=True, exclude={"kind", "reason"})
    words = ", ".join(f"{name} {value}" for name, value in given.items())
    return f"{mask.kind} ({words})" if words else mask.kind


def _rows_told(rows: tuple[RowCondition, ...]) -> str:
    return " and ".join(map(_condition_told, rows)) or _ALL_ROWS


def _condition_told(row: RowCondition) -> str:
    beginnings = [f"{text}…" for text in row.prefix]
    return f"{row.field} in {', '.join([*beginnings, *row.values])}"


def _shows(view: ViewSpec) -> str:
    """Return what a new reader gets: fields by mask, and rows."""
    clear = [path for path, mask in view.fields.items() if isinstance(mask, Clear)]
    masked = sorted(set(map(_told, view.fields.values())) - {"clear", _ABSENT})
    shown = f"clear {', '.join(clear)}" if clear else "nothing clear"
    also = f"; {', '.join(masked)}" if masked else ""
    return f"reads {shown}{also}; rows: {_rows_told(view.rows)}"
