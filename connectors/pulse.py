"""How a connector tells that it lives, and what it does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from connectors.guard import Guard
from connectors.source import Batch
from exchange import heartbeat
from exchange.pauses import Pause
from exchange.settings import Settings

_EVERY_S: Final = 5.0


class Pulse:
    """The connector's heartbeat in Redis, for live figures; capture goes on without Redis."""

    def __init__(self, settings: Settings, writer: str) -> None:
        self.redis = heartbeat.connect(settings)
        self._writer = writer
        self._at = 0.0
        self._state = ""
        self._captured = 0
        self._changed_at: float | None = None
        self._tables: Mapping[str, str] = {}
        self._snapshot: Mapping[str, int | str] = {}
        self.guard: Guard | None = None

    def note(self, batch: Batch) -> None:
        """Take in what was read."""
        self._captured += batch.count
        self._changed_at = time.monotonic() if batch.count else self._changed_at
        self._tables, self._snapshot = batch.halted, batch.snapshot

    def beat(self, state: str, *, force: bool = False, reason: str = "", pause: Pause | None = None) -> None:
        """Publish state and figures, every few seconds unless forced or the state is another."""
        now = time.monotonic()
        if not force and state == self._state and now - self._at < _EVERY_S:
            return
        self._at, self._state = now, state
        reasons = [*self._tables.values(), *([reason] if reason else [])]
        halted = [{"topic": "", "partition": -1, "offset": -1, "reason": reason} for reason in reasons]
        figures: dict[str, int | str] = {"captured": self._captured, **self._snapshot}
        if self._changed_at is not None:
            figures["since_last_change_s"] = int(now - self._changed_at)
        figures |= {} if pause is None else pause.figures
        figures |= self.guard.figures if self.guard is not None else {}
        alarms = self.guard.alarms if self.guard is not None else []
        heartbeat.publish(self.redis, "capture", self._writer, state, figures, halted, alarms)
