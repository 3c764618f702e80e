"""Whether ClickHouse holds each record of the accounts topic exactly once; what it lacks is stored again.

1. The topic's offsets are read in stretches. Of each whole one a count and two sums are kept in memory: what
   Kafka has written never changes, so it is read again only where it differs.
2. ClickHouse is asked for the same figures of all stretches by one query.
3. Where they differ, a next start is told to roll up again from there; what is stored twice is deleted; what
   is then missing is stored from Kafka, by a token of its own: ClickHouse takes an old one for a repetition.
4. The minutes of what was stored are rolled up anew.

A crash after any step leaves what the next round finds and mends. What Kafka no longer has, or keeps for
longer than ClickHouse, is not compared.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exchange import log
from exchange.librdkafka import PARTITION_EOF, TIMED_OUT
from monitor import kafka
from monitor.clickhouse.client import ClickHouse
from monitor.clickhouse.rollups import Rollups
from monitor.rows import COLUMNS, row_of

_STRETCH: Final = 10_000
_BATCH: Final = 2_000
_RETRY_S: Final = 10.0
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF
_DAY_MS: Final = 86_400_000

_log = log.get(__name__)


class Sums(NamedTuple):
    """Figures of a stretch, whatever its order; a loss and a repetition do not make up for each other."""

    accounts: int
    offset_sum: int
    square_sum: int

    @classmethod
    def of(cls, offsets: Iterable[int]) -> Sums:
        """Return the figures of offsets; sums are unsigned 64-bit."""
        found = list(offsets)
        return cls(len(found), sum(found) & _U64, sum(offset * offset for offset in found) & _U64)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the rounds since the start found; offsets and time are of the last whole round."""

    at_ms: int | None = None
    first_offset: int = 0
    until_offset: int = 0
    mended: int = 0
    strange: int = 0


class Reconciler:
    """Works a little at a time, in the thread that stores accounts, so that neither sees the other's half."""

    def __init__(
        self,
        client: dict[str, Any],
        clickhouse: ClickHouse,
        rollups: Rollups,
        topic: str,
        partition: int,
        every_s: float,
    ) -> None:
        self.found = Reconciled()
        self._client = client
        self._clickhouse = clickhouse
        self._rollups = rollups
        self._topic = topic
        self._partition = partition
        self._every_s = every_s
        self._known: dict[int, Sums] = {}
        self._round: Iterator[None] | None = None
        self._due_s = 0.0
        self._mended = 0

    def step(self, until: int) -> None:
        """Do a part of a round, if one is under way or due; accounts before `until` are stored.

        Raises: TransientError while ClickHouse does not answer. A round that Kafka cuts off is begun anew.
        """
        if self._round is None:
            if time.monotonic() < self._due_s or until == 0:
                return
            self._round = self._compare(until)
        try:
            next(self._round)
        except StopIteration:
            self.stop()
            self._due_s = time.monotonic() + self._every_s
        except KafkaException as error:
            self.stop()
            self._due_s = time.monotonic() + min(self._every_s, _RETRY_S)
            cause = kafka.trouble(self._topic, kafka.cause_of(error))
            _log.warning("reconciliation_cut_off", topic=self._topic, error=str(cause))

    def stop(self) -> None:
        """Leave the round that is under way."""
        if self._round is not None:
            self._round.close()  # type: ignore[attr-defined]  # a generator: it closes its reader
            self._round = None

    def _compare(self, until: int) -> Iterator[None]:
        reader = _Reader(self._client, self._topic, self._partition)
        try:
            first = reader.first_since(_now_ms() - (self._clickhouse.retention.accounts_days - 1) * _DAY_MS)
            self._known = {number: sums for number, sums in self._known.items() if number * _STRETCH >= first}
            stretches = {
                number: (max(first, number * _STRETCH), min(until, (number + 1) * _STRETCH))
                for number in range(first // _STRETCH, -(-until // _STRETCH))
            }
            expected: dict[int, Sums] = {}
            for number, (begin, end) in stretches.items():
                expected[number] = self._known.get(number) or Sums.of(reader.read(begin, end))
                if end - begin == _STRETCH:
                    self._known[number] = expected[number]
                yield
            stored = self._stored(first, until)
            strange = 0
            for number, sums in expected.items():
                if stored.get(number, Sums(0, 0, 0)) != sums:
                    strange += self._mend(reader, *stretches[number])
                    yield
            self.found = Reconciled(_now_ms(), first, until, self._mended, strange)
        finally:
            reader.close()

    def _stored(self, first: int, until: int) -> dict[int, Sums]:
        rows = self._clickhouse.query(
            "stored_offsets", partition=self._partition, first=first, until=until, stretch=_STRETCH
        )
        return {
            row["stretch_number"]: Sums(row["accounts"], row["offset_sum"], row["square_sum"]) for row in rows
        }

    def _mend(self, reader: _Reader, first: int, until: int) -> int:
        """Store what a stretch lacks; return how many rows it has that Kafka has not."""
        written = reader.read(first, until)
        rows = self._clickhouse.query(
            "stored_in_stretch", partition=self._partition, first=first, until=until
        )
        copies = {row["account_offset"]: row["copies"] for row in rows}
        doubled = [offset for offset, count in copies.items() if count > 1 and offset in written]
        wrong = sorted({*doubled, *(offset for offset in written if offset not in copies)})
        strange = sum(offset not in written for offset in copies)
        if strange:
            _log.error("accounts_unknown_to_kafka", topic=self._topic, first_offset=first, records=strange)
        if not wrong:
            return strange
        now_ms = _now_ms()
        missing = [
            row_of(self._partition, offset, written[offset], now_ms, caught_up=False) for offset in wrong
        ]
        self._rollups.rewind(wrong[0])
        if doubled:
            self._clickhouse.command(_DELETE, partition=self._partition, offsets=doubled)
        self._clickhouse.insert("accounts", COLUMNS, missing, f"mended-{uuid.uuid4().hex}")
        self._rollups.touch(missing)
        self._mended += len(wrong)
        _log.error(
            "accounts_mended",
            topic=self._topic,
            first_offset=wrong[0],
            last_offset=wrong[-1],
            records=len(wrong),
        )
        return strange


_DELETE: Final = (
    "DELETE FROM accounts WHERE account_partition = {partition:UInt32} "
    "AND account_offset IN {offsets:Array(UInt64)}"
)


class _Reader:
    """Reads stretches of the topic; one after the other costs no more than reading through."""

    def __init__(self, client: dict[str, Any], topic: str, partition: int) -> None:
        self._consumer = Consumer(kafka.reader(client) | {"queued.min.messages": _STRETCH})
        self._topic = topic
        self._partition = partition
        self._next = -1
        self._ahead: list[Message] = []

    def first_since(self, at_ms: int) -> int:
        """Return the first offset that Kafka still has and that was written since."""
        asked = TopicPartition(self._topic, self._partition, at_ms)
        low, high = self._consumer.get_watermark_offsets(asked, timeout=kafka.TIMEOUT_S)
        [found] = self._consumer.offsets_for_times([asked], timeout=kafka.TIMEOUT_S)
        return max(low, found.offset if found.offset >= 0 else high)

    def read(self, first: int, until: int) -> dict[int, bytes]:
        """Return offset → value of the committed records from `first` to before `until`.

        Raises: KafkaException, also when they do not come.
        """
        if first != self._next:
            self._consumer.assign([TopicPartition(self._topic, self._partition, first)])
            self._ahead = []
        found: dict[int, bytes] = {}
        deadline = time.monotonic() + kafka.TIMEOUT_S
        while True:
            messages, self._ahead = self._ahead or self._consumer.consume(_BATCH, timeout=0.5), []
            for at, message in enumerate(messages):
                error, offset = message.error(), int(message.offset() or 0)
                if error is not None and error.code() != PARTITION_EOF:
                    raise KafkaException(error)
                if offset >= until:
                    self._ahead = messages[at:]
                    self._next = until
                    return found
                if error is None:
                    found[offset] = kafka.as_bytes(message.value()) or b""
            if messages:
                deadline = time.monotonic() + kafka.TIMEOUT_S
            elif time.monotonic() > deadline:
                raise KafkaException(KafkaError(TIMED_OUT))

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
