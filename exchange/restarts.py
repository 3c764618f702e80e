"""When a process that ended is started again."""

from __future__ import annotations

from typing import Final

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 10.0
HEALTHY_S: Final = 30.0
"""Whoever ran this long before it ended is restarted at once again."""


class Restarts:
    """Says how long to wait before each restart of a process: twice as long each time."""

    def __init__(self) -> None:
        self._wait_s = FIRST_WAIT_S

    def next_wait_s(self, ran_s: float) -> float:
        """Return how long to wait now that it has ended after so long."""
        if ran_s > HEALTHY_S:
            self._wait_s = FIRST_WAIT_S
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, LONGEST_WAIT_S)
        return wait_s
