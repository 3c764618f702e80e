"""Orders to read a source anew, begun by its connector; see exchange/resnapshots.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from connectors.source import Batch
from connectors.writer import Writer
from exchange import log
from exchange.plan import PlannedSystem
from exchange.position import SourcePosition, begin_anew
from exchange.resnapshots import READ_ANEW, RESNAPSHOTS, Resnapshot, Resnapshots, State
from exchange.tablemark import to_read_anew

_log = log.get(__name__)


class Anew:
    """(wanted | begin)* → close."""

    def __init__(self, client: dict[str, Any], system: PlannedSystem, tables: Sequence[str]) -> None:
        """tables: of the plan, <schema>.<table>."""
        self._system = system.name
        self._tables = frozenset(tables)
        self._topic = Resnapshots(client, system.name) if system.kind in READ_ANEW else None

    def wanted(self) -> Resnapshot | None:
        """Return the order that is to be begun, None when there is none; never waits but the first time.

        Raises: PartError when it cannot be read; TransientError when Kafka is away.
        """
        order = None if self._topic is None else self._topic.current()
        return order if order is not None and order.is_ordered else None

    def begin(self, writer: Writer, position: SourcePosition | None) -> SourcePosition | None:
        """Give up a position where that is ordered, and say so, in one transaction; return the position.

        Refused is an order where nothing was captured yet, or whose table the plan has no more. Called
        between `Writer.begin` and the source's opening.
        """
        order = self.wanted()
        if order is None or self._topic is None:
            return position
        is_done = position is not None and order.table in ("", *self._tables)
        after = order.model_copy(update={"state": State.BEGUN if is_done else State.REFUSED})
        given_up = given_up_for(position, order.table) if position is not None and is_done else position
        record = (RESNAPSHOTS.topic, self._system.encode(), after.model_dump_json().encode())
        writer.write(Batch([], given_up, receipts=[record]))
        self._topic.takes(after)
        told = {"system": self._system, "operation": order.operation, "by": order.by}
        _log.warning("read_anew" if is_done else "read_anew_refused", **told)
        return given_up

    def close(self) -> None:
        """Close the reader."""
        if self._topic is not None:
            self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def given_up_for(position: SourcePosition, table: str) -> SourcePosition:
    """Return a position from which a source reads one table anew; without one, all."""
    if not table:
        return begin_anew(position)
    return replace(position, tables=to_read_anew(position.tables, table))
