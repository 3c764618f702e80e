"""What an export of the catalogue holds, and what an import may say: one row a resource, whatever the format.

What topology and contract say is exported too; where an import has it, it must be the same. Only what people
write (`Content`) is taken in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from exchange.catalogue.entry import ENDS, Content, State
from exchange.catalogue.sheet import Sheet
from exchange.errors import GovernanceError
from exchange.suggest import did_you_mean

WRITTEN: Final = tuple(Content.model_fields)
"""Columns that an import writes."""
RESOURCE: Final = "resource"
STATE: Final = "state"


@dataclass(frozen=True, slots=True)
class Row:
    """One resource as an import has it: where it stands in the file, and its columns as text.

    fields: path → columns of a field, where the format has them; None where it has not.
    """

    where: str
    resource: str
    columns: Mapping[str, str]
    fields: Mapping[str, Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a row would do: make an entry, change columns of one, or nothing; or why it is refused."""

    row: Row
    content: Content = field(default_factory=Content)
    changed: tuple[str, ...] = ()
    is_new: bool = False
    refused: tuple[str, ...] = ()


def row_of(sheet: Sheet) -> dict[str, str]:
    """Return the columns of a resource in an export, from its name to its state."""
    entry = sheet.entry
    content = entry.told if entry is not None and entry.state != State.RETIRED else Content()
    written = {name: getattr(content, name) for name in WRITTEN}
    return {RESOURCE: sheet.name} | sheet.declared() | written | {STATE: entry.state.value if entry else ""}


def judge(
    rows: Iterable[Row], shelf: Mapping[str, Sheet], expect_steward: Callable[[str], None]
) -> list[Judged]:
    """Return what each row would do, in their order. expect_steward raises GovernanceError for a resource."""
    judged: list[Judged] = []
    seen: set[str] = set()
    for row in rows:
        refused: list[str] = []
        sheet = shelf.get(row.resource)
        if sheet is None:
            refused.append(f"no resource is called {did_you_mean(row.resource[:80], shelf)}")
        elif row.resource in seen:
            refused.append(f"{row.resource} stands in the import twice")
        seen.add(row.resource)
        judged.append(
            Judged(row, refused=tuple(refused))
            if sheet is None or refused
            else _judge(row, sheet, expect_steward)
        )
    return judged


def _judge(row: Row, sheet: Sheet, expect_steward: Callable[[str], None]) -> Judged:
    refused = [*_contradictions(row, sheet)]
    try:
        expect_steward(sheet.name)
    except GovernanceError as error:
        # What it would change would tell others what a draft says.
        return Judged(row, refused=(*refused, str(error)))
    entry = sheet.entry if sheet.entry is not None and sheet.entry.state not in ENDS else None
    before = entry.content if entry else Content()
    written = {name: row.columns[name] for name in WRITTEN if name in row.columns}
    content = before
    try:
        content = Content.model_validate(before.model_dump() | written)
    except ValidationError as error:
        refused += [f"{_place(one)}: {one['msg']}" for one in error.errors(include_input=False)]
    changed = tuple(name for name in WRITTEN if getattr(content, name) != getattr(before, name))
    if changed and entry is not None and entry.state == State.SUBMITTED:
        refused.append("the entry is submitted; withdraw it, or have it returned, before it is changed")
    return Judged(row, content, changed, entry is None, tuple(refused))


def _contradictions(row: Row, sheet: Sheet) -> Iterable[str]:
    """Yield what an import says otherwise than topology and contract do."""
    declared = sheet.declared()
    known = {RESOURCE, STATE, *declared, *WRITTEN}
    for name, value in row.columns.items():
        if name not in known:
            yield f"unknown column {did_you_mean(name[:80], known)}"
        elif name in declared and value not in ("", declared[name]):
            yield f"{name}: the bus has {declared[name]!r}; topology.yaml or the contract says so"
    if row.fields is None:
        return
    have = {path for path, _ in sheet.leaves()}
    for path in sorted(row.fields.keys() ^ have):
        word = "is not in the contract" if path in row.fields else "of the contract is missing"
        yield f"field {path[:80]!r} {word}; fields are changed in the contract, not here"
    for path, leaf in sheet.leaves():
        grade = row.fields.get(path, {}).get("classification", "")
        if grade not in ("", str(leaf.classification)):
            yield f"field {path!r}: its grade in the contract is {leaf.classification}; change it there"


def _place(error: Any) -> str:
    return ".".join(str(step) for step in error["loc"])
