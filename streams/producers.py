"""What a worker's transactions are written by: our own producer where Kafka allows it, else librdkafka's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import confluent_kafka
from confluent_kafka import TopicPartition

from exchange.block import WriteBlock
from exchange.blockio import BlockProducer, native_client
from exchange.wire.transactional import BatchProducer
from streams.client import QUIET

_QUEUE_FULL_POLL_S: Final = 0.05
_TUNED: Final = {
    "linger.ms": 5,
    "retry.backoff.ms": 5,  # so long waits a transaction until Kafka is done with the last one
    "compression.type": "lz4",  # spares the broker more than it costs: docs/adr/0022
    "batch.size": 1_000_000,
    "message.max.bytes": 1_040_000,
    "delivery.report.only.error": True,  # those fail the commit; see write()
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 65_536,
}


class Producer(Protocol):
    """A transactional producer; its calls raise what confluent_kafka.Producer's do."""

    def init_transactions(self, timeout_s: float) -> None:
        """Fence any earlier producer of this transactional.id and end what it left open."""

    def begin_transaction(self) -> None:
        """Open a transaction."""

    def send_offsets_to_transaction(
        self, positions: Sequence[TopicPartition], metadata: Any, timeout_s: float
    ) -> None:
        """Add a consumer's next offsets."""

    def write(self, block: WriteBlock, first: int) -> int:
        """Add records from number `first` on; return up to where that went before the queue was full."""

    def flush(self, timeout_s: float) -> None:
        """Wait until Kafka has what was written, for so long at most."""

    def commit_transaction(self, timeout_s: float) -> None:
        """Commit what was sent and written, or nothing."""

    def abort_transaction(self, timeout_s: float) -> None:
        """Take it back."""

    def purge(self) -> None:
        """Drop what is not sent yet; a call that another thread waits in fails. Called from any thread."""


class LibrdkafkaProducer:
    """confluent_kafka's producer, given blocks."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._producer = confluent_kafka.Producer({**client, **QUIET, **_TUNED})
        self._writer: BlockProducer | None = None

    def init_transactions(self, timeout_s: float) -> None:
        """Fence any earlier producer of this transactional.id and end what it left open."""
        self._producer.init_transactions(timeout_s)

    def begin_transaction(self) -> None:
        """Open a transaction."""
        self._producer.begin_transaction()

    def send_offsets_to_transaction(
        self, positions: Sequence[TopicPartition], metadata: Any, timeout_s: float
    ) -> None:
        """Add a consumer's next offsets."""
        self._producer.send_offsets_to_transaction(list(positions), metadata, timeout_s)

    def write(self, block: WriteBlock, first: int) -> int:
        """Queue records; when the queue is full, wait a little.

        A record that cannot be delivered later on makes the commit fail: librdkafka counts those.
        Source: librdkafka 2.15.0, src/rdkafka_txnmgr.c, `txn_dr_fails`
        """
        if self._writer is None:
            self._writer = BlockProducer(self._producer)
        written = self._writer.write(block, first)
        if written < block.count:
            self._producer.poll(_QUEUE_FULL_POLL_S)
        return written

    def flush(self, timeout_s: float) -> None:
        """Wait until what was queued is delivered.

        What is delivered is freed by the thread that waits for it: cheapest by the one that queued it.
        """
        self._producer.flush(timeout_s)

    def commit_transaction(self, timeout_s: float) -> None:
        """Commit what was sent and written, or nothing."""
        self._producer.commit_transaction(timeout_s)

    def abort_transaction(self, timeout_s: float) -> None:
        """Take it back."""
        self._producer.abort_transaction(timeout_s)

    def purge(self) -> None:
        """Drop what is not sent yet."""
        self._producer.purge(blocking=False)


Maker = Callable[[Mapping[str, Any]], Producer]
"""What makes a producer, given librdkafka's properties."""


def first_choice() -> Maker:
    """Return what makes the producer that is tried first; one that Kafka is too old for says so itself."""
    return LibrdkafkaProducer if native_client() is None else BatchProducer
