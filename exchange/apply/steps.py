"""What `exchange apply` shows: each object with what happens to it, gathered in stages of its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from exchange.apply.exposure import ViewChange


class Mark(StrEnum):
    """What happens to an object; UNDECLARED is deleted where that is allowed by name, and else stays."""

    CREATED = "+"
    UNCHANGED = "="
    CHANGED = "~"
    REMOVED = "-"
    UNDECLARED = "x"


@dataclass(frozen=True, slots=True)
class Line:
    """One object and what happens to it."""

    mark: Mark
    kind: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.mark} {self.kind} {self.name}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Stage:
    """Objects of one kind, and what carries out their changes at once."""

    lines: tuple[Line, ...]
    run: Callable[[], object]

    @property
    def changes(self) -> tuple[Line, ...]:
        """The lines of what is not yet as it should be."""
        return tuple(line for line in self.lines if line.mark != Mark.UNCHANGED)


@dataclass(slots=True)
class Survey:
    """What was seen: first what is taken away, then what is set up, and what stands in the way of that.

    deletes: what apply once made and the topology no longer has, one stage an object; views: what all of it
    means to the readers of views.
    """

    withdrawals: list[Stage] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    deletes: list[Stage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    views: tuple[ViewChange, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every object, in the order of the work."""
        return tuple(line for stage in [*self.withdrawals, *self.stages] for line in stage.lines)

    @property
    def changes(self) -> tuple[Line, ...]:
        """The lines of what is not yet as it should be."""
        return tuple(line for line in self.lines if line.mark != Mark.UNCHANGED)

    @property
    def undeclared(self) -> tuple[Line, ...]:
        """The lines of what may be deleted."""
        return tuple(line for stage in self.deletes for line in stage.lines)


@dataclass(frozen=True, slots=True)
class Applied:
    """The outcome: the plan now in force (0: none), and every object with what happened to it.

    kept: what is no longer declared and was not allowed to be deleted.
    """

    plan_version: int
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    kept: tuple[Line, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether anything was created, changed or removed."""
        return any(line.mark != Mark.UNCHANGED for line in self.lines)
