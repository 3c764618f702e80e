"""Open connections to Kafka, a few kept for the next request: logging in takes longer than a page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from connectors.pull.page import Puller

MOST_IDLE: Final = 32
"""Each has some ten threads of librdkafka, which sleep."""


class Pool:
    """Lends connections out, each to one request at a time; of those not in use the oldest are closed."""

    def __init__(self, connect: Callable[[str], Puller]) -> None:
        """connect: from a subscriber's name to a new connection."""
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[tuple[str, Puller]] = []

    @contextmanager
    def lent(self, subscriber: str) -> Iterator[Puller]:
        """Lend a connection of a subscriber; one that broke is closed and never lent again.

        Raises: ConfigError when the subscriber's password is not among the secrets.
        """
        puller = self._find(subscriber) or self._connect(subscriber)
        try:
            yield puller
        finally:
            for unwanted in self._keep(subscriber, puller):
                unwanted.close()

    def close(self) -> None:
        """Close all that are not lent."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, puller in idle:
            puller.close()

    def _find(self, subscriber: str) -> Puller | None:
        """Return the one that was used last."""
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][0] == subscriber:
                    return self._idle.pop(index)[1]
        return None

    def _keep(self, subscriber: str, puller: Puller) -> list[Puller]:
        """Take a connection back; return those to close."""
        if puller.broken:
            return [puller]
        with self._lock:
            self._idle.append((subscriber, puller))
            unwanted, self._idle = self._idle[:-MOST_IDLE], self._idle[-MOST_IDLE:]
        return [puller for _, puller in unwanted]
