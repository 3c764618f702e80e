"""Sending refused records through the bus again, after what made them refused has been mended.

A re-driven record goes back to the raw topic partition it came from, with its own key, value and header (plus
the flag "re-driven"), so that it is validated, masked and filtered like any other. It must never overwrite
newer data: once the raw topic holds a later record of the same key, the refused one stays refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from exchange.account import Account, content_hash, minute_of
from exchange.blockio import record_of
from exchange.boxes import BoxOpener, BoxSealer
from exchange.change import HEADER, Reason, RecordHeader
from exchange.errors import PartError, SealError
from exchange.keys import QuarantineRecord
from exchange.librdkafka import send
from exchange.plan import ACCOUNTS_TOPIC
from exchange.quarantine.entries import Entry, Isolation, Topics

_BATCH: Final = 500
_TRANSACTION_TIMEOUT_S: Final = 30.0
_CALL_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry: `done`, or the reason why not."""

    entry: Entry
    done: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A refused record, opened; `sent_key` and `sent_value` are what Kafka gets, which may be a box."""

    entry: Entry
    record: QuarantineRecord
    header: RecordHeader
    key: bytes | None
    sent_key: bytes | None
    sent_value: bytes | None

    @property
    def source(self) -> tuple[str, int]:
        return self.record.topic, self.record.partition


def redrive(
    kafka: dict[str, Any],
    transactional_id: str,
    topics: Topics,
    entries: Iterable[Entry],
    private_key: bytes,
    opener: BoxOpener,
    sealer: BoxSealer | None = None,
    *,
    dry_run: bool,
) -> list[Outcome]:
    """Send entries through the bus again and return what became of each, in the order given.

    1. leave out what cannot be re-driven in itself (never reached the raw topic, not written by the bus,
       payload not kept, sealed for another key);
    2. read each raw partition after the refused records and leave out those with a later record of the same
       key, and those already re-driven;
    3. write the others and their accounts in one transaction per 500;
    4. before it commits, read what others wrote meanwhile, uncommitted records too, and abort when one of
       them has a key of ours: a change at the source wins over a re-driven one.

    opener: opens the raw records that are sealed; sealer: seals what is sent, where the resource is sealed.

    Raises: ConfigError when the key of a sealed record is missing; PartError when Kafka fails or step 4
    aborted (run it again: what got through is recognised).
    """
    outcomes: dict[str, Outcome] = {}
    order = list(entries)
    opened = [_opened(entry, private_key, sealer, outcomes) for entry in order]
    candidates = [candidate for candidate in opened if candidate is not None]
    raw = _Raw(topics, opener)
    ends: dict[tuple[str, int], int] = {}
    for source in sorted({candidate.source for candidate in candidates}):
        same = [candidate for candidate in candidates if candidate.source == source]
        ends[source] = _judge(raw, source, same, outcomes)
    fit = [candidate for candidate in candidates if candidate.entry.place not in outcomes]
    if fit and not dry_run:
        _send_all(kafka, transactional_id, raw, fit, ends)
    text = "would be re-driven" if dry_run else "re-driven"
    outcomes |= {c.entry.place: Outcome(c.entry, done=True, text=text) for c in fit}
    return [outcomes[entry.place] for entry in order]


def hindrance(entry: Entry) -> str:
    """Return why an entry cannot be re-driven, as far as it shows without its payload; empty when it can."""
    record, header = entry.record, entry.header
    if record is None:
        return "not a quarantine record of this version"
    if record.stage == "capture":
        return (
            "refused before it reached the bus: mend the row at the source, its next change is captured anew"
        )
    if header is None or record.reason is Reason.FOREIGN:
        return "not written by this bus: it has no source position; find out who writes to the raw topic"
    if record.reason is Reason.UNREADABLE:
        return "its box did not open: touch the row at the source, its next change is captured anew"
    if not record.sealed:
        return "kept by reference only, its payload was too large: make the row smaller at the source"
    return ""


class _Raw:
    """Reads raw topics."""

    def __init__(self, topics: Topics, opener: BoxOpener) -> None:
        self.spans = topics.spans
        self._topics = topics
        self._opener = opener

    def read(
        self, topic: str, partition: int, first: int, isolation: Isolation = "read_committed"
    ) -> Iterator[_Later]:
        """Yield the records from `first` to the end. Raises: as Topics.read; ConfigError without a key."""
        for message in self._topics.read(topic, partition, first, isolation):
            record = record_of(message)
            header = record.header or b""
            opened = self._opener.open(topic, partition, header, record.key, record.value)
            key = None if opened is None else opened[0]
            yield _Later(record.offset, RecordHeader.unpack(record.header), key)


@dataclass(frozen=True, slots=True)
class _Later:
    """A record of the raw topic behind a refused one; without a key it may be of any row."""

    offset: int
    header: RecordHeader | None
    key: bytes | None


def _opened(
    entry: Entry, private_key: bytes, sealer: BoxSealer | None, outcomes: dict[str, Outcome]
) -> _Candidate | None:
    hindered = hindrance(entry)
    record, header = entry.record, entry.header
    if hindered or record is None or header is None:
        outcomes[entry.place] = Outcome(entry, done=False, text=hindered)
        return None
    try:
        key, value = record.open(private_key)
    except SealError as error:
        outcomes[entry.place] = Outcome(entry, done=False, text=str(error))
        return None
    if sealer is None:
        return _Candidate(entry, record, header, key, key, value)
    packed = replace(header, redriven=True).pack()
    box = sealer.seal(record.topic, record.partition, packed, key, value)
    return _Candidate(entry, record, header, key, None, box)


def _judge(
    raw: _Raw, source: tuple[str, int], candidates: Sequence[_Candidate], outcomes: dict[str, Outcome]
) -> int:
    """Note which candidates came too late; return the offset up to which the raw partition was read."""
    topic, partition = source
    first, end = raw.spans(topic).get(partition, (0, 0))
    begin = min(candidate.record.offset for candidate in candidates) + 1
    for candidate in candidates:
        if candidate.record.offset + 1 < first:
            text = (
                "older than what the raw topic keeps, so a newer change cannot be ruled out: "
                "touch the row at the source"
            )
            outcomes[candidate.entry.place] = Outcome(candidate.entry, done=False, text=text)
    at = max(begin, first)
    if at >= end:
        return at
    by_key = _ByKey(candidates)
    for later in raw.read(topic, partition, at):
        for candidate in by_key.maybe(later):
            if text := _overtaken(candidate, later):
                outcomes.setdefault(candidate.entry.place, Outcome(candidate.entry, done=False, text=text))
        at = later.offset + 1
    return at


class _ByKey:
    """Candidates by the key of their row, as the raw topic behind them may be long."""

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        self._all = candidates
        self._keyless = [candidate for candidate in candidates if candidate.key is None]
        self._keyed: dict[bytes, list[_Candidate]] = {}
        for candidate in candidates:
            if candidate.key is not None:
                self._keyed.setdefault(candidate.key, [*self._keyless]).append(candidate)

    def maybe(self, later: _Later) -> Sequence[_Candidate]:
        """Return those that a later record may overtake: of its row, or where either's is not known."""
        return self._all if later.key is None else self._keyed.get(later.key, self._keyless)


def _overtaken(candidate: _Candidate, later: _Later) -> str:
    """Return why a later record of the raw partition keeps a candidate back; empty when it does not."""
    if later.offset <= candidate.record.offset:
        return ""
    if candidate.key is not None and later.key is not None and later.key != candidate.key:
        return ""
    header = later.header
    if header is not None and header.only_view is not None and later.key is None:
        return ""  # the mark that rows for one view begin: it changes no row
    if header is not None and header.redriven and header.position == candidate.header.position:
        return f"already re-driven (raw offset {later.offset})"
    return f"superseded: a later change of the same row is at raw offset {later.offset}"


def _send_all(
    kafka: dict[str, Any],
    transactional_id: str,
    raw: _Raw,
    candidates: Sequence[_Candidate],
    ends: dict[tuple[str, int], int],
) -> None:
    producer = Producer(
        kafka
        | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(_TRANSACTION_TIMEOUT_S * 1000),
            "delivery.timeout.ms": int(_CALL_S * 1000),
        }
    )
    _steady(producer.init_transactions, _CALL_S)
    for start in range(0, len(candidates), _BATCH):
        _send(producer, transactional_id, raw, candidates[start : start + _BATCH], ends)


def _send(
    producer: Producer,
    transactional_id: str,
    raw: _Raw,
    candidates: Sequence[_Candidate],
    ends: dict[tuple[str, int], int],
) -> None:
    """Write one batch in one transaction, or none of it."""
    written = _Written()
    _steady(producer.begin_transaction)
    try:
        for candidate in candidates:
            topic, partition = candidate.source
            header = replace(candidate.header, redriven=True)
            send(
                producer, written.note, topic=topic, value=candidate.sent_value, key=candidate.sent_key,
                partition=partition, headers=[(HEADER, header.pack())],
            )  # fmt: skip
        for account in _accounts(transactional_id, candidates):
            send(producer, written.note, topic=ACCOUNTS_TOPIC, value=account.encode())
        if producer.flush(_CALL_S) or written.failed:
            msg = (
                f"{candidates[0].source[0]}: Kafka did not take the records ({written.failed or 'no answer'})"
            )
            raise PartError(msg)
        _expect_nothing_newer(raw, candidates, ends, written.offsets)
    except BaseException:
        _steady(producer.abort_transaction, _CALL_S)
        raise
    _steady(producer.commit_transaction, _CALL_S)


class _Written:
    """Where Kafka put the records of one transaction."""

    def __init__(self) -> None:
        self.offsets: set[tuple[str, int, int]] = set()
        self.failed = ""

    def note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed = error.name()
            return
        self.offsets.add((message.topic() or "", message.partition() or 0, message.offset() or 0))


def _expect_nothing_newer(
    raw: _Raw,
    candidates: Sequence[_Candidate],
    ends: dict[tuple[str, int], int],
    ours: set[tuple[str, int, int]],
) -> None:
    """Raise PartError when somebody else wrote a record of the same key since the raw topic was judged.

    Everything below our own records is on the log by now, so this leaves no gap; what comes after them is
    newer and wins at the subscribers.
    """
    for source in {candidate.source for candidate in candidates}:
        topic, partition = source
        last = max(offset for name, number, offset in ours if (name, number) == source)
        by_key = _ByKey([candidate for candidate in candidates if candidate.source == source])
        for later in raw.read(topic, partition, ends[source], "read_uncommitted"):
            if later.offset > last:
                break
            if (topic, partition, later.offset) in ours:
                continue
            if any(_overtaken(candidate, later) for candidate in by_key.maybe(later)):
                msg = f"{topic}: a newer change of one of these rows just arrived; run the command again"
                raise PartError(msg)


def _accounts(writer: str, candidates: Sequence[_Candidate]) -> Iterable[Account]:
    """Return one account per raw topic and source minute."""
    now_ms = int(time.time() * 1000)
    found: dict[tuple[str, int], Account] = {}
    for candidate in candidates:
        minute = minute_of(candidate.header.source_ms)
        account = found.setdefault(
            (candidate.record.topic, minute),
            Account(
                "redrive",
                writer,
                candidate.record.resource,
                candidate.record.topic,
                minute,
                made_at_ms=now_ms,
            ),
        )
        position = candidate.header.position
        account.came_in(position.hash64(), content_hash(position, candidate.sent_key, candidate.sent_value))
    return found.values()


def _steady(call: Callable[..., Any], *arguments: float) -> None:
    """Call the transactional producer again while it says that another try may help, for a minute at most.

    Raises: PartError when it fails for good or its outcome stays unknown.
    """
    deadline = time.monotonic() + 60
    while True:
        try:
            call(*arguments)
        except KafkaException as error:
            seen = error.args[0]
            if seen.retriable() and time.monotonic() < deadline:
                continue
            msg = (
                f"Kafka answered {seen.name()} to {call.__name__}: it is not certain what was re-driven. "
                "Run the same command again: what got through is recognised and not sent twice."
            )
            raise PartError(msg) from None
        return
