"""One datum, one source: which published resources claim the same element of a library, and which is named.

A field claims the data element that its contract names (`element`, a code of a data standard). Within one
library an element has one source; where two resources claim it, the share authority names the one that is
authoritative, and the others are known as copies to be verified against it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import AwareDatetime

from exchange.catalogue.entry import State
from exchange.catalogue.sheet import Sheet
from exchange.model import Model


class Naming(Model):
    """One resource was named the source of an element of a library; the last one of an element holds."""

    id: int = 0
    library: str
    element: str
    resource: str
    by: str
    at: AwareDatetime
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """An element of a library that more than one published resource claims.

    fields: resource → paths that hold it; source: the resource that is named, empty where none is.
    """

    library: str
    element: str
    fields: dict[str, tuple[str, ...]]
    source: str

    @property
    def told(self) -> str:
        """The claim in one line, with what to do about it."""
        who = ", ".join(f"{name} ({', '.join(paths)})" for name, paths in self.fields.items())
        if self.source:
            return f"{self.library}/{self.element}: {self.source} is the source; claimed by {who}"
        return (
            f"{self.library}/{self.element}: claimed by {who}; name one with "
            f"`exchange catalogue settle {self.library} {self.element} RESOURCE`"
        )


def claims(shelf: Iterable[Sheet], namings: Iterable[Naming]) -> list[Claim]:
    """Return the elements that several resources claim, by library and element.

    A naming of a resource that claims the element no longer does not hold.
    """
    found: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for sheet in shelf:
        entry = sheet.entry
        if entry is None or entry.state == State.RETIRED or entry.published is None:
            continue
        for path, field in sheet.leaves():
            if field.element:
                holders = found.setdefault((entry.published.library, field.element), {})
                holders[sheet.name] = (*holders.get(sheet.name, ()), path)
    named = {(one.library, one.element): one.resource for one in sorted(namings, key=lambda one: one.id)}
    several = ((key, holders) for key, holders in sorted(found.items()) if len(holders) > 1)
    return [Claim(*key, holders, named[key] if named.get(key) in holders else "") for key, holders in several]
