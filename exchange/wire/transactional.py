"""A transactional producer of whole record batches, one transaction after the other.

1 init_transactions: Kafka ends what an earlier producer of this transactional.id left, and fences it
2 begin_transaction: nothing is said to Kafka; its first request begins a transaction
3 send_offsets_to_transaction, write: batches are sent as they are made, their answers not waited for
4 commit_transaction, abort_transaction: all answers, then the end. Kafka answers with the next epoch

Each transaction has an epoch of its own (KIP-890, part 2): whatever of it arrives late is refused. Nothing is
sent twice but what Kafka has refused for a reason that passes, and then it knows a batch by its sequence.

It has the calls of confluent_kafka.Producer and raises what that raises, so that one may stand for the other.

Source: https://cwiki.apache.org/confluence/display/KAFKA/KIP-890%3A+Transactions+Server-Side+Defense
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from confluent_kafka import KafkaError, TopicPartition

from exchange.block import WriteBlock
from exchange.wire.brokers import COORDINATOR_MOVED, Brokers, Of, pause
from exchange.wire.connection import Connection, NotSpokenError, failed, timed_out
from exchange.wire.encoder import Encoder
from exchange.wire.messages import END_TXN, INIT_PRODUCER_ID, NO_TAGS, PRODUCE, TXN_OFFSET_COMMIT, Kind

_ALL_IN_SYNC: Final = -1
_PRODUCE_MS: Final = 10_000
_CONNECT_S: Final = 5.0
_NEW: Final = (-1, -1)
_SENT_FROM_BYTES: Final = 512 * 1024
"""Less waits for more, or for the commit: with each request Kafka notes anew what partitions take part."""
_PAUSE_S: Final = 0.002
"""Between two tries while Kafka is at the end of the transaction before: some milliseconds."""
_LONG_PAUSE_S: Final = 0.05
_FENCED: Final = frozenset({KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})
_PASSING: Final = COORDINATOR_MOVED | {KafkaError.CONCURRENT_TRANSACTIONS}
_PASSING_AT_LEADER: Final = _PASSING | {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.KAFKA_STORAGE_ERROR,
}
_METADATA: Final = b"CGMDv2:"

_Place = tuple[str, int]
"""Topic and partition."""


class _Batch(NamedTuple):
    place: _Place
    encoded: bytes


class Member(NamedTuple):
    """Who commits offsets: a member of a consumer group, in one of its generations."""

    group: str
    generation: int
    name: str
    instance: str | None

    @classmethod
    def of(cls, metadata: bytes) -> Self:
        """Read what Consumer.consumer_group_metadata() returns. Raises: NotSpokenError.

        Source: librdkafka 2.15.0, src/rdkafka_cgrp.c, rd_kafka_consumer_group_metadata_write
        """
        if not metadata.startswith(_METADATA):
            msg = "consumer group metadata"
            raise NotSpokenError(msg)
        at = len(_METADATA) + 4
        generation = int.from_bytes(metadata[at - 4 : at], sys.byteorder, signed=True)
        group, name, rest = metadata[at:].split(b"\0", 2)
        instance = None if rest[:1] == b"\x01" else rest[1:].removesuffix(b"\0").decode()
        return cls(group.decode(), generation, name.decode(), instance)


class BatchProducer:
    """One transaction at a time, of one transactional.id; for one thread at a time, but for `purge`.

    Every call raises KafkaException: fatal where another producer of the same transactional.id has taken
    over, or the transaction lasted too long; retriable where the call has to be made again for the answer;
    anything else leaves the transaction to the next producer's init_transactions.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        """client: librdkafka's properties. Nothing is connected yet."""
        self._id: str = client["transactional.id"]
        self._timeout_ms: int = client["transaction.timeout.ms"]
        self._brokers = Brokers(client, client.get("client.id", self._id), _CONNECT_S)
        self._encoder = Encoder()
        self._producer_id, self._epoch = _NEW
        self._sequences: Counter[_Place] = Counter()
        """Next sequence number of each partition in this transaction."""
        self._unsent: list[_Batch] = []
        self._unsent_bytes = 0
        self._sent: dict[Connection, deque[list[_Batch]]] = defaultdict(deque)
        """Requests whose answers are to come, by connection."""
        self._refused: dict[_Place, list[_Batch]] = {}
        """To be sent again."""
        self._is_begun = False
        self._ending: Connection | None = None
        """Where the answer to the end of the transaction is to come from."""

    def init_transactions(self, timeout_s: float) -> None:
        """Become the only producer of this transactional.id; what an earlier one left open is aborted.

        Raises: KafkaException; NotSpokenError when the broker is left to librdkafka.
        """
        fields = (self._id, self._timeout_ms, *_NEW, NO_TAGS)
        answer = self._ask(Of.TRANSACTION, self._id, INIT_PRODUCER_ID, fields, _deadline_s(timeout_s))
        _, _, self._producer_id, self._epoch, _ = answer
        self._forget()

    def begin_transaction(self) -> None:
        """Open a transaction."""
        self._brokers.refresh()
        self._forget()

    def send_offsets_to_transaction(
        self, positions: Sequence[TopicPartition], metadata: bytes, timeout_s: float
    ) -> None:
        """Add a consumer's next offsets.

        Kafka refuses this while it is still at the end of the transaction before, and is asked again soon.

        Raises: KafkaException.
        """
        deadline_s = _deadline_s(timeout_s)
        self._settle(deadline_s)
        member, by_topic = Member.of(metadata), defaultdict(list)
        for position in positions:
            by_topic[position.topic].append((position.partition, position.offset, -1, "", NO_TAGS))
        topics = [(topic, partitions, NO_TAGS) for topic, partitions in by_topic.items()]
        who = (member.generation, member.name, member.instance)
        fields = (self._id, member.group, self._producer_id, self._epoch, *who, topics, NO_TAGS)
        self._is_begun = True
        self._ask(Of.GROUP, member.group, TXN_OFFSET_COMMIT, fields, deadline_s)

    def write(self, block: WriteBlock, first: int = 0) -> int:
        """Add the records of a block from number `first` on; return how many it has: all are added.

        Raises: KafkaException.
        """
        for records in self._encoder.encode(block, first):
            place = records.topic, records.partition
            encoded = records.batch(self._producer_id, self._epoch, self._sequences[place])
            self._sequences[place] += records.count
            self._unsent.append(_Batch(place, encoded))
            self._unsent_bytes += len(encoded)
        if self._unsent_bytes >= _SENT_FROM_BYTES:
            self._send_all(_deadline_s(_CONNECT_S))
        return block.count

    def flush(self, timeout_s: float) -> None:
        """Wait until Kafka has all that was written. Raises: KafkaException; retriable: call again."""
        self._settle(_deadline_s(timeout_s))

    def commit_transaction(self, timeout_s: float) -> None:
        """Flush and commit what was sent and written.

        Raises: KafkaException; when it is retriable, call again.
        """
        deadline_s = _deadline_s(timeout_s)
        self._settle(deadline_s)
        self._end(deadline_s, is_committed=True)

    def abort_transaction(self, timeout_s: float) -> None:
        """Take back what was sent and written. Raises: KafkaException."""
        deadline_s = _deadline_s(timeout_s)
        for connection in self._brokers.open():
            while connection.waiting:
                connection.receive(deadline_s)
        self._ending = None
        self._end(deadline_s, is_committed=False)

    def purge(self) -> None:
        """End all connections: what waits in another thread fails. Called from any thread."""
        self._brokers.close()

    def _forget(self) -> None:
        """Begin anew, with nothing under way."""
        self._is_begun, self._ending = False, None
        self._unsent, self._unsent_bytes = [], 0
        for kept in (self._sequences, self._sent, self._refused):
            kept.clear()

    # Batches, to the leaders of their partitions

    def _send_all(self, deadline_s: float) -> None:
        for batches in _rounds(self._unsent):
            self._send(batches, deadline_s)
        self._unsent, self._unsent_bytes = [], 0

    def _send(self, batches: Sequence[_Batch], deadline_s: float) -> None:
        """Send batches, no two of one partition, without waiting for the answers."""
        leaders = self._brokers.leaders([batch.place for batch in batches], deadline_s)
        by_leader: dict[int, list[_Batch]] = defaultdict(list)
        for batch in batches:
            by_leader[leaders[batch.place]].append(batch)
        self._is_begun = True
        for leader, share in by_leader.items():
            by_topic: dict[str, list[Any]] = defaultdict(list)
            for (topic, partition), encoded in share:
                by_topic[topic].append((partition, encoded, NO_TAGS))
            topics = [(topic, partitions, NO_TAGS) for topic, partitions in by_topic.items()]
            connection = self._brokers.to(leader)
            connection.send(PRODUCE, (self._id, _ALL_IN_SYNC, _PRODUCE_MS, topics, NO_TAGS))
            self._sent[connection].append(share)

    def _settle(self, deadline_s: float) -> None:
        """Send what waits, hear all answers, and send again what was refused in passing."""
        if self._unsent:
            self._send_all(deadline_s)
        while True:
            for connection, sent in self._sent.items():
                while sent:
                    answer = connection.receive(deadline_s)
                    self._judge(sent.popleft(), answer)
            if not self._refused:
                return
            pause(_LONG_PAUSE_S, deadline_s, timed_out())
            self._brokers.forget_leaders()
            refused, self._refused = self._refused, {}
            for batches in _rounds([batch for of_place in refused.values() for batch in of_place]):
                self._send(batches, deadline_s)

    def _judge(self, batches: Iterable[_Batch], answer: tuple[Any, ...]) -> None:
        """Remember what was refused for a reason that passes; what followed it came out of sequence."""
        codes = {(topic, one[0]): one[1] for topic, partitions, _ in answer[0] for one in partitions}
        for batch in batches:
            code = codes[batch.place]
            if code in _PASSING_AT_LEADER or (
                code == KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER and batch.place in self._refused
            ):
                self._refused.setdefault(batch.place, []).append(batch)
            elif code != KafkaError.DUPLICATE_SEQUENCE_NUMBER:
                _refuse(code)

    # Questions to coordinators

    def _end(self, deadline_s: float, *, is_committed: bool) -> None:
        if not self._is_begun:
            return
        fields = (self._id, self._producer_id, self._epoch, is_committed, NO_TAGS)
        while True:
            if self._ending is None:
                coordinator = self._brokers.coordinator(Of.TRANSACTION, self._id, deadline_s)
                coordinator.send(END_TXN, fields)
                self._ending = coordinator
            answer = self._ending.receive(deadline_s)
            self._ending = None
            if not self._must_repeat(Of.TRANSACTION, self._id, END_TXN, answer, deadline_s):
                break
        _, _, self._producer_id, self._epoch, _ = answer
        self._forget()

    def _ask(
        self, of: Of, key: str, kind: Kind, fields: tuple[Any, ...], deadline_s: float
    ) -> tuple[Any, ...]:
        """Ask a coordinator until its answer is neither that it is busy nor that it is another broker."""
        while True:
            answer = self._brokers.coordinator(of, key, deadline_s).ask(kind, fields, deadline_s)
            if not self._must_repeat(of, key, kind, answer, deadline_s):
                return answer

    def _must_repeat(self, of: Of, key: str, kind: Kind, answer: tuple[Any, ...], deadline_s: float) -> bool:
        """Judge an answer; when it is to be asked for again, wait for as long as that is too early."""
        code = _code(kind, answer)
        if code not in _PASSING:
            _refuse(code)
            return False
        is_moved = code in COORDINATOR_MOVED
        if is_moved:
            self._brokers.forget_coordinator(of, key)
        is_soon = kind is TXN_OFFSET_COMMIT and not is_moved
        pause(_PAUSE_S if is_soon else _LONG_PAUSE_S, deadline_s, timed_out())
        return True


def _deadline_s(timeout_s: float) -> float:
    return time.monotonic() + timeout_s


def _code(kind: Kind, answer: tuple[Any, ...]) -> int:
    """Return the first error of a coordinator's answer, 0 when it has none."""
    if kind is not TXN_OFFSET_COMMIT:
        return int(answer[1])
    return next((code for _, partitions, _ in answer[1] for _, code, _ in partitions if code), 0)


def _refuse(code: int) -> None:
    if code:
        raise failed(code, fatal=code in _FENCED)


def _rounds(batches: Sequence[_Batch]) -> list[list[_Batch]]:
    """Return batches in requests, in order: Kafka takes one batch of a partition in each."""
    rounds: list[list[_Batch]] = []
    seen: Counter[_Place] = Counter()
    for batch in batches:
        number = seen[batch.place]
        seen[batch.place] += 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(batch)
    return rounds
