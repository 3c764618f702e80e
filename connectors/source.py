"""What a connector's source gives to the runner, and the protocol it follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from exchange.block import WriteBlock
from exchange.change import Op, Position, Rejected
from exchange.position import SourcePosition
from exchange.snapshot_orders import SnapshotOrder

LARGEST_RECORD_BYTES: Final = 1_000_000
"""Key and value together. Topics take batches of 1,048,576 bytes; the rest is for what goes round them."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A table as it is from some change on: the Avro schemas that its records are written with.

    Compared by identity: each new shape is registered before its first record is written.
    """

    table: str
    key_schema: dict[str, Any]
    value_schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Framing:
    """What goes round the Avro bytes of one shape's records, and the topic they go to."""

    topic: str
    partitions: int
    key_prefix: bytes
    value_prefix: bytes


Frame = Callable[[Shape], Framing]
"""Registers a shape's schemas, and returns the framing of its records."""


@dataclass(frozen=True, slots=True)
class ForView:
    """Marks a record for one view of its resource; workers before plan `plan_version` wait for that."""

    number: int
    plan_version: int


@dataclass(slots=True)
class Captured:
    """One record for a raw topic: Avro bytes without the wire format's prefix.

    key: None stands for every partition (TRUNCATE, and the announcement of rows for one view);
    `position.part` then becomes the partition's number.
    for_view: set on what is for one view alone.
    rejected: set when the change cannot be written to the raw topic; `value` is then JSON with the source's
    own texts, for the steward's eyes alone.
    """

    shape: Shape
    position: Position
    op: Op
    source_ms: int
    key: bytes | None
    value: bytes
    rejected: Rejected | None = None
    for_view: ForView | None = None


@dataclass(slots=True)
class Batch:
    """Changes that go to Kafka in one transaction, and the position that holds once they are there.

    changes: in the source's order; a block holds records as they go to their raw topics, framed, each with
    its `x-exchange` header; the next read fills it anew. more: the source went on when the batch ended.
    halted: tables that are not captured while the others are, and why.
    snapshot: how an incremental snapshot gets on, by name, for the heartbeat; empty when there is none.
    receipts: topic, key and value of further records, which say what was pushed; see connectors/receipts.py.
    """

    changes: Sequence[Captured | WriteBlock] = ()
    position: SourcePosition | None = None
    more: bool = False
    halted: Mapping[str, str] = field(default_factory=dict)
    snapshot: Mapping[str, int | str] = field(default_factory=dict)
    receipts: Sequence[tuple[str, bytes, bytes]] = ()

    @property
    def count(self) -> int:
        """How many records there are."""
        return sum(len(change) if isinstance(change, WriteBlock) else 1 for change in self.changes)


@dataclass(frozen=True, slots=True)
class Retained:
    """What a source's server keeps for its connector at this moment.

    figures: for the heartbeat, by name. alarm: what is wrong and what a person can do, empty if all is well.
    urgent: somebody must act now. past_limit: the topology's limit is reached.
    """

    figures: Mapping[str, int | str]
    alarm: str = ""
    urgent: bool = False
    past_limit: bool = False


class Watch(Protocol):
    """Looks at a source from beside its stream: (look)* → (release) → close, in one thread at a time."""

    def look(self) -> Retained:
        """Return what the server keeps for us now.

        Raises: TransientError when the source is away; SourceError when it refuses.
        """

    def release(self) -> None:
        """Have the server forget what it keeps for us: changes are lost to the bus, not to the department.

        Raises: TransientError while the stream still holds it, and when the source is away: try again.
        """

    def close(self) -> None:
        """Give up connections. May be called twice."""


@runtime_checkable
class TakesOrders(Protocol):
    """A source that can read one table again while its stream goes on."""

    def obey(self, order: SnapshotOrder) -> None:
        """Take an order in, between two reads; the same one again changes nothing."""


class Source(Protocol):
    """open → (read → acknowledge)* → close.

    After a batch with `more` the next read may come before that batch is acknowledged.
    A failed transaction ends the round: the runner closes the source and opens a new one at the position that
    it reads back from Kafka. Every method may raise TransientError (wait, then a new round) or SourceError
    (a person must act).
    """

    def open(self, stored: SourcePosition | None) -> None:
        """Go to the position that Kafka holds, None the first time. Called once.

        Raises: GapError when the source cannot give every change after that position.
        """

    def read(self) -> Batch:
        """Return the next changes in the source's order, and the position of the *last* of them.

        Blocks about a second at most, then returns an empty batch. Its position may be later than the one
        before even without changes: the source's log went on with nothing for us in it.
        """

    def acknowledge(self, position: SourcePosition) -> None:
        """Everything up to `position` is committed in Kafka; the source may forget it. Never out of order."""

    def close(self) -> None:
        """Give up connections; what was not acknowledged stays at the source. May be called twice."""
