"""Who ought to be at work and is not heard of: what died says nothing itself. No I/O."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import Field

from exchange.heartbeat import PULL, TTL_S
from exchange.model import Model
from exchange.plan import PublishedPlan
from exchange.position import writer_id

_GRACE_MS: Final = 2 * TTL_S * 1000
"""A heartbeat comes every second or two; whoever is alive is heard of within this."""
_REMEMBERED_MS: Final = 3_600_000
_ENDED: Final = "stopped"
_WORKER: Final = "exchange stream"

Heartbeats = Iterable[Mapping[str, Any]]


class Silent(Model):
    """A connector, worker or delivery that ought to be at work and gives no sign of life."""

    stage: str
    writer: str = Field(description="As its heartbeat names it; `stream` where no worker is heard.")
    last_at_ms: int | None = Field(description="When it was last heard of; None: not since `since_ms`.")
    since_ms: int = Field(description="Since when the monitor has listened.")
    command: str = Field(description="What starts it.")


def expected_of(plan: PublishedPlan) -> dict[tuple[str, str], str]:
    """Return stage and writer of each process that a plan needs, without workers → what starts it."""
    captured = {resource.system for resource in plan.resources}
    found = {("capture", writer_id(name)): f"exchange connect {name}" for name in sorted(captured)}
    for delivery in plan.deliveries:
        if delivery.views:
            command = f"exchange deliver {delivery.subscriber}"
            found["deliver", f"deliver-{delivery.subscriber}"] = command
    if plan.pulls:
        found["deliver", PULL] = "exchange serve-pull"
    return found


def _place(beat: Mapping[str, Any]) -> tuple[str, str]:
    """Return stage and writer as a plan needs them: of pull any server will do."""
    stage, writer = beat["stage"], beat["writer"]
    is_pull = stage == "deliver" and writer.partition("-")[0] == PULL
    return stage, PULL if is_pull else writer


class Watch:
    """Remembers when each was last heard of. Safe to share."""

    def __init__(self, since_ms: int) -> None:
        self._since_ms = since_ms
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, str], tuple[int, str]] = {}

    def silent(self, plan: PublishedPlan | None, beats: Heartbeats, now_ms: int) -> tuple[Silent, ...]:
        """Return who is missing now, by stage and writer.

        Missing is whom the plan needs and nobody hears; and a worker, of which there may be any number, that
        was heard of within an hour and went without saying that it stops. Of servers of pull one is enough.
        """
        with self._lock:
            heard = {_place(beat): (beat["at_ms"], beat["state"]) for beat in beats}
            alive = heard.keys()
            self._heard |= heard
            if now_ms - self._since_ms < _GRACE_MS:
                return ()
            wanted = expected_of(plan) if plan is not None else {}
            if plan is not None and plan.resources and not any(stage == "process" for stage, _ in alive):
                wanted["process", "stream"] = _WORKER
            missing = {at: command for at, command in wanted.items() if at not in alive}
            gone = {at: _WORKER for at in self._heard if at not in alive and self._died(at, now_ms)}
            return tuple(self._told(at, command) for at, command in sorted({**gone, **missing}.items()))

    def _died(self, at: tuple[str, str], now_ms: int) -> bool:
        last_ms, state = self._heard[at]
        return at[0] == "process" and state != _ENDED and now_ms - last_ms < _REMEMBERED_MS

    def _told(self, at: tuple[str, str], command: str) -> Silent:
        stage, writer = at
        if at == ("process", "stream"):
            last = max((heard[0] for (of, _), heard in self._heard.items() if of == stage), default=None)
        else:
            last = self._heard[at][0] if at in self._heard else None
        return Silent(
            stage=stage,
            writer=writer,
            last_at_ms=last,
            since_ms=self._since_ms,
            command=command,
        )
