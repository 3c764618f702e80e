"""The sink to an HTTP receiver: a batch as one or more requests, each waited for before the next.

At least once, in order per key. The receiver keeps no places for us, Kafka's group does: what was accepted
and not yet kept there is sent again after a crash. A message's id follows from the records that it holds, so
the same request has the same id; were it cut in another way, each record still has its own `position`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import ClassVar, Final

from connectors.parked import ParkedView
from connectors.sink import DeliveredView, Parked, RefusedError
from connectors.sinks.webhook.post import Receiver
from exchange.errors import SinkError, TransientError
from exchange.plan import PlannedDelivery, delivery_group
from exchange.position import POSITION_SECRET
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch
from exchange.subscriber.plain import change_json, json_text
from exchange.subscriber.reader import Received

_MOST_BODY_BYTES: Final = 1_048_576
"""Of a request, and one record more."""


class WebhookSink:
    """The `ParkingSink` protocol over POST requests."""

    linger_s: ClassVar[float] = 0.0
    max_records: ClassVar[int] = 500

    def __init__(self, delivery: PlannedDelivery, view: DeliveredView, secrets: Secrets) -> None:
        self.parked = ParkedView(delivery.subscriber, view.name, secrets.ensure(POSITION_SECRET))
        self._delivery = delivery
        self._view = view
        self._secrets = secrets
        self._receiver: Receiver | None = None

    def open(self) -> None:
        """See that there are keys. The receiver keeps no places."""
        self._receiver = Receiver(self._delivery, self._secrets)

    def write(self, batch: Batch) -> Parked:
        """Send a batch; return what the receiver was told to be undecodable, and what was parked."""
        for partition in sorted(batch.places):
            records = [one for one in batch.records if one.partition == partition and not _is_tombstone(one)]
            for part in self._cut(self._passing(records)):
                self._send(*part)
        return self.parked.fresh | {(one.partition, one.offset) for one in batch.records if one.problem}

    def send_one(self, record: Received) -> int:
        """Send a record by itself; return 0, or the status with which it was refused."""
        try:
            self._post([record], [change_json(record)])
        except RefusedError as error:
            return error.status
        return 0

    def begin_anew(self) -> str:
        """Return how Kafka forgets how far the receiver is."""
        group = delivery_group(self._delivery.subscriber, self._view.name)
        return f"stop the delivery and have Kafka forget the consumer group {group}"

    def close(self) -> None:
        """Close the connections."""
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def _passing(self, records: Iterable[Received]) -> Iterator[Received]:
        """Yield records whose key is not parked by the time it is their turn; park the others behind it."""
        for record in records:
            if self.parked.holds(record):
                self.parked.park(record, 0)
            else:
                yield record

    def _cut(self, records: Iterable[Received]) -> Iterator[tuple[list[Received], list[str]]]:
        """Yield records in order, as many at a time as go into one request, and their JSON.

        The next record is not asked for before the last request is through: it may have parked its key.
        """
        part, size_bytes, texts = list[Received](), 0, list[str]()
        for record in records:
            part.append(record)
            texts.append(change_json(record))
            size_bytes += len(texts[-1].encode())
            if len(texts) >= self._delivery.batch_records or size_bytes >= _MOST_BODY_BYTES:
                yield part, texts
                part, size_bytes, texts = [], 0, []
        if part:
            yield part, texts

    def _send(self, records: Sequence[Received], texts: Sequence[str]) -> None:
        """Send one request; once refused for long enough, each record alone, and park what is refused."""
        begin, refusals = (records[0].partition, records[0].offset), self.parked.refusals
        try:
            self._post(records, texts)
        except RefusedError:
            refused_s = refusals.refused_for_s(*begin)
            if not self._delivery.park_after_s or refused_s < self._delivery.park_after_s:
                raise
        except (SinkError, TransientError):
            refusals.forget(*begin)
            raise
        else:
            refusals.forget(*begin)
            return
        for record in self._passing(records):
            status = self.send_one(record)
            if status:
                self.parked.park(record, status)
        refusals.forget(*begin)

    def _post(self, records: Sequence[Received], texts: Sequence[str]) -> None:
        if self._receiver is None:
            msg = "the sink is not open"
            raise RuntimeError(msg)
        self._receiver.post(self._message_id(records), self._body(records[0].partition, texts))

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
