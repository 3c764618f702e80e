"""Which of a system's tables are captured, and which are halted because changes of them may be missing.

A table is halted alone, the others flow on. Its changes are not held: what was missed is not known, so its
way back is to be emptied and read anew, once a person says so (`exchange resnapshot SYSTEM --table TABLE`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar

from exchange import log
from exchange.errors import GapError
from exchange.tablemark import ANEW, TableMark

_log = log.get(__name__)


class TableMarks:
    """The marks of a system's tables. halted: table → reason, for people."""

    unusable: ClassVar[str] = "could not be captured for a while"
    """State of a table that has a problem now."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.halted: dict[str, str] = {}
        self._marks: dict[str, TableMark] = {}

    def compare(
        self, entries: Iterable[str], resume: int, usable: Mapping[str, str], problems: Mapping[str, str]
    ) -> None:
        """Compare what the position says with the source.

        usable, problems: the plan's tables by name, with their identity, and with what is wrong.

        Raises: GapError when no table is left that can be captured.
        """
        stored = {mark.name: mark for mark in map(TableMark.parse, entries)}
        for name in [*usable, *problems]:
            if name in stored:
                mark = stored[name]
                self._marks[name] = replace(mark, since=mark.since if mark.since > resume else 0)
            self._judge(name, usable.get(name, ""), problems.get(name, ""))
        if self.halted and len(self.halted) == len(usable) + len(problems):
            raise GapError("\n".join(self.halted.values()))

    def _judge(self, name: str, identity: str, problem: str) -> None:
        mark = self._marks.get(name)
        if mark is None or mark.state == ANEW:
            if problem:  # nothing was captured of it, so nothing is missing
                self.halted[name] = f"source {self.system}: {problem}"
        elif problem:
            self.halt(name, mark.state or self.unusable, problem)
        elif mark.state:
            self.halt(name, mark.state)
        elif state := self._change(mark.identity, identity):
            self.halt(name, state)
        else:
            self._marks[name] = replace(mark, identity=identity)

    def _change(self, was: str, now: str) -> str:
        """Return the state of a table that is not the one that was captured, empty where it is or may be."""
        return ""

    def _words(self, state: str) -> str:
        """Return a state as people read it behind the table's name."""
        return state

    def halt(self, name: str, state: str, why: str = "") -> None:
        """Halt a table from here on. state: what happened to it, in a line; why: more of it for people."""
        state = " ".join(state.split())
        self._marks[name] = replace(self._marks.get(name, TableMark(name)), state=state)
        reason = (
            f"source {self.system}: {why or f'table {name} {self._words(state)}'}. Changes of it may be "
            f"missing: it is halted, others go on; run `exchange resnapshot {self.system} --table {name}` to "
            "empty and fill its views anew"
        )
        if name not in self.halted:
            _log.error("table_halted", system=self.system, table=name, reason=reason)
        self.halted[name] = reason

    def complete(self, name: str, since: int, identity: str = "") -> None:
        """Note that a table's snapshot is complete, with all that was committed before `since`."""
        self._marks[name] = TableMark(name, identity, since)

    def is_complete(self, name: str) -> bool:
        """Whether a table's snapshot is complete."""
        return name in self._marks and not self._marks[name].state

    def takes(self, name: str, commit: int) -> bool:
        """Whether a change at a place of the log is to be captured."""
        return name not in self.halted and (name not in self._marks or commit >= self._marks[name].since)

    def to_empty(self) -> list[str]:
        """Return the tables whose views are to be emptied before they are read."""
        return [name for name in self._marks if self._marks[name].state == ANEW and name not in self.halted]

    def emptied(self, names: Iterable[str]) -> None:
        """Note that tables were emptied: they are now to be read like those that never were."""
        for name in names:
            self._marks.pop(name, None)

    def entries(self) -> tuple[str, ...]:
        """Return the marks as the position holds them."""
        return tuple(str(mark) for mark in self._marks.values())
