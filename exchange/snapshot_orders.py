"""The topic `_exchange.snapshots`: which snapshot a running connector is asked to take beside its stream.

One record a system, the wish as it is now: written by commands as the cluster's admin, read by the connector.
What became of it stands in the connector's position, in the transaction that moved the rows.
"""

from __future__ import annotations

from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

from pydantic import Field, ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PartError
from exchange.librdkafka import explain, write
from exchange.model import Model
from exchange.plan import SNAPSHOTS_TOPIC

_ANSWER_S: Final = 20.0


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


class SnapshotOrders:
    """Reads one system's order once, then tells when there is another."""

    def __init__(self, client: dict[str, Any], system: str) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.snapshots`."""
        self._topic = CompactedTopic(client, SNAPSHOTS_TOPIC)
        self._key = system.encode()

    def read(self) -> SnapshotOrder | None:
        """Return the order in force, None when there is none.

        Raises: PartError when it cannot be read; TransientError when Kafka is away.
        """
        return self._parsed(self._topic.read().get(self._key))

    def newer(self) -> SnapshotOrder | None:
        """Return an order given since the last call, None when there is none; never waits.

        Raises: as `read`.
        """
        return self._parsed(self._topic.poll().get(self._key))

    def close(self) -> None:
        """Close the reader."""
        self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _parsed(self, document: bytes | None) -> SnapshotOrder | None:
        return None if document is None else parsed(self._key, document)


def parsed(key: bytes, document: bytes) -> SnapshotOrder:
    """Return the order that a record of the topic holds. Raises: PartError when it holds none."""
    try:
        return SnapshotOrder.model_validate_json(document)
    except ValidationError as error:
        places = "; ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:5])
        msg = (
            f"{SNAPSHOTS_TOPIC}: the order for {key.decode()} does not fit this version ({places}); "
            "give it again by `exchange snapshot start`"
        )
        raise PartError(msg) from None


def give(client: dict[str, Any], system: str, order: SnapshotOrder) -> None:
    """Put an order in place of the one before. `client`: of the cluster's admin.

    Raises: PartError when Kafka refuses it; TransientError when it does not answer.
    """
    order_record = {
        "topic": SNAPSHOTS_TOPIC,
        "key": system.encode(),
        "value": order.model_dump_json().encode(),
        "partition": 0,
    }
    if failed := write(client | {"enable.idempotence": True}, [order_record], _ANSWER_S):
        raise explain(SNAPSHOTS_TOPIC, failed[0])
