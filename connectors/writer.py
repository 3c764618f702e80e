"""The Kafka side of a connector: changes, position and accounts in one transaction.

One source has one writer: the transactional.id names the source, so a new process fences the one before it
and aborts what that left open.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.source import LARGEST_RECORD_BYTES, Batch, Captured, Framing, Shape
from exchange.account import Account, content_hash, minute_of
from exchange.block import WriteBlock
from exchange.blockio import BlockProducer
from exchange.boxes import BoxSealer
from exchange.change import HEADER, Op, Reason, RecordHeader, Rejected
from exchange.compacted import CompactedTopic
from exchange.encoding import wire
from exchange.errors import FencedError, PartError, RestartError, TransientError
from exchange.keys import QuarantineRecord, Sealer
from exchange.librdkafka import AUTHENTICATION, FENCED, explain, quiet_logger, why_ended
from exchange.plan import ACCOUNTS_TOPIC, POSITIONS_TOPIC, PlannedResource
from exchange.position import PositionCodec, SourcePosition
from exchange.tally import tally

_TRANSACTION_TIMEOUT_MS: Final = 30_000
_CALL_S: Final = 10.0
_CALL_TRIES: Final = 2
"""A call that Kafka left unanswered is repeated once, well within the transaction's timeout."""

Register = Callable[[str, dict[str, Any]], int]
"""Registers a schema under a subject and returns its id."""


@dataclass(frozen=True, slots=True)
class _Place:
    resource: PlannedResource
    framing: Framing


class Writer:
    """begin → position → (start → finish)* → close.

    After any error the writer is thrown away: its state is unknown.
    """

    def __init__(
        self,
        client: dict[str, Any],
        writer_id: str,
        resources: Mapping[str, PlannedResource],
        plan_version: int,
        register: Register,
        positions: PositionCodec,
        sealer: Sealer,
        boxes: BoxSealer | None = None,
    ) -> None:
        """`resources`: by table, <schema>.<table>; `boxes`: given where one of them is sealed."""
        self._client = client
        self._id = writer_id
        self._resources = resources
        self._plan_version = plan_version
        self._register = register
        self._positions = positions
        self._sealer = sealer
        self._boxes = boxes
        self._sealed = frozenset(one.raw_topic for one in resources.values() if one.sealed)
        self._by_topic = {resource.raw_topic: resource for resource in resources.values()}
        self._places: dict[Shape, _Place] = {}
        self._commits = ThreadPoolExecutor(1, "commit")
        self._under_way: tuple[Batch, Future[None]] | None = None
        self._refusal: KafkaError | None = None
        self._producer = Producer(
            client
            | {
                "transactional.id": writer_id,
                "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
                "linger.ms": 2,
                "compression.type": "lz4",
                "message.max.bytes": 1_048_576,
                "delivery.report.only.error": True,
                "on_delivery": self._note_failure,
                "error_cb": self._note_error,
            },
            logger=quiet_logger(),
        )

        self._blocks = BlockProducer(self._producer)

    def begin(self) -> None:
        """Fence every earlier writer of this source and abort what it left open."""
        self._call(self._producer.init_transactions)

    def position(self) -> SourcePosition | None:
        """Return the position in Kafka, None when there never was one. Only true after `begin`."""
        with CompactedTopic(self._client, POSITIONS_TOPIC) as topic:
            encoded = topic.read().get(self._id.encode())
        if encoded is None:
            return None
        try:
            return self._positions.decode(encoded)
        except ValueError:
            msg = f"{POSITIONS_TOPIC}: the position of {self._id} was not written by this version"
            raise PartError(msg) from None

    def framing(self, shape: Shape) -> Framing:
        """Return how the records of a shape are framed; its schemas are registered the first time."""
        return self._place_of(shape).framing

    def write(self, batch: Batch) -> None:
        """Write one batch, whole or not at all: `start` and `finish`."""
        self.start(batch)
        self.finish()

    def start(self, batch: Batch) -> None:
        """Begin to write one batch, whole or not at all; the one before it is finished.

        1. register the schemas of shapes not met before;
        2. begin the transaction;
        3. send changes (refused ones to quarantine), accounts, receipts, position;
        4. begin to commit.
        """
        for change in batch.changes:
            if isinstance(change, Captured):
                self._place_of(change.shape)
        try:
            self._producer.begin_transaction()
            for account in self._send_changes(batch):
                self._producer.produce(ACCOUNTS_TOPIC, account.encode(), partition=0)
            for topic, key, receipt in batch.receipts:
                self._producer.produce(topic, receipt, key, 0)
            if batch.position is not None:
                encoded = self._positions.encode(batch.position)
                self._producer.produce(POSITIONS_TOPIC, encoded, self._id.encode(), 0)
        except KafkaException as error:
            raise self._outcome(why_ended(self._producer, error.args[0])) from None
        except BufferError:
            msg = f"{self._id}: the producer's queue is full"
            raise TransientError(msg) from None
        self._under_way = batch, self._commits.submit(self._call, self._producer.commit_transaction)

    def finish(self) -> Batch | None:
        """Wait for the commit under way; return its batch, None when there is none.

        When this returns, all of the batch is readable; when it raises, all or nothing may be.
        """
        if self._under_way is None:
            return None
        (batch, commit), self._under_way = self._under_way, None
        commit.result()
        return batch

    def close(self) -> None:
        """Let go of the producer; what it had not committed is aborted by Kafka or by the next `begin`.

        Its own close() aborts first and waits for Kafka without limit; dropped, it ends at once. A commit
        still under way fails for want of its records, or was made: the next `begin` finds out.
        """
        self._producer.purge()
        self._commits.shutdown()
        del self._blocks
        del self._producer

    # -- records

    def _send_changes(self, batch: Batch) -> Iterator[Account]:
        accounts: dict[tuple[str, int], Account] = {}
        made_at_ms = time.time_ns() // 1_000_000
        for change in batch.changes:
            if isinstance(change, WriteBlock):
                self._send_block(change, accounts, made_at_ms)
                continue
            place = self._places[change.shape]
            account = self._account(accounts, place.resource, minute_of(change.source_ms), made_at_ms)
            self._send(change, place, account)
            if change.op is not Op.READ:  # a snapshot's row has no time of commit to be late against
                account.took(made_at_ms - change.source_ms)
        yield from accounts.values()

    def _send_block(
        self, block: WriteBlock, accounts: dict[tuple[str, int], Account], made_at_ms: int
    ) -> None:
        """Send the records of a block, and count them as if they came one by one."""
        if self._boxes is not None and not self._sealed.isdisjoint(block.topics):
            block = self._boxes.seal_block(block, self._sealed)
        if self._blocks.write(block) < len(block):
            raise BufferError
        sums = tally(block, 0, len(block), made_at_ms, reads_count_delay=False)
        for (topic_number, minute), found in sums.items():
            resource = self._by_topic[block.topics[topic_number]]
            account = self._account(accounts, resource, minute, made_at_ms)
            account.took_in(found.changes, found.position_sum, found.content_sum, found.delays)

    def _send(self, change: Captured, place: _Place, account: Account) -> None:
        partitions = place.framing.partitions
        if change.key is None and change.rejected is None:
            value = place.framing.value_prefix + change.value
            for partition in range(partitions):
                placed = replace(change, position=replace(change.position, part=partition))
                self._deliver(placed, place, account, partition, None, value)
            return
        partition = zlib.crc32(change.key) % partitions if change.key is not None else 0
        key = place.framing.key_prefix + change.key if change.key is not None else None
        if change.rejected is not None:
            self._refuse(change, place, account, partition, (key, change.value), change.rejected)
            return
        value = place.framing.value_prefix + change.value
        if len(value) + len(key or b"") > LARGEST_RECORD_BYTES:
            self._refuse(change, place, account, partition, (key, None), Rejected(Reason.TOO_LARGE))
            return
        self._deliver(change, place, account, partition, key, value)

    def _deliver(
        self,
        change: Captured,
        place: _Place,
        account: Account,
        partition: int,
        key: bytes | None,
        value: bytes,
    ) -> None:
        header, topic = _header(change), place.framing.topic
        if self._boxes is not None and topic in self._sealed:
            key, value = None, self._boxes.seal(topic, partition, header, key, value)
        self._produce(topic, partition, key, value, header)
        account.came_in(change.position.hash64(), content_hash(change.position, key, value))

    def _refuse(
        self,
        change: Captured,
        place: _Place,
        account: Account,
        partition: int,
        payload: tuple[bytes | None, bytes | None],
        rejected: Rejected,
    ) -> None:
        """Send a change to quarantine, sealed for the steward; it counts as captured, its bytes do not."""
        resource = place.resource
        header = _header(change)
        record = QuarantineRecord(
            resource=resource.name,
            stage="capture",
            topic=resource.raw_topic,
            partition=-1,
            offset=-1,
            header=header,
            reason=rejected.reason,
            field=rejected.field,
            plan_version=self._plan_version,
            at_ms=time.time_ns() // 1_000_000,
            payload_bytes=len(change.value) + len(change.key or b""),
            sealed=self._sealer.seal(resource.name, header, *payload),
        )
        self._produce(resource.quarantine_topic, partition, header, record.encode(), header)
        position_hash = change.position.hash64()
        account.came_in(position_hash, 0)
        account.was_refused(rejected.reason, rejected.field, position_hash)

    def _produce(self, topic: str, partition: int, key: bytes | None, value: bytes, header: bytes) -> None:
        headers: list[tuple[str, str | bytes | None]] = [(HEADER, header)]
        self._producer.produce(topic, value, key, partition, headers=headers)

    def _account(
        self,
        accounts: dict[tuple[str, int], Account],
        resource: PlannedResource,
        minute: int,
        made_at_ms: int,
    ) -> Account:
        """Return the batch's account of a table and minute, made when it is the first change of these."""
        where = (resource.raw_topic, minute)
        if where not in accounts:
            accounts[where] = Account(
                stage="capture",
                writer=self._id,
                resource=resource.name,
                topic=resource.raw_topic,
                minute=minute,
                plan_version=self._plan_version,
                made_at_ms=made_at_ms,
            )
        return accounts[where]

    def _place_of(self, shape: Shape) -> _Place:
        place = self._places.get(shape)
        if place is None:
            resource = self._resources[shape.table]
            key_id = self._register(f"{resource.raw_topic}-key", shape.key_schema)
            value_id = self._register(f"{resource.raw_topic}-value", shape.value_schema)
            prefixes = wire.prefix(key_id), wire.prefix(value_id)
            place = _Place(resource, Framing(resource.raw_topic, resource.partitions, *prefixes))
            self._places[shape] = place
        return place

    # -- outcomes

    def _call(self, call: Callable[[float], None]) -> None:
        """Make one transactional call; repeat it while Kafka says that repeating is safe."""
        for _ in range(_CALL_TRIES):
            try:
                call(_CALL_S)
            except KafkaException as error:
                problem: KafkaError = error.args[0]
                if not problem.retriable():
                    raise self._outcome(problem) from None
            else:
                return
        raise self._outcome(problem)

    def _outcome(self, problem: KafkaError) -> Exception:
        """Return what an error means here; but for the two first, a new writer begins at Kafka's position."""
        cause = self._refusal or problem
        if problem.code() in FENCED:
            msg = (
                f"{self._id}: another connector of this source has started and taken over; "
                "only one may run, stop either of them"
            )
            return FencedError(msg)
        if problem.fatal():
            return RestartError(f"{self._id}: Kafka's client cannot go on ({problem.name()})")
        return explain(self._id, cause)

    def _note_failure(self, error: KafkaError | None, _message: object) -> None:
        if error is not None and error.code() not in _CONSEQUENCES:
            self._refusal = self._refusal or error

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._refusal = error


def _header(change: Captured) -> bytes:
    header = RecordHeader(change.position, change.op, change.source_ms)
    if change.for_view is not None:
        header = replace(header, plan_version=change.for_view.plan_version, only_view=change.for_view.number)
    return header.pack()


_CONSEQUENCES: Final = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001
"""Delivery reports that follow from an abort; they are not its reason."""
