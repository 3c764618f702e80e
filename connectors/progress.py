"""How a delivery of one view is, for the heartbeat."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from exchange.subscriber.batches import Place


@dataclass
class Progress:
    """How a delivery is, for whoever looks; written by its own thread alone."""

    state: str = "starting"
    reason: str = ""
    alarm: str = ""
    parked_alarm: str = ""
    delivered: int = 0
    parked: int = 0
    listed: int = 0
    """Parked on the list in Kafka, by now; `parked` counts what the target was told."""
    lag_records: int = 0
    last_source_ms: int = 0
    places: dict[int, Place] = field(default_factory=dict)

    def figures(self) -> dict[str, int | float]:
        """Return the figures for the heartbeat."""
        behind_s = max(0.0, time.time() - self.last_source_ms / 1000) if self.lag_records else 0.0
        return {
            "delivered": self.delivered,
            "parked": self.parked + self.listed,
            "lag_records": self.lag_records,
            "lag_s": round(behind_s, 1) if self.last_source_ms else 0.0,
        }
