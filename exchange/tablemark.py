"""What a position says of one table: an entry of SourcePosition.tables as text.

<schema>.<table>[@<identity>][+<since>][!<state>]      public.person@16385.16390+1a2b3c
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

ANEW: Final = "anew"
"""The state of a table whose views are to be emptied and filled anew."""

_ENTRY: Final = re.compile(r"([^@+!]+)(?:@([^+!]*))?(?:\+([0-9a-f]+))?(?:!(.+))?")


@dataclass(frozen=True, slots=True)
class TableMark:
    """How far one table is captured.

    identity: which table of that name it is, in its source's own terms; empty where that is not known.
    since: changes before this log position are in its snapshot already, and are left out of the stream.
    state: empty for a table whose snapshot is complete; ANEW; or why it is halted.
    """

    name: str
    identity: str = ""
    since: int = 0
    state: str = ""

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Read an entry. Raises: ValueError when it is none."""
        found = _ENTRY.fullmatch(entry)
        if found is None:
            msg = "not an entry of a position's tables"
            raise ValueError(msg)
        name, identity, since, state = found.groups()
        return cls(name, identity or "", int(since or "0", 16), state or "")

    def __str__(self) -> str:
        """Return the entry."""
        identity = f"@{self.identity}" if self.identity else ""
        since = f"+{self.since:x}" if self.since else ""
        state = f"!{self.state}" if self.state else ""
        return f"{self.name}{identity}{since}{state}"


def to_read_anew(entries: Iterable[str], table: str) -> tuple[str, ...]:
    """Return a position's tables with one of them marked to be read anew."""
    others = [entry for entry in entries if TableMark.parse(entry).name != table]
    return (*others, str(TableMark(table, state=ANEW)))
