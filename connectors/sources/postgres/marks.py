"""The marks of PostgreSQL's tables (connectors/sources/marks.py), by which a table is known again.

The stream does not tell what happens to a table outside it. Two numbers of the catalogue do: the table's oid,
which changes when it is dropped and made anew, and the oid of its entry in the publication, which changes
when it is taken out and put back. Both go into the position with the table's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.sources.marks import TableMarks

RECREATED: Final = "recreated"
REPUBLISHED: Final = "republished"
UNUSABLE: Final = "unusable"

_TOLD: Final = {
    RECREATED: "was dropped and made anew",
    REPUBLISHED: "was taken out of the publication for a while",
    UNUSABLE: "could not be captured for a while",
}


class Marks(TableMarks):
    """The marks of a system's tables. halted: table → reason, for people."""

    unusable = UNUSABLE

    def _change(self, was: str, now: str) -> str:
        if not was or was == now:
            return ""
        return REPUBLISHED if was.partition(".")[0] == now.partition(".")[0] else RECREATED

    def _words(self, state: str) -> str:
        return _TOLD.get(state, state)

    def since(self, name: str) -> int:
        """Return the log position from which a table's changes are taken from the stream."""
        return self._marks[name].since if name in self._marks else 0

    def strangers(self, now: Mapping[str, str]) -> Iterator[str]:
        """Yield the captured tables that are no longer those that `now` tells of: name → identity."""
        for name, mark in self._marks.items():
            if not mark.state and name not in self.halted and now.get(name) != mark.identity:
                yield name
