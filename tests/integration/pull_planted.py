"""Pull with a fault built in, which the comparison of a walk with its topic must find.

Run as `python pull_planted.py <fault> <arguments of exchange>`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from unittest.mock import patch

from connectors.pull.cursor import Place
from connectors.pull.lane import Lane
from exchange import cli
from exchange.subscriber import seen


def advance_early() -> None:
    """The cursor stands behind what waits to be given out too."""
    place = Lane.place

    def behind_all(lane: Lane) -> Place:
        waiting = lane._waiting
        return Place(waiting[-1].next) if waiting else place(lane)

    patch.object(Lane, "place", behind_all).start()


def stand_still() -> None:
    """The cursor stands one record before what was given out, and duplicates are not told."""
    place = Lane.place
    patch.object(seen.Seen, "is_new", lambda *_: True).start()
    patch.object(Lane, "place", lambda lane: Place(max(0, place(lane).offset - 1))).start()


FAULTS: dict[str, Callable[[], None]] = {"early": advance_early, "still": stand_still}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
