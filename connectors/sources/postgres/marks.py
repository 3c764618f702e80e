"""Which of a system's tables are captured, and which are halted because changes of them may be missing.

A table is halted alone, the others flow on. Its changes are not held: what was missed is not known, so its
way back is to be emptied and read anew, once a person says so (`exchange resnapshot SYSTEM --table TABLE`).

The stream does not tell what happens to a table outside it. Two numbers of the catalogue do: the table's oid,
which changes when it is dropped and made anew, and the oid of its entry in the publication, which changes
when it is taken out and put back. Both go into the position with the table's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from connectors.sources.postgres.catalog import SourceTable
from connectors.tablemark import ANEW, TableMark
from exchange import log
from exchange.errors import GapError

_log = log.get(__name__)

RECREATED: Final = "recreated"
REPUBLISHED: Final = "republished"
UNUSABLE: Final = "unusable"

_TOLD: Final = {
    RECREATED: "was dropped and made anew",
    REPUBLISHED: "was taken out of the publication for a while",
    UNUSABLE: "could not be captured for a while",
}


class Marks:
    """The marks of a system's tables. halted: table → reason, for people."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.halted: dict[str, str] = {}
        self._marks: dict[str, TableMark] = {}

    def compare(
        self,
        entries: Iterable[str],
        resume: int,
        usable: Mapping[str, SourceTable],
        problems: Mapping[str, str],
    ) -> None:
        """Compare what the position says with the catalogue. usable, problems: the plan's tables, by name.

        Raises: GapError when no table is left that can be captured.
        """
        stored = {mark.name: mark for mark in map(TableMark.parse, entries)}
        for name in {**usable, **problems}:
            if name in stored:
                mark = stored[name]
                self._marks[name] = replace(mark, since=mark.since if mark.since > resume else 0)
            self._judge(name, usable.get(name), problems.get(name, ""))
        if self.halted and len(self.halted) == len(usable) + len(problems):
            raise GapError("\n".join(self.halted.values()))

    def _judge(self, name: str, table: SourceTable | None, problem: str) -> None:
        mark = self._marks.get(name)
        if table is None:
            if mark is None or mark.state == ANEW:  # nothing was captured of it, so nothing is missing
                self.halted[name] = f"source {self.system}: {problem}"
            else:
                self.halt(name, mark.state or UNUSABLE, problem)
        elif mark is None or mark.state == ANEW:
            return
        elif mark.state:
            self.halt(name, mark.state, f"table {name} {_TOLD.get(mark.state, mark.state)}")
        elif state := changed(mark.identity, table):
            self.halt(name, state, f"table {name} {_TOLD[state]}")
        else:
            self._marks[name] = replace(mark, identity=table.identity)

    def halt(self, name: str, state: str, why: str) -> None:
        """Halt a table from here on."""
        self._marks[name] = replace(self._marks.get(name, TableMark(name)), state=state)
        reason = (
            f"source {self.system}: {why}. Changes of it may be missing: it is halted, others go on; "
            f"run `exchange resnapshot {self.system} --table {name}` to empty and fill its views anew"
        )
        if name not in self.halted:
            _log.error("table_halted", system=self.system, table=name, reason=reason)
        self.halted[name] = reason

    def complete(self, table: SourceTable, since: int) -> None:
        """Note that a table's snapshot is complete, with all that was committed before `since`."""
        self._marks[table.name] = TableMark(table.name, table.identity, since)

    def is_complete(self, name: str) -> bool:
        """Whether a table's snapshot is complete."""
        return name in self._marks and not self._marks[name].state

    def to_empty(self) -> list[str]:
        """Return the tables whose views are to be emptied before they are read."""
        return [name for name in self._marks if self._marks[name].state == ANEW and name not in self.halted]

    def emptied(self, names: Iterable[str]) -> None:
        """Note that tables were emptied: they are now to be read like those that never were."""
        for name in names:
            self._marks.pop(name, None)

    def since(self, name: str) -> int:
        """Return the log position from which a table's changes are taken from the stream."""
        return self._marks[name].since if name in self._marks else 0

    def strangers(self, now: Mapping[str, str]) -> Iterator[str]:
        """Yield the captured tables that are no longer those that `now` tells of: name → identity."""
        for name, mark in self._marks.items():
            if not mark.state and name not in self.halted and now.get(name) != mark.identity:
                yield name

    def entries(self) -> tuple[str, ...]:
        """Return the marks as the position holds them."""
        return tuple(str(mark) for mark in self._marks.values())


def changed(identity: str, table: SourceTable) -> str:
    """Return why a table is not the one that was captured; empty when it is, or when that is not known."""
    if not identity or identity == table.identity:
        return ""
    return REPUBLISHED if identity.partition(".")[0] == table.identity.partition(".")[0] else RECREATED
