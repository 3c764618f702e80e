"""What waits for a caller, most urgent first: of requests, objections and entries alike. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar


class Dated(Protocol):
    """Something that is to be decided by a day, the last one to do so; None: there is none."""

    @property
    def due(self) -> dt.date | str | None:
        """The day, a text of it as ISO 8601 has it."""


class Paged(Protocol):
    """Which part of a list is asked for."""

    @property
    def offset(self) -> int:
        """How many come before it."""

    @property
    def limit(self) -> int:
        """How many it has at most."""


AnyT = TypeVar("AnyT")
DatedT = TypeVar("DatedT", bound=Dated)


def first_due_first(found: Iterable[DatedT], name: Callable[[DatedT], int | str]) -> list[DatedT]:
    """Return what is due first, then what has no day; of one day, in the order of their names."""
    return sorted(found, key=lambda one: (one.due is None, str(one.due), name(one)))


def page(found: Sequence[AnyT], given: Paged) -> tuple[AnyT, ...]:
    """Return the part of a list that is asked for."""
    return tuple(found[given.offset : given.offset + given.limit])
