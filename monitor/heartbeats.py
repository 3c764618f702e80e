"""The heartbeats of connectors and workers, kept for a second for all who ask."""

from __future__ import annotations

import threading
import time
from typing import Final

import redis
from pydantic import JsonValue

from exchange import heartbeat
from exchange.settings import Settings
from monitor.api.models import PartHealth

_CACHE_S: Final = 1.0

Heartbeat = dict[str, JsonValue]


class Heartbeats:
    """Reads them at most once a second. Redis holds nothing that must last: its absence is a state."""

    def __init__(self, settings: Settings) -> None:
        self._redis = heartbeat.connect(settings)
        self._lock = threading.Lock()
        self._asked_at = -_CACHE_S
        self._found: tuple[Heartbeat, ...] = ()
        self._health = PartHealth(ok=False, text="starting")

    def read(self) -> tuple[Heartbeat, ...]:
        """Return the heartbeats of those alive, sorted by stage and writer; none while Redis is away."""
        self._refresh()
        return self._found

    def health(self) -> PartHealth:
        """Return whether Redis answers."""
        self._refresh()
        return self._health

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._asked_at < _CACHE_S:
                return
            try:
                self._found = tuple(heartbeat.read_all(self._redis))
                self._health = PartHealth(ok=True, text="ok")
            except (redis.RedisError, ValueError) as error:
                self._found = ()
                self._health = PartHealth(ok=False, text=f"Redis: {type(error).__name__}")
            self._asked_at = time.monotonic()
