"""A round: everything one poll brought, the one Kafka transaction it becomes, and how that ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

from exchange.block import ReadBlock


@dataclass(frozen=True, slots=True)
class Halted:
    """Why a partition cannot go on: the record at `offset` cannot be judged now.

    retry_after_s: when to try again; None means not before the worker is started anew.
    """

    offset: int
    reason: str
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a round ended.

    committed: the transaction is in the log; otherwise the consumer goes back to the committed offsets.
    halted: partitions to park at an offset, whichever way the round ended.
    """

    committed: bool
    halted: Mapping[TP, Halted] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Batch:
    """The records of one partition in one round, in offset order, at least one. One Faust event."""

    round: Round
    tp: TP
    records: ReadBlock

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.records.offset(0)

    @property
    def next_offset(self) -> int:
        """Offset after that of the last record."""
        return self.records.offset(-1) + 1

    @property
    def is_last(self) -> bool:
        """True for the batch after which the round can be committed."""
        return self.round.batches[-1] is self


class Round:
    """One poll's records, a batch for each partition.

    The transaction stage adds to `offsets` (next offset to read, per partition) and `halted` as it processes,
    says when that is done, and later settles the round, once. Both are told through `news`.

    after: the round read before this one, if that was still in process: this one may only be committed
    when that one was. ends: next offsets of partitions that have no records in it; without any records at
    all it is processed already.
    """

    def __init__(
        self,
        records: Mapping[TP, ReadBlock],
        group_metadata: Any,
        after: Round | None = None,
        news: threading.Event | None = None,
        ends: Mapping[TP, int] | None = None,
    ) -> None:
        self.batches = tuple(Batch(self, tp, batch) for tp, batch in records.items())
        self.group_metadata = group_metadata
        """As of the assignment the records were read under: a commit for an older one is refused by Kafka."""
        self.offsets: dict[TP, int] = dict(ends or {})
        self.halted: dict[TP, Halted] = {}
        self.busy_s = 0.0
        """Time spent on its records, without the commit, which takes as long for few of them as for many."""
        self.written_bytes = 0
        """Size of what its records became."""
        self.is_processed = False
        """True once `offsets` and `halted` are complete."""
        self.is_followed_up = False
        """True once the poller has parked what was halted; it must do so only once."""
        self.outcome: Outcome | None = None
        self._after = after
        self._news = news
        self._settled = threading.Event()

    @property
    def is_settled(self) -> bool:
        """True once the round has ended, one way or the other."""
        return self._settled.is_set()

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(len(batch.records) for batch in self.batches)

    @property
    def may_commit(self) -> bool:
        """False when it has ended, or when the round before it has not been committed.

        The poller may end the round at this very moment: it is asked last whether it has.
        """
        after = self._after
        is_next = after is None or (after.outcome is not None and after.outcome.committed)
        return is_next and not self.is_settled

    def release(self) -> None:
        """Let the records go, once committed.

        Faust's events keep batches alive until Python looks for cycles: rarely, where no objects are made.
        """
        for batch in self.batches:
            batch.records = ReadBlock()

    def processed(self) -> None:
        """Say that `offsets` and `halted` are complete."""
        self.is_processed = True
        self._tell()

    def settle(self, *, committed: bool) -> None:
        """End the round; only the first call counts."""
        if not self.is_settled:
            self.outcome = Outcome(committed, dict(self.halted))
            self._settled.set()
            self._after = None  # only now: a round that has not ended and has none before it may be committed
            self._tell()

    def wait(self, timeout_s: float) -> Outcome | None:
        """Return the outcome, or None when the round has not ended after `timeout_s`."""
        self._settled.wait(timeout_s)
        return self.outcome

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
