"""The topic `_exchange.corrections`: which change was wrong, and which later one mends it.

One record an objection, under its number: places in the source alone. Who objected, to which fields and why
is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PartError
from exchange.model import Model
from exchange.plan import CORRECTIONS_TOPIC


class Correction(Model):
    """A marker: readers of the resource's views find both positions in the header of their records."""

    objection: int
    resource: str
    partition: int
    wrong: str
    corrected: str
    at: str


class Placed(NamedTuple):
    """A marker, and its offset in the topic."""

    offset: int
    correction: Correction


class Corrections:
    """Reads all markers once, then those that are new; `known` has them in the order of the topic."""

    def __init__(self, client: dict[str, Any]) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.corrections`."""
        self.known: tuple[Placed, ...] = ()
        self._topic = CompactedTopic(client, CORRECTIONS_TOPIC)
        self._values: dict[bytes, bytes] = {}

    def read(self) -> tuple[Placed, ...]:
        """Return every marker, in order.

        Raises: PartError when one cannot be read; TransientError when Kafka is away.
        """
        self._values = self._topic.read()
        return self._take()

    def newer(self) -> None:
        """Take in what was written since the last call. Never waits. Raises: as `read`."""
        if news := self._topic.poll():
            gone = {key for key, value in news.items() if value is None}
            self._values |= {key: value for key, value in news.items() if value is not None}
            self._values = {key: value for key, value in self._values.items() if key not in gone}
            self._take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._topic.close()

    def _take(self) -> tuple[Placed, ...]:
        placed = (Placed(self._topic.offsets[key], _parsed(value)) for key, value in self._values.items())
        self.known = tuple(sorted(placed, key=lambda one: one.offset))
        return self.known


def of_resources(known: Iterable[Placed], resources: Iterable[str]) -> list[Placed]:
    """Return the markers of some resources, in the order that they had."""
    wanted = frozenset(resources)
    return [one for one in known if one.correction.resource in wanted]


def read_corrections(client: Mapping[str, Any]) -> tuple[Placed, ...]:
    """Return every marker, in the order of the topic. Raises: as `Corrections.read`."""
    with Corrections(dict(client)) as topic:
        return topic.read()


def _parsed(value: bytes) -> Correction:
    try:
        return Correction.model_validate_json(value)
    except ValidationError:
        msg = f"{CORRECTIONS_TOPIC}: a record does not fit this version; use the version that wrote it"
        raise PartError(msg) from None
