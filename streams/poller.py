"""The one thread that owns the Kafka consumer: rounds go out, their outcomes come back.

Back-pressure is by committed rounds: one round is being committed, the next one is gathered meanwhile and
handed over when the first is committed, or sooner when it is full: then it is processed during the commit. So
under light load a round is the few records that just came, and under full load it is all that a round may
hold, with three of them in memory: one gathered, one processed, one committed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import lt
from typing import Any, Final, Protocol

from confluent_kafka import Consumer, KafkaError, TopicPartition
from faust.types import TP

from exchange import log
from exchange.block import COLUMNS, ReadBlock
from exchange.blockio import BlockConsumer, ReadError, Reading
from exchange.librdkafka import PARTITION_EOF
from streams.client import QUIET
from streams.positions import Positions
from streams.rounds import Halted, Round
from streams.transaction import Fatal
from streams.watchdog import Progress

_IDLE_POLL_S: Final = 0.2
_GATHER_S: Final = 0.005
"""librdkafka's own queues take in what comes meanwhile; they hold far more than arrives in this time."""
_QUIET_S: Final = 1.0
"""With nothing to read for so long, what lies behind the last records is committed without any."""
_ROUND_S: Final = 0.5
"""Processing a full round should take about this long: far below a third of the transaction timeout."""
_MIN_ROUND_RECORDS: Final = 200
_FIRST_ROUND_RECORDS: Final = 2_000
_MAX_ROUND_RECORDS: Final = 26_000
_MAX_ROUND_BYTES: Final = 16 * 1024 * 1024
_MAX_WRITTEN_BYTES: Final = 12 * 1024 * 1024
"""What two rounds become stays in a processor's cache (32 MB) until it is packed for Kafka.

And three rounds, what two of them become, and librdkafka's queues have to fit into 300 MB.
"""
_MAX_ROUNDS: Final = 2
"""One being committed, one being processed."""

_log = log.get(__name__)


def consumer_config(client: dict[str, Any], group: str, instance: str) -> dict[str, Any]:
    """Return the consumer's librdkafka properties; each differs from the default for the reason beside it."""
    return (
        client
        | QUIET
        | {
            "group.id": group,
            "group.instance.id": instance,  # a restart within the session timeout moves no partitions
            "client.id": instance,
            "group.protocol": "classic",
            "partition.assignment.strategy": "range",  # eager: Faust knows only whole assignments
            "session.timeout.ms": 20_000,  # longer than a broker's restart: a member that timed out must end
            "heartbeat.interval.ms": 2_000,
            "enable.auto.commit": False,  # only the worker's transaction moves offsets
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",  # a gap is told, not jumped over; see positions.py
            "isolation.level": "read_committed",
            "enable.partition.eof": True,  # tells the watchdog that reading has reached the end
            "queued.min.messages": 70_000,  # two full rounds and more; each takes half a kB beside its bytes
            "fetch.queue.backoff.ms": 5,  # the default of a second idles a consumer that keeps up
            "queued.max.messages.kbytes": 32_768,  # memory: what waits to be gathered
        }
    )


def next_limit(limit: int, records: int, busy_s: float, written_bytes: int = 0) -> int:
    """Return how many records the next round may have, after one of `records` that took `busy_s`.

    written_bytes: what it became. A round that was not full says nothing against the limit, unless it took
    too long or became too much.
    """
    share = max(busy_s / _ROUND_S, written_bytes / _MAX_WRITTEN_BYTES)
    if records < limit and share <= 1:
        return limit
    wanted = int(records / max(share, 0.001))
    return max(_MIN_ROUND_RECORDS, min(wanted, 2 * limit, _MAX_ROUND_RECORDS))


class Listener(Protocol):
    """What the poller tells, always from its own thread in the order assigned, rounds, revoked."""

    def on_assigned(self, assigned: set[TP], generation: int) -> None:
        """Partitions were assigned; no round comes before this returns."""

    def on_revoked(self, revoked: set[TP], rounds: Sequence[Round]) -> None:
        """Partitions are being taken away; `rounds` are in process, none may commit once this returns."""

    def on_round(self, rnd: Round) -> None:
        """Process a round and settle it."""

    def on_failed(self, error: BaseException) -> None:
        """End the worker: its poller has ended."""


@dataclass(slots=True)
class Parked:
    """A partition that waits at an offset; `paused` is False while it is being tried again."""

    halted: Halted
    since_ms: int
    retry_at: float | None
    paused: bool = True


class Poller(threading.Thread):
    """Reads whole poll rounds of the subscribed topics.

    1 gather: what has arrived, and what arrives while the rounds before are in process
    2 see what became of those: park what one halted; if one did not commit, rewind and drop what was read
      after it
    3 hand over the gathered round
    """

    def __init__(self, config: dict[str, Any], listener: Listener) -> None:
        super().__init__(name="poller", daemon=True)
        self.progress: dict[TP, Progress] = {}
        self.parked: dict[TP, Parked] = {}
        self._consumer = Consumer(config)
        self._blocks = BlockConsumer(self._consumer)
        self._listener = listener
        self._stopping = threading.Event()
        self._positions = Positions(self._consumer, self._stopping)
        self._topics: list[str] | None = None
        self._assigned: frozenset[TP] = frozenset()
        self._generation = 0
        self._group_metadata: Any = None
        self._in_process: list[Round] = []
        self._at_end: set[TP] = set()
        """Partitions whose end was met, and is perhaps still to be committed."""
        self._news = threading.Event()
        self._quiet_at = 0.0
        self._limit = _FIRST_ROUND_RECORDS

    @property
    def assigned(self) -> frozenset[TP]:
        """Partitions that this worker reads at the moment."""
        return self._assigned

    def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on. Called from any thread."""
        self._topics = sorted(topics)

    def stop(self) -> None:
        """Ask the thread to end; it leaves the group with what it has committed. Join it afterwards."""
        self._stopping.set()

    def run(self) -> None:
        """Poll until stopped."""
        try:
            while not self._stopping.is_set():
                self._subscribe_if_asked()
                self._retry_parked()
                self._turn()
        except Exception as error:
            self._listener.on_failed(error)
        finally:
            self._close()

    def _turn(self) -> None:
        generation, reading = self._generation, Reading()
        while not self._stopping.is_set():
            self._read(reading)
            if generation != self._generation:
                # Some of these may belong to the assignment before: read them again under this one.
                self._note_told_once(reading.errors)
                if reading.records:
                    self._rewind()
                return
            if reading.strays:
                self._put_in_order(reading)
                return
            if not self._follow_up():
                self._note_told_once(reading.errors)
                return
            if self._is_due(reading):
                self._hand_over(self._records_of(reading))
                return

    def _read(self, reading: Reading) -> None:
        """Read on, at once when there is news of a round in process."""
        if self._in_process:
            self._news.wait(_GATHER_S)
            self._news.clear()
        wait_s = 0 if self._in_process else _IDLE_POLL_S
        self._blocks.read(reading, self._limit, _MAX_ROUND_BYTES, wait_s)

    def _is_due(self, reading: Reading) -> bool:
        """Say whether to hand over what was gathered: a full round need not wait for the one before.

        It waits until what that one halted is parked: behind a halted record nothing may be processed.
        """
        if not self._in_process:
            return True
        is_full = reading.records >= self._limit or reading.size_bytes >= _MAX_ROUND_BYTES
        return is_full and len(self._in_process) < _MAX_ROUNDS and self._in_process[-1].is_followed_up

    def _follow_up(self) -> bool:
        """See what became of the rounds in process. Returns False when what was gathered must not be used."""
        for rnd in list(self._in_process):
            outcome = rnd.outcome
            if (rnd.is_processed or outcome) and not rnd.is_followed_up:
                rnd.is_followed_up = True
                for tp, halted in rnd.halted.items():
                    self._park(tp, halted)
            if outcome is None:
                continue
            self._in_process.remove(rnd)
            if not outcome.committed:
                self._drop_rounds()
                self._rewind()
                return False
            self._note_commit(rnd)
            rnd.release()
        return True

    def _drop_rounds(self) -> None:
        """Give up what was read after a round that did not commit; the stage will not commit it either."""
        for rnd in self._in_process:
            rnd.settle(committed=False)
        self._in_process = []

    def _put_in_order(self, reading: Reading) -> None:
        """Read again what came partly past our own queue, once the rounds in process have ended."""
        self._note_told_once(reading.errors)
        _log.warning("records_strayed", partitions=len(self._assigned))
        self._blocks.forward(TopicPartition(*tp) for tp in self._assigned)
        self._read_again()

    def _read_again(self) -> None:
        """Go back to what is committed, once the rounds in process have ended."""
        while self._in_process and not self._stopping.is_set():
            self._in_process[0].wait(_IDLE_POLL_S)
            if not self._follow_up():
                return
        self._rewind()

    def _note_commit(self, rnd: Round) -> None:
        self._limit = next_limit(self._limit, rnd.records, rnd.busy_s, rnd.written_bytes)
        for tp, offset in rnd.offsets.items():
            self.progress[tp].committed_to(offset)
            self._positions.committed_to(tp, offset)
            parked = self.parked.get(tp)
            if parked is not None and not parked.paused:
                self._unpark(tp)

    def _hand_over(self, records: dict[TP, ReadBlock]) -> None:
        ends = self._ends(records)
        if not records and (not ends or time.monotonic() < self._quiet_at):
            return
        if any(goes_back(block, self.progress[tp].fetched) for tp, block in records.items()):
            # librdkafka promises that offsets only grow, but what came twice would be written twice.
            _log.error("offsets_went_back", partitions=len(records))
            self._read_again()
            return
        before = self._in_process[-1] if self._in_process else None
        rnd = Round(records, self._group_metadata, before, self._news, ends)
        for tp, end in ends.items():
            self.progress[tp].fetched_to(end)
        for batch in rnd.batches:
            self.progress[batch.tp].fetched_to(batch.next_offset)
        self._in_process.append(rnd)
        self._quiet_at = time.monotonic() + _QUIET_S
        self._listener.on_round(rnd)

    def _ends(self, records: Iterable[TP]) -> dict[TP, int]:
        """Return where partitions without records end, behind transaction markers that nobody has to process.

        Left uncommitted, a marker that retention removes would look like a record lost at the next start.
        """
        ends = {}
        for tp in self._at_end.difference(records, self.parked):
            at = self.progress[tp]
            if at.reached > at.committed:
                ends[tp] = at.reached
            elif at.committed >= at.fetched:
                self._at_end.discard(tp)
        return ends

    def _records_of(self, reading: Reading) -> dict[TP, ReadBlock]:
        """Return the records to process by partition; errors and ends of partitions are taken note of."""
        for error in reading.errors:
            self._on_error(error)
        records = {TP(*at): block for at, block in reading.blocks.items()}
        return {
            tp: block for tp, block in records.items() if tp in self._assigned and not self._is_paused(tp)
        }

    def _note_told_once(self, errors: Iterable[ReadError]) -> None:
        """Take note of what librdkafka would not tell again, though the records beside it are dropped.

        Raises: Fatal.
        """
        raise_if_fatal(errors)
        for at in errors:
            if at.error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                self._on_error(at)

    def _on_error(self, at: ReadError) -> None:
        tp = TP(at.topic, at.partition)
        code = at.error.code()
        if code == PARTITION_EOF:
            if tp in self.progress and not self._is_paused(tp):
                self.progress[tp].at_end_at(at.offset)
                self._at_end.add(tp)
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            self._park_at_gap(tp)
        elif _is_fatal(at.error):
            raise _ended(at.error)
        else:
            _log.warning("consumer_error", topic=tp.topic, partition=tp.partition, error=at.error.name())

    # Halted partitions

    def _is_paused(self, tp: TP) -> bool:
        parked = self.parked.get(tp)
        return parked is not None and parked.paused

    def _park(self, tp: TP, halted: Halted) -> None:
        if tp not in self._assigned:
            return
        seen = self.parked.get(tp)
        if seen is None or seen.halted.reason != halted.reason:
            _log.error(
                "partition_halted",
                topic=tp.topic,
                partition=tp.partition,
                offset=halted.offset,
                reason=halted.reason,
                retry_after_s=halted.retry_after_s,
            )
        retry_at = None if halted.retry_after_s is None else time.monotonic() + halted.retry_after_s
        since_ms = int(time.time() * 1000) if seen is None else seen.since_ms
        self._consumer.pause([TopicPartition(*tp)])
        if halted.reason != _GAP and not self._positions.seek(tp, halted.offset):
            self._park_at_gap(tp)
            return
        self.progress[tp].reads_again_from(halted.offset)
        self.parked = self.parked | {tp: Parked(halted, since_ms, retry_at)}

    def _park_at_gap(self, tp: TP) -> None:
        if tp in self._assigned:
            self._park(tp, Halted(self.progress[tp].committed, _GAP, retry_after_s=None))

    def _retry_parked(self) -> None:
        now = time.monotonic()
        for tp, parked in self.parked.items():
            if parked.paused and parked.retry_at is not None and parked.retry_at <= now:
                self._consumer.resume([TopicPartition(*tp)])
                if not self._positions.seek(tp, parked.halted.offset):
                    self._park_at_gap(tp)
                    continue
                self.progress[tp].reads_again_from(parked.halted.offset)
                parked.paused = False

    def _unpark(self, tp: TP) -> None:
        self.parked = {other: parked for other, parked in self.parked.items() if other != tp}
        _log.info("partition_resumed", topic=tp.topic, partition=tp.partition)

    def _rewind(self) -> None:
        """Go back to the committed offsets of everything assigned; halted partitions stay halted there."""
        for position in self._positions.of(self._assigned):
            tp = TP(position.topic, position.partition)
            halted = self.parked[tp].halted if tp in self.parked else None
            if halted is not None and halted.reason == _GAP:
                continue
            if not self._positions.seek(tp, position.offset):
                self._park_at_gap(tp)
                continue
            self.progress[tp].reads_again_from(max(position.offset, 0))
            if halted is not None:
                self.parked[tp].halted = Halted(position.offset, halted.reason, halted.retry_after_s)

    # Membership

    def _subscribe_if_asked(self) -> None:
        topics, self._topics = self._topics, None
        if topics is not None:
            self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._generation += 1
        assigned = frozenset(TP(tp.topic, tp.partition) for tp in partitions)
        positions = self._positions.of(assigned)
        self._blocks.assign(positions)
        self._assigned, self._at_end = assigned, set()
        self._group_metadata = consumer.consumer_group_metadata()
        self.parked = {}
        self.progress = {TP(tp.topic, tp.partition): Progress(max(tp.offset, 0)) for tp in positions}
        _log.info("partitions_assigned", partitions=len(assigned))
        self._listener.on_assigned(set(assigned), self._generation)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Also called when partitions were lost: the transaction is aborted either way."""
        self._generation += 1
        rounds, self._in_process = self._in_process, []
        revoked = {TP(tp.topic, tp.partition) for tp in partitions}
        _log.info("partitions_revoked", partitions=len(revoked))
        self._listener.on_revoked(revoked, rounds)
        self._assigned, self._at_end, self.parked, self.progress = frozenset(), set(), {}, {}

    def _close(self) -> None:
        try:
            self._blocks.close()
        except Exception as error:  # closing must not hide why the thread ended
            _log.warning("consumer_close_failed", exc_info=error)


def goes_back(block: ReadBlock, fetched: int) -> bool:
    """Whether a partition's records begin before the offset that was reached, or do not count up."""
    offsets = block.index[: block.count * COLUMNS : COLUMNS]
    return offsets[0] < fetched or not all(map(lt, offsets, offsets[1:]))


def raise_if_fatal(errors: Iterable[ReadError]) -> None:
    """See to it that what is to be dropped doesn't hide the consumer's end: librdkafka tells it only once.

    Raises: Fatal.
    """
    for at in errors:
        if _is_fatal(at.error):
            raise _ended(at.error)


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - as a message it has no flag


def _ended(error: KafkaError) -> Fatal:
    return Fatal(
        f"Kafka ended this consumer: {error.name()}. Another process may run with the same worker id, or "
        "Kafka was away for longer than a session lasts; start the worker again."
    )


# librdkafka has ended reading such a partition, and refuses to seek in it.
_GAP: Final = (
    "records between the committed offset and the oldest one still kept were deleted by retention before "
    "they were processed; take a new snapshot of the source, then move the group's offset to the oldest "
    "record that is kept"
)
