"""Topics of the bus that hold one order a system: what a running connector is asked for, as it is wanted now.

Written as the cluster's admin, read by the connector, which takes up what is newer between two batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from pydantic import ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PartError
from exchange.librdkafka import explain, write
from exchange.model import Model

_ANSWER_S: Final = 20.0
OrderT = TypeVar("OrderT", bound=Model)


@dataclass(frozen=True, slots=True)
class OrderTopic(Generic[OrderT]):
    """A topic of orders. again: the command that gives one anew where it does not fit this version."""

    topic: str
    model: type[OrderT]
    again: str

    def parsed(self, key: bytes, document: bytes) -> OrderT:
        """Return the order that a record holds. Raises: PartError when it holds none."""
        try:
            return self.model.model_validate_json(document)
        except ValidationError as error:
            places = "; ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:5])
            msg = (
                f"{self.topic}: the order for {key.decode()} does not fit this version ({places}); "
                f"give it again by `{self.again}`"
            )
            raise PartError(msg) from None

    def give(self, client: dict[str, Any], system: str, order: OrderT) -> None:
        """Put an order in place of the one before. `client`: of the cluster's admin.

        Raises: PartError when Kafka refuses it; TransientError when it does not answer.
        """
        value = order.model_dump_json().encode()
        record = {"topic": self.topic, "key": system.encode(), "value": value, "partition": 0}
        if failed := write(client | {"enable.idempotence": True}, [record], _ANSWER_S):
            raise explain(self.topic, failed[0])


class Orders(Generic[OrderT]):
    """Reads one system's order once, then tells when there is another."""

    def __init__(self, client: dict[str, Any], of: OrderTopic[OrderT], system: str) -> None:
        """`client`: librdkafka properties of a principal that may read the topic."""
        self._of = of
        self._topic = CompactedTopic(client, of.topic)
        self._key = system.encode()
        self._current: OrderT | None = None
        self._was_read = False

    def current(self) -> OrderT | None:
        """Return the order in force, None when there is none; never waits but the first time.

        Raises: as `read`.
        """
        if self._was_read:
            self._current = self.newer() or self._current
        else:
            self._current = self.read()
            self._was_read = True
        return self._current

    def takes(self, order: OrderT) -> None:
        """Have an order be in force that was written by whoever reads here, before it is read."""
        self._current = order

    def read(self) -> OrderT | None:
        """Return the order in force, None when there is none.

        Raises: PartError when it cannot be read; TransientError when Kafka is away.
        """
        return self._parsed(self._topic.read().get(self._key))

    def newer(self) -> OrderT | None:
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

    def _parsed(self, document: bytes | None) -> OrderT | None:
        return None if document is None else self._of.parsed(self._key, document)
