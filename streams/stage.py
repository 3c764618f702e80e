"""The transaction stage: what becomes of a round, in the one thread that owns the transactional producer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Final, Protocol

from exchange import log
from exchange.account import Account
from exchange.process import Processed
from streams.breaker import Breaker
from streams.rounds import Batch, Halted, Round
from streams.transaction import Fatal, Outbox, Replay

HALT_RETRY_S: Final = 5.0
_MAX_FAILURES: Final = 5
"""Rounds that may fail to commit one after the other before the process ends, to be started anew."""
_FAILURE_PAUSE_S: Final = 0.2

_log = log.get(__name__)


class Pipeline(Protocol):
    """What turns a batch into outputs; replaced as a whole when a new plan is published."""

    plan_version: int

    def process(self, batch: Batch) -> Processed:
        """Judge, mask and account for a batch; pure but for schema look-ups."""


@dataclass(slots=True)
class Figures:
    """What this worker has committed since it started, for its heartbeat."""

    rounds: int = 0
    records: int = 0
    delivered: int = 0
    filtered: int = 0
    refused: int = 0
    replays: int = 0
    last_commit_ms: int = 0
    round_ms: float = 0.0
    """Time from the first batch to the commit, averaged over some twenty rounds."""

    def as_dict(self) -> dict[str, float]:
        """Return them by name."""
        return {name: round(figure, 1) for name, figure in asdict(self).items()}

    def add(self, rnd: _Work) -> None:
        """Count a committed round."""
        self.rounds += 1
        self.last_commit_ms = int(time.time() * 1000)
        self.round_ms += (1000 * (time.monotonic() - rnd.began) - self.round_ms) / min(self.rounds, 20)
        for account in rnd.accounts:
            self.records += account.changes + account.foreign
            self.delivered += sum(view.delivered for view in account.views.values())
            self.filtered += sum(view.filtered for view in account.views.values())
            self.refused += sum(account.refused.values()) + account.foreign


@dataclass(slots=True)
class _Work:
    """What the stage knows of the round it is at."""

    round: Round
    began: float = field(default_factory=time.monotonic)
    accounts: list[Account] = field(default_factory=list)


class Stage:
    """Takes the batches of one round after the other and commits each round as one transaction.

    1 begin with the first output, under the newest plan
    2 produce every output of every batch
    3 produce the accounts of what was done
    4 send the next offsets, under the group membership the records were read with
    5 commit

    A round that does not get through leaves nothing visible and is read again. No exception leaves `handle`:
    Faust acknowledges an event even when its agent raised.
    """

    def __init__(
        self, outbox: Outbox, pipeline: Pipeline, breaker: Breaker, on_fatal: Callable[[BaseException], None]
    ) -> None:
        self.figures = Figures()
        self._outbox = outbox
        self._pipeline = pipeline
        self._next_pipeline: Pipeline | None = None
        self._breaker = breaker
        self._on_fatal = on_fatal
        self._lock = Lock()
        self._work: _Work | None = None
        self._failures = 0

    @property
    def plan_version(self) -> int:
        """Version of the plan the next batch is processed under."""
        return self._pipeline.plan_version

    def replace_pipeline(self, pipeline: Pipeline) -> None:
        """Use another plan from the next round on. Called from any thread."""
        self._next_pipeline = pipeline

    def handle(self, batch: Batch) -> None:
        """Take one batch of a round; with the last one the round is committed. Called from one thread."""
        with self._lock:
            if batch.round.is_settled:
                return
            try:
                self._take(batch)
                if batch.is_last:
                    self._commit(batch.round)
            except Replay as replay:
                self._fail(batch.round, replay)
            except Fatal as error:
                self._end(batch.round, error)
            except Exception as error:
                self._abort_and_fail(batch.round, error)

    def discard(self, rnd: Round | None) -> None:
        """Abort what is open and end the round unfinished; on return nothing of it can be committed.

        Called from the poller's thread while partitions are taken away; waits for the step in progress.
        """
        with self._lock:
            if rnd is not None:
                rnd.settle(committed=False)
            try:
                self._outbox.abort()
            except Fatal as error:
                self._on_fatal(error)

    def _take(self, batch: Batch) -> None:
        began = time.monotonic()
        self._put_through(batch)
        batch.round.busy_s += time.monotonic() - began

    def _put_through(self, batch: Batch) -> None:
        work = self._start(batch.round)
        if (halted := self._breaker.halted(batch.tp, batch.first_offset)) is not None:
            batch.round.halted[batch.tp] = halted
            return
        processed = self._process(batch)
        if processed is None:
            return
        if processed.outgoing:
            if not self._outbox.is_open:
                self._outbox.begin()
            self._outbox.write(processed.outgoing)
        work.accounts += processed.accounts
        if processed.next_offset > batch.first_offset:
            batch.round.offsets[batch.tp] = processed.next_offset
        if processed.halt is not None:
            batch.round.halted[batch.tp] = Halted(processed.halt.offset, processed.halt.reason, HALT_RETRY_S)

    def _start(self, rnd: Round) -> _Work:
        if self._work is None or self._work.round is not rnd:
            self._work = _Work(rnd)
            if self._next_pipeline is not None:
                self._pipeline, self._next_pipeline = self._next_pipeline, None
                _log.info("plan_taken", plan_version=self._pipeline.plan_version)
        return self._work

    def _process(self, batch: Batch) -> Processed | None:
        """Process a batch; a failure of our own halts its partition and leaves the others alone."""
        try:
            return self._pipeline.process(batch)
        except Exception as error:
            _log.error("batch_failed", topic=batch.tp.topic, partition=batch.tp.partition, exc_info=error)
            reason = f"processing failed: {log.describe(error)} at {log.where(error)}"
            batch.round.halted[batch.tp] = Halted(batch.first_offset, reason, HALT_RETRY_S)
            return None

    def _commit(self, rnd: Round) -> None:
        work = self._start(rnd)
        if rnd.offsets:
            if not self._outbox.is_open:
                self._outbox.begin()
            self._outbox.write_accounts(work.accounts)
            self._outbox.commit(rnd.offsets, rnd.group_metadata)
            self.figures.add(work)
            self._breaker.count(work.accounts)
        self._failures = 0
        self._work = None
        rnd.settle(committed=True)

    def _abort_and_fail(self, rnd: Round, error: Exception) -> None:
        try:
            self._outbox.abort()
        except Fatal as fatal:
            self._end(rnd, fatal)
        else:
            self._fail(rnd, error)

    def _fail(self, rnd: Round, error: Exception) -> None:
        """Have the round read again, unless too many failed in a row."""
        self._failures += 1
        self.figures.replays += 1
        _log.warning("round_replayed", exc_info=error)
        if self._failures >= _MAX_FAILURES:
            self._end(rnd, error)
            return
        time.sleep(_FAILURE_PAUSE_S)
        self._work = None
        rnd.settle(committed=False)

    def _end(self, rnd: Round, error: BaseException) -> None:
        self._work = None
        rnd.settle(committed=False)
        self._on_fatal(error)
