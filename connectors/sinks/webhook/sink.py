"""The sink to an HTTP receiver: a batch as one or more requests, each waited for before the next.

At least once, in order per key. The receiver keeps no places for us, Kafka's group does: what was accepted
and not yet kept there is sent again after a crash. A message's id follows from the records that it holds, so
the same request has the same id; were it cut in another way, each record still has its own `position`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import ClassVar, Final

from connectors.sink import DeliveredView, Parked
from connectors.sinks.webhook.post import Receiver
from exchange.plan import PlannedDelivery, delivery_group
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch
from exchange.subscriber.plain import change_json, json_text
from exchange.subscriber.reader import Received

_MOST_BODY_BYTES: Final = 1_048_576
"""Of a request, and one record more."""


class WebhookSink:
    """The `Sink` protocol over POST requests."""

    linger_s: ClassVar[float] = 0.0
    max_records: ClassVar[int] = 500

    def __init__(self, delivery: PlannedDelivery, view: DeliveredView, secrets: Secrets) -> None:
        self._delivery = delivery
        self._view = view
        self._secrets = secrets
        self._receiver: Receiver | None = None

    def open(self) -> None:
        """Read the keys. The receiver keeps no places."""
        self._receiver = Receiver(self._delivery, self._secrets)

    def write(self, batch: Batch) -> Parked:
        """Send a batch; return what the receiver was told to be undecodable."""
        if self._receiver is None:
            msg = "the sink is not open"
            raise RuntimeError(msg)
        for partition in sorted(batch.places):
            records = [one for one in batch.records if one.partition == partition and not _is_tombstone(one)]
            for part, texts in self._cut(records):
                self._receiver.post(self._message_id(part), self._body(partition, texts))
        return frozenset((one.partition, one.offset) for one in batch.records if one.problem)

    def begin_anew(self) -> str:
        """Return how Kafka forgets how far the receiver is."""
        group = delivery_group(self._delivery.subscriber, self._view.name)
        return f"stop the delivery and have Kafka forget the consumer group {group}"

    def close(self) -> None:
        """Close the connections."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def _cut(self, records: Sequence[Received]) -> Iterator[tuple[Sequence[Received], list[str]]]:
        """Yield records in order, as many at a time as go into one request, and their JSON."""
        begin, size_bytes, texts = 0, 0, list[str]()
        for end, record in enumerate(records, 1):
            texts.append(change_json(record))
            size_bytes += len(texts[-1].encode())
            full = len(texts) >= self._delivery.batch_records or size_bytes >= _MOST_BODY_BYTES
            if full or end == len(records):
                yield records[begin:end], texts
                begin, size_bytes, texts = end, 0, []

    def _message_id(self, records: Sequence[Received]) -> str:
        """Return the same id for the same records, and another for those of a topic made anew."""
        first, last = records[0], records[-1]
        ends = [f"{one.offset} {one.header and one.header.position}" for one in (first, last)]
        named = "\0".join((self._delivery.subscriber, self._view.name, str(first.partition), *ends))
        return f"msg_{sha256(named.encode()).hexdigest()[:32]}"

    def _body(self, partition: int, texts: Sequence[str]) -> bytes:
        about = json_text({"view": self._view.name, "partition": partition})
        data = f'{about[:-1]}, "records": [{", ".join(texts)}]}}'
        return f'{{"type": "exchange.changes", "data": {data}}}'.encode()


def _is_tombstone(record: Received) -> bool:
    return record.header is not None and record.header.tombstone and not record.problem
