"""Holds what left the bus against what the source committed: nothing lost, nothing twice, order kept.

The truth comes from `source_log`, the observations from Kafka at read_committed. Each committed change is
turned into the records it must become: one (two for a key change, one per partition for TRUNCATE). Each must
be found exactly once in every view whose rows it concerns, or once in quarantine, and nowhere else.

Judging is incremental: feed truth and observations in any order, then ask for `problems()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from tests.checkers.source_log import Committed, Row
from tests.checkers.wire import stamp

Place = tuple[int, int, int]
"""(commit, index, part) of one record; the stream is checked apart."""


class Kind(StrEnum):
    """What can be wrong."""

    LOST = "lost"
    DUPLICATE = "duplicate"
    UNEXPLAINED = "unexplained"
    UNWANTED = "unwanted"
    ORDER = "order"
    TOMBSTONE = "tombstone"
    OPERATION = "operation"
    KEY = "key"
    CONTENT = "content"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding; `place` is the position in the source's log."""

    kind: Kind
    topic: str
    place: Place
    detail: str = ""


class KafkaRecord(Protocol):
    """The part of a confluent_kafka.Message that is looked at."""

    def topic(self) -> str | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class ExpectedView:
    """What a view must show, said independently of the bus.

    in_scope: whether a row belongs to the view; shows: field → value for the fields worth comparing.
    """

    topic: str
    in_scope: Callable[[Row], bool] = lambda row: True
    shows: Callable[[Row], Mapping[str, Any]] = lambda row: {}


@dataclass(frozen=True, slots=True)
class ExpectedTable:
    """A captured table and all that must become of its changes."""

    table: str
    key: tuple[str, ...]
    partitions: int
    stream: int
    raw_topic: str
    quarantine_topic: str
    views: tuple[ExpectedView, ...]
    acceptable: Callable[[Row], bool] = lambda row: True
    """Whether the contract takes the row; else its change belongs in quarantine."""
    capturable: Callable[[Row], bool] = lambda row: True
    """Whether the raw topic can hold the row; else capture itself refuses what makes the row so."""

    @property
    def topics(self) -> list[str]:
        """All topics to be read."""
        return [self.raw_topic, self.quarantine_topic, *(view.topic for view in self.views)]


@dataclass(frozen=True, slots=True)
class _Expected:
    """One record that must be found, or must not, in every topic; `ops` is empty where it must not."""

    key: tuple[str | None, ...] | None
    before: Row | None
    after: Row | None
    ops: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One record as it was read."""

    place: Place
    op: str
    partition: int
    key: bytes | None
    value: bytes | None


@dataclass(slots=True)
class _Topic:
    """What was seen of one topic."""

    seen: set[Place] = field(default_factory=set)
    last: dict[bytes | None, Place] = field(default_factory=dict)
    pending_tombstone: dict[int, tuple[Place, bytes | None]] = field(default_factory=dict)
    masked: dict[tuple[str | None, ...], bytes] = field(default_factory=dict)
    unmasked: dict[bytes, tuple[str | None, ...]] = field(default_factory=dict)
    next_offset: dict[int, int] = field(default_factory=dict)


class Journey:
    """The incremental judge of one table; `decode` reads wire-format bytes (see wire.Schemas)."""

    def __init__(self, table: ExpectedTable, decode: Callable[[bytes], Any]) -> None:
        self.table = table
        self.foreign = 0
        """Records in quarantine that no source committed."""
        self._decode = decode
        self._views = {view.topic: view for view in table.views}
        self._expected: dict[Place, _Expected] = {}
        self._missing: set[tuple[str, Place]] = set()
        self._early: dict[tuple[str, Place], list[_Seen]] = {}
        self._topics = {topic: _Topic() for topic in table.topics}
        self._found: list[Problem] = []
        self._before_snapshot: list[Committed] = []
        self._snapshot_commit: int | None = None
        self._snapshot_rows: dict[tuple[str | None, ...], Row] = {}

    @property
    def committed(self) -> int:
        """How many records the truth demands so far."""
        return len(self._expected)

    @property
    def outstanding(self) -> int:
        """Records that were expected and not seen yet, plus seen and not explained yet."""
        return len(self._missing) + len(self._early) + len(self._snapshot_rows)

    def count(self, topic: str) -> int:
        """Distinct positions seen in a topic."""
        return len(self._topics[topic].seen)

    def has_reached(self, topic: str) -> bool:
        """Whether the last record that a topic must hold so far was seen in it: what is missing then is lost.

        True of a topic that is written in the source's order.
        """
        wanted = [place for place, expected in self._expected.items() if topic in expected.ops]
        return not wanted or max(wanted) in self._topics[topic].seen

    def next_offsets(self, topic: str) -> dict[int, int]:
        """Partition → offset after the last record seen of a topic."""
        return dict(self._topics[topic].next_offset)

    def source(self, changes: Iterable[Committed]) -> None:
        """Take over what the source committed; changes of other tables are ignored."""
        for change in changes:
            if change.table == self.table.table:
                self._take(change)

    def observe(self, record: KafkaRecord) -> None:
        """Take over one record of any of the table's topics, in offset order per partition."""
        topic = record.topic() or ""
        head = stamp(record.headers())
        state = self._topics[topic]
        at_offset = (record.offset() or 0, record.partition() or 0, 0)
        if not self._offset_advances(state, record):
            self._note(Kind.ORDER, topic, at_offset, "offset read twice")
            return
        if topic == self.table.raw_topic and (head is None or head.at.stream == 0):
            return  # anybody's bytes; they may go nowhere but to quarantine
        if head is None:
            self._note(Kind.HEADER, topic, at_offset, "no readable x-exchange header")
            return
        if topic == self.table.quarantine_topic and head.at.stream == 0:
            self.foreign += 1
            return
        if head.at.stream != self.table.stream:
            self._note(Kind.HEADER, topic, at_offset, "another source's stream")
            return
        seen = _Seen(
            (head.at.commit, head.at.index, head.at.part),
            head.op,
            record.partition() or 0,
            record.key(),
            record.value(),
        )
        if head.tombstone:
            self._check_tombstone(topic, state, seen)
        else:
            self._check_record(topic, state, seen)

    def problems(self, *, settled: bool = True) -> list[Problem]:
        """Return all findings; with `settled`, what is still outstanding counts as lost or unexplained."""
        found = list(self._found)
        if settled:
            found += [Problem(Kind.LOST, topic, place) for topic, place in sorted(self._missing)]
            found += [Problem(Kind.LOST, self.table.raw_topic, (0, 0, 0), "snapshot row")] * len(
                self._snapshot_rows
            )
            found += [Problem(Kind.UNEXPLAINED, topic, place) for topic, place in sorted(self._early)]
            for topic, state in self._topics.items():
                found += [
                    Problem(Kind.TOMBSTONE, topic, place, "delete without tombstone")
                    for place, _ in state.pending_tombstone.values()
                ]
        return found

    # ---- the truth -------------------------------------------------------------------------------------

    def _take(self, change: Committed) -> None:
        """A change older than the snapshot is part of it; its point is known once a row of it is seen."""
        if self._snapshot_commit is None:
            self._before_snapshot.append(change)
        elif change.commit < self._snapshot_commit:
            return
        for place, expected in self._become(change):
            self._expect(place, expected)

    def _become(self, change: Committed) -> Iterator[tuple[Place, _Expected]]:
        before_key, after_key = self._key(change.before), self._key(change.after)
        if change.op == "t":
            for part in range(self.table.partitions):
                yield (change.commit, change.index, part), self._expected_of("t", None, None, None)
        elif change.op == "u" and change.before is not None and before_key != after_key:
            place = change.commit, change.index
            yield (*place, 0), self._expected_of("d", before_key, change.before, None)
            yield (*place, 1), self._expected_of("c", after_key, None, change.after)
        else:
            key = before_key if change.op == "d" else after_key
            yield (
                (change.commit, change.index, 0),
                self._expected_of(change.op, key, change.before, change.after),
            )

    def _key(self, row: Row | None) -> tuple[str | None, ...] | None:
        return None if row is None else tuple(row[column] for column in self.table.key)

    def _expected_of(
        self, op: str, key: tuple[str | None, ...] | None, before: Row | None, after: Row | None
    ) -> _Expected:
        """Say where a record must be: topic → the operation letters allowed there."""
        if after is not None and not self.table.capturable(after):
            return _Expected(key, before, after, {self.table.quarantine_topic: op})
        ops = {self.table.raw_topic: op}
        if after is not None and not self.table.acceptable(after):
            ops[self.table.quarantine_topic] = op
        else:
            for view in self.table.views:
                ops[view.topic] = self._op_in_view(view, op, before, after)
        return _Expected(key, before, after, {topic: allowed for topic, allowed in ops.items() if allowed})

    def _op_in_view(self, view: ExpectedView, op: str, before: Row | None, after: Row | None) -> str:
        """Letters allowed in a view; none when the change does not concern it."""
        if op == "t":
            return "t"
        was_known = before is not None and self.table.capturable(before) and self.table.acceptable(before)
        was_in = was_known and before is not None and view.in_scope(before)
        is_in = after is not None and view.in_scope(after)
        if op in "cr":
            return op if is_in else ""
        if not was_known:  # a delete too many is harmless, a row too few is not
            return "uc" if is_in else "d"
        return {(True, True): "u", (True, False): "d", (False, True): "c", (False, False): ""}[was_in, is_in]

    def _expect(self, place: Place, expected: _Expected) -> None:
        self._expected[place] = expected
        for topic in self._topics:
            early = self._early.pop((topic, place), [])
            if early:
                for seen in early:
                    self._match(topic, expected, seen)
            elif topic in expected.ops:
                self._missing.add((topic, place))

    # ---- the observations ------------------------------------------------------------------------------

    def _check_record(self, topic: str, state: _Topic, seen: _Seen) -> None:
        if seen.op == "r":
            self._check_snapshot_record(topic, seen)
        if seen.place in state.seen:
            self._note(Kind.DUPLICATE, topic, seen.place)
            return
        state.seen.add(seen.place)
        if topic != self.table.quarantine_topic:
            self._check_order(topic, state, seen)
        expected = self._expected.get(seen.place)
        if expected is None:
            self._early.setdefault((topic, seen.place), []).append(seen)
        else:
            self._missing.discard((topic, seen.place))
            self._match(topic, expected, seen)

    def _check_order(self, topic: str, state: _Topic, seen: _Seen) -> None:
        """Per key positions increase; in a view a delete's tombstone comes before anything else."""
        if seen.partition in state.pending_tombstone:
            place, _ = state.pending_tombstone.pop(seen.partition)
            self._note(Kind.TOMBSTONE, topic, place, "delete without tombstone")
        if seen.op == "t":
            return
        if seen.place <= state.last.get(seen.key, (-1, -1, -1)):
            self._note(Kind.ORDER, topic, seen.place, "position not after the key's last one")
        state.last[seen.key] = seen.place
        if seen.op == "d" and topic != self.table.raw_topic:
            state.pending_tombstone[seen.partition] = (seen.place, seen.key)

    def _check_tombstone(self, topic: str, state: _Topic, seen: _Seen) -> None:
        """The tombstone stands right behind its delete: same key, same position, no value."""
        owed = state.pending_tombstone.pop(seen.partition, None)
        if owed != (seen.place, seen.key) or seen.value is not None:
            self._note(Kind.TOMBSTONE, topic, seen.place, "tombstone without its delete")

    def _match(self, topic: str, expected: _Expected, seen: _Seen) -> None:
        if topic not in expected.ops:
            self._note(Kind.UNWANTED, topic, seen.place, f"operation {seen.op}")
            return
        if seen.op not in expected.ops[topic]:
            self._note(Kind.OPERATION, topic, seen.place, f"saw {seen.op}, wanted {expected.ops[topic]}")
        if topic in self._views:
            self._check_key(topic, expected, seen)
            self._check_content(topic, expected, seen)
        elif topic == self.table.raw_topic:
            self._check_raw_key(expected, seen)

    def _check_key(self, topic: str, expected: _Expected, seen: _Seen) -> None:
        """One source key, one masked key, and the other way round."""
        if expected.key is None or seen.key is None:
            if (expected.key is None) != (seen.key is None):
                self._note(Kind.KEY, topic, seen.place, "a key where none belongs, or none where one does")
            return
        state = self._topics[topic]
        masked = state.masked.setdefault(expected.key, seen.key)
        original = state.unmasked.setdefault(seen.key, expected.key)
        if masked != seen.key or original != expected.key:
            self._note(Kind.KEY, topic, seen.place, "masked keys are not one to one")

    def _check_raw_key(self, expected: _Expected, seen: _Seen) -> None:
        told = None if seen.key is None else tuple(str(v) for v in self._decode(seen.key).values())
        if told != expected.key:
            self._note(Kind.KEY, self.table.raw_topic, seen.place, "not the key of the source's row")

    def _check_content(self, topic: str, expected: _Expected, seen: _Seen) -> None:
        envelope = self._decode(seen.value) if seen.value is not None else None
        if envelope is None or envelope["op"] != seen.op:
            self._note(Kind.CONTENT, topic, seen.place, "no envelope, or another operation than the header's")
            return
        row = expected.after if seen.op in "cru" else None
        wanted = {} if row is None else self._views[topic].shows(row)
        shown = envelope["after"]
        if (shown is None) != (row is None):
            self._note(Kind.CONTENT, topic, seen.place, "after-image present or absent by mistake")
        elif differing := [name for name, value in wanted.items() if shown.get(name, ...) != value]:
            self._note(Kind.CONTENT, topic, seen.place, f"fields differ: {', '.join(differing)}")

    # ---- the snapshot ----------------------------------------------------------------------------------

    def _check_snapshot_record(self, topic: str, seen: _Seen) -> None:
        """Raw snapshot records tell which position holds which row; the rows must be the truth's."""
        if topic != self.table.raw_topic:
            return
        if self._snapshot_commit is None:
            self._start_snapshot(seen.place[0])
        key = tuple(str(value) for value in self._decode(seen.key or b"").values())
        row = self._snapshot_rows.pop(key, None)
        if seen.place[0] != self._snapshot_commit or row is None:
            self._note(
                Kind.UNEXPLAINED, topic, seen.place, "snapshot row that the table did not hold, or twice"
            )
            return
        self._expect(seen.place, self._expected_of("r", key, None, row))

    def _start_snapshot(self, commit: int) -> None:
        """Fold what was committed before the snapshot into rows, no longer expected as changes."""
        self._snapshot_commit = commit
        for change in self._before_snapshot:
            if change.commit >= commit:
                continue
            for place, _ in self._become(change):
                self._expected.pop(place, None)
                self._missing -= {(topic, place) for topic in self._topics}
            self._fold(change)
        self._before_snapshot.clear()

    def _fold(self, change: Committed) -> None:
        if change.op == "t":
            self._snapshot_rows.clear()
        if (old := self._key(change.before)) is not None:
            self._snapshot_rows.pop(old, None)
        if change.after is not None and (new := self._key(change.after)) is not None:
            self._snapshot_rows[new] = change.after

    def _offset_advances(self, state: _Topic, record: KafkaRecord) -> bool:
        partition, offset = record.partition() or 0, record.offset() or 0
        if offset < state.next_offset.get(partition, 0):
            return False
        state.next_offset[partition] = offset + 1
        return True

    def _note(self, kind: Kind, topic: str, place: Place, detail: str = "") -> None:
        self._found.append(Problem(kind, topic, place, detail))
