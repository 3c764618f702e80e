"""Hands the snapshots that are ordered to a source that can take them while it streams."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from connectors.source import Source, TakesOrders
from exchange import log
from exchange.errors import PartError
from exchange.snapshot_orders import SnapshotOrder, SnapshotOrders

_log = log.get(__name__)


class Orders:
    """heed* → close. Capture goes on where orders are denied or cannot be read; that is said once."""

    def __init__(self, client: dict[str, Any], system: str, source: Source) -> None:
        self._system = system
        self._source = source if isinstance(source, TakesOrders) else None
        self._topic = None if self._source is None else SnapshotOrders(client, system)
        self._was_read = False
        self._said = ""

    def heed(self) -> None:
        """Pass on the order in force the first time, then each newer one; never waits but the first time.

        Raises: TransientError when Kafka is away.
        """
        order = self._next()
        if order is not None and self._source is not None:
            self._source.obey(order)

    def close(self) -> None:
        """Close the reader."""
        if self._topic is not None:
            self._topic.close()
            self._topic = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> SnapshotOrder | None:
        if self._topic is None:
            return None
        try:
            if self._was_read:
                return self._topic.newer()
            self._was_read = True
            return self._topic.read()
        except PartError as error:
            if str(error) != self._said:
                self._said = str(error)
                _log.error("snapshot_order_unread", system=self._system, reason=self._said)
            return None
