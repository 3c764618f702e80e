"""The topic `_exchange.pauses`: which connectors are to write nothing for a while, by whom and why.

One record a system, the wish as it is now. A connector that is paused keeps its position and what its source
holds for it, and says in its heartbeat which operation it obeys.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import Field

from exchange.model import Model
from exchange.orders import Orders, OrderTopic
from exchange.plan import PAUSES_TOPIC, PlannedSystem

LONGEST_REASON: Final = 500
PAUSED: Final = "paused"
"""The state that a paused connector's heartbeat tells."""

Meanwhile = Literal["wal", "wal_until_limit", "log", "topics", "refuses", "folders"]
"""What becomes of changes that are made during a pause: who keeps them, and for how long."""
_HANDED: Final[dict[str, Meanwhile]] = {"http": "refuses", "files": "folders"}


class Wish(StrEnum):
    """What is wanted of a connector."""

    RUN = "run"
    PAUSE = "pause"


class Pause(Model):
    """The last pause of a connector, and whether it is wanted still."""

    operation: str = Field(min_length=1, description="Its id.")
    wish: Wish
    by: str = Field(min_length=1, description="Who paused it.")
    since_ms: int = Field(ge=0, description="When it was ordered.")
    reason: str = Field(default="", max_length=LONGEST_REASON)

    @property
    def is_wanted(self) -> bool:
        """Whether the connector is to write nothing."""
        return self.wish is Wish.PAUSE

    @property
    def figures(self) -> dict[str, int | str]:
        """What the heartbeat of a paused connector tells of it."""
        return {
            "paused_operation": self.operation,
            "paused_since_ms": self.since_ms,
            "paused_by": self.by,
            "paused_reason": self.reason,
        }


PAUSES: Final = OrderTopic(PAUSES_TOPIC, Pause, "exchange connector resume")


class Pauses(Orders[Pause]):
    """Reads one system's pause once, then tells when there is another wish."""

    def __init__(self, client: dict[str, Any], system: str) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.pauses`."""
        super().__init__(client, PAUSES, system)


def is_obeyed(pause: Pause, beat: Mapping[str, Any]) -> bool:
    """Return whether a connector does what is wanted of it. beat: its heartbeat, empty where it is silent."""
    figures = beat.get("figures") or {}
    is_paused = beat.get("state") == PAUSED and figures.get("paused_operation") == pause.operation
    return bool(beat) and is_paused == pause.is_wanted


def meanwhile(system: PlannedSystem) -> Meanwhile:
    """Return what becomes of changes while a system's connector is paused."""
    if system.kind == "postgres":
        return "wal_until_limit" if system.protect_by == "drop_slot" else "wal"
    if system.kind == "debezium" and system.engine is None:
        return "topics"
    return _HANDED.get(system.kind, "log")


def paused_text(figures: Mapping[str, Any]) -> str:
    """Return since when, by whom and why, from a paused connector's figures."""
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(int(figures["paused_since_ms"]) / 1000))
    reason = f": {figures['paused_reason']}" if figures["paused_reason"] else ""
    return f"paused since {since} by {figures['paused_by']}{reason}"
