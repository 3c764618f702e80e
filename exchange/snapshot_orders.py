"""The topic `_exchange.snapshots`: which snapshot a running connector is asked to take beside its stream.

One record a system, the wish as it is now: written by commands as the cluster's admin, read by the connector.
What became of it stands in the connector's position, in the transaction that moved the rows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from exchange.model import Model
from exchange.orders import Orders, OrderTopic
from exchange.plan import SNAPSHOTS_TOPIC


class Wish(StrEnum):
    """What is wanted of an operation."""

    RUN = "run"
    PAUSE = "pause"
    STOP = "stop"


class SnapshotOrder(Model):
    """One operation, and what is wanted of it now."""

    operation: str = Field(min_length=1, description="Its id.")
    table: str = Field(min_length=1, description="<schema>.<table> in the source.")
    view: str = Field(default="", description="Name of the one view it is for; empty: for all.")
    plan_version: int = Field(default=0, ge=0, description="That has the view.")
    rows_per_s: int = Field(default=0, ge=0, description="At most; 0: as fast as it goes.")
    wish: Wish = Wish.RUN


SNAPSHOT_ORDERS: Final = OrderTopic(SNAPSHOTS_TOPIC, SnapshotOrder, "exchange snapshot start")


class SnapshotOrders(Orders[SnapshotOrder]):
    """Reads one system's order once, then tells when there is another."""

    def __init__(self, client: dict[str, Any], system: str) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.snapshots`."""
        super().__init__(client, SNAPSHOT_ORDERS, system)
