"""Telling a duplicate from a new record by its source position, as every subscriber should."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from exchange.change import Position, RecordHeader

_REDRIVEN_KEPT: Final = 4096
_STREAMS_KEPT: Final = 8
"""Kafka keeps 4096 bytes of metadata with an offset; a stream's mark takes at most 52."""


class Seen:
    """Tells a duplicate from a new record of one partition, in bounded memory.

    Within one partition the positions of one source log only rise: the connector writes in commit order and
    the output partition equals the input partition. A delete and its tombstone share a position and differ in
    the tombstone flag, which counts as the last part of the order. So the highest position per log is enough,
    however long the topic is. A re-driven record is the one exception: it comes late with its old, lower
    position, and the first time it was refused to every view; these are remembered one by one, the latest
    4096. A restored database has another stream id and starts a mark of its own; the latest 8 are kept.
    """

    def __init__(self, marks: str = "") -> None:
        self._highest: OrderedDict[int, tuple[int, int, int, bool]] = OrderedDict()
        self._redriven: OrderedDict[tuple[Position, bool], None] = OrderedDict()
        self._load(marks)

    def is_new(self, header: RecordHeader) -> bool:
        """Remember a record; return False when it was seen before."""
        at = header.position
        if header.redriven:
            return self._first_redriven((at, header.tombstone))
        rank = (at.commit, at.index, at.part, header.tombstone)
        highest = self._highest.get(at.stream)
        if highest is not None and rank <= highest:
            return False
        self._highest[at.stream] = rank
        self._highest.move_to_end(at.stream)
        if len(self._highest) > _STREAMS_KEPT:
            self._highest.popitem(last=False)
        return True

    def marks(self) -> str:
        """Return the highest position per log, as text that a later `Seen` goes on with."""
        return ";".join(
            f"{stream:x}/{commit:x}/{index:x}/{part:x}/{tombstone:d}"
            for stream, (commit, index, part, tombstone) in self._highest.items()
        )

    def _first_redriven(self, identity: tuple[Position, bool]) -> bool:
        if identity in self._redriven:
            return False
        self._redriven[identity] = None
        if len(self._redriven) > _REDRIVEN_KEPT:
            self._redriven.popitem(last=False)
        return True

    def _load(self, marks: str) -> None:
        """Take marks over; text of another program's making is ignored, which at worst shows a duplicate."""
        try:
            for mark in filter(None, marks.split(";")):
                stream, *rank = [int(number, 16) for number in mark.split("/")]
                commit, index, part, tombstone = rank
                self._highest[stream] = (commit, index, part, bool(tombstone))
        except ValueError:
            self._highest.clear()
