"""The topic `_exchange.resnapshots`: which connectors are to give up their position and read tables anew.

One record a system, the last order. The connector that begins it writes that in the transaction that gives up
the position: an order is carried out once, whenever its connector dies.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import Field

from exchange.model import Model
from exchange.orders import Orders, OrderTopic
from exchange.plan import RESNAPSHOTS_TOPIC
from exchange.position import SourcePosition
from exchange.tablemark import ANEW, TableMark

READ_ANEW: Final = frozenset({"postgres", "mysql", "mariadb", "debezium"})
"""Kinds that can be read from their beginning again; what a department sends itself cannot."""
ONE_TABLE: Final = READ_ANEW - {"debezium"}
"""Kinds of which one table can be read anew while the others go on."""

HowFar = Literal["ordered", "refused", "reading", "complete"]


class State(StrEnum):
    """What has become of an order."""

    ORDERED = "ordered"
    BEGUN = "begun"
    REFUSED = "refused"


class Resnapshot(Model):
    """The last order to read a system anew."""

    operation: str = Field(min_length=1, description="Its id.")
    table: str = Field(default="", description="<schema>.<table>; empty: all.")
    by: str = Field(min_length=1, description="Who ordered it.")
    at_ms: int = Field(ge=0, description="When it was ordered.")
    state: State = State.ORDERED

    @property
    def is_ordered(self) -> bool:
        """Whether its connector is still to begin it."""
        return self.state is State.ORDERED


RESNAPSHOTS: Final = OrderTopic(RESNAPSHOTS_TOPIC, Resnapshot, "exchange resnapshot")


class Resnapshots(Orders[Resnapshot]):
    """Reads one system's order once, then tells when there is another."""

    def __init__(self, client: dict[str, Any], system: str) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.resnapshots`."""
        super().__init__(client, RESNAPSHOTS, system)


def how_far(order: Resnapshot, position: SourcePosition | None) -> HowFar:
    """Return what an order has come to."""
    if order.state is not State.BEGUN:
        return "ordered" if order.is_ordered else "refused"
    if position is None or position.resume == 0 or position.snapshot is not None:
        return "reading"
    marks = map(TableMark.parse, position.tables)
    is_marked = any(mark.state == ANEW and order.table in ("", mark.name) for mark in marks)
    return "reading" if is_marked else "complete"
