"""The transaction stage: what becomes of a round, and the thread that owns the transactional producer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Final, Protocol

from exchange import log
from exchange.account import Account
from exchange.block import WriteBlock
from exchange.process import Processed
from streams.breaker import Breaker
from streams.rounds import Batch, Halted, Round
from streams.spare import SpareBlocks
from streams.transaction import Fatal, Outbox, Replay

HALT_RETRY_S: Final = 5.0
_MAX_FAILURES: Final = 5
"""Rounds that may fail to commit one after the other before the process ends, to be started anew."""
_FAILURE_PAUSE_S: Final = 0.2
_MAX_SPARE_BYTES: Final = 64 * 1024 * 1024
"""Two rounds, of which either may become the poller's _MAX_WRITTEN_BYTES, and some room that is too much."""

_log = log.get(__name__)


class Pipeline(Protocol):
    """What turns a batch into outputs; replaced as a whole when a new plan is published."""

    plan_version: int

    def process(self, batch: Batch, outgoing: WriteBlock) -> Processed:
        """Judge, mask and account for a batch; pure but for schema look-ups.

        outgoing: an empty block for what is to be written.
        """


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
    """What the stage knows of a round."""

    round: Round
    began: float = field(default_factory=time.monotonic)
    outgoing: list[WriteBlock] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)


class Stage:
    """Takes the batches of one round after the other and commits each round as one transaction.

    1 process every batch, under the newest plan
    2 when the round before is committed: begin
    3 send the next offsets, under the group membership the records were read with
    4 produce every output, and the accounts of what was done
    5 commit: all of 3 and 4, or nothing

    Step 1 runs in the caller's thread, and the others in one of the stage's own, so that a round is processed
    while the one before is being committed. A round that does not get through leaves nothing visible and is
    read again, with the one processed after it. No exception leaves `handle`: Faust acknowledges an event
    even when its agent raised.
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
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._work: _Work | None = None
        self._failures = 0
        self._spare = SpareBlocks(_MAX_SPARE_BYTES)

    @property
    def plan_version(self) -> int:
        """Version of the plan the next batch is processed under."""
        return self._pipeline.plan_version

    def replace_pipeline(self, pipeline: Pipeline) -> None:
        """Use another plan from the next round on. Called from any thread."""
        self._next_pipeline = pipeline

    def handle(self, batch: Batch) -> None:
        """Take one batch of a round; with the last one the round goes on to its commit.

        Called from one thread. Not waited for is the commit: who hands over rounds says how many may wait.
        """
        rnd = batch.round
        if rnd.is_settled:
            return
        try:
            self._take(batch)
        except Exception as error:
            with self._lock:
                self._fail(rnd, error)
            return
        if batch.is_last:
            work, self._work = self._start(rnd), None
            self._breaker.count(work.accounts)
            rnd.processed()
            self._committer.submit(self._conclude, work)

    def move_on(self, rnd: Round) -> None:
        """Commit the offsets of a round without records. Called from any thread."""
        rnd.processed()
        self._committer.submit(self._conclude, _Work(rnd))

    def discard(self, rounds: Sequence[Round]) -> None:
        """Abort what is open and end the rounds unfinished; on return nothing of them can be committed.

        Called from the poller's thread while partitions are taken away; waits for a commit in progress.
        """
        with self._lock:
            for rnd in rounds:
                rnd.settle(committed=False)
            try:
                self._outbox.abort()
            except Fatal as error:
                self._on_fatal(error)

    def close(self) -> None:
        """Wait for the commit in progress; nothing is committed afterwards."""
        self._committer.shutdown(cancel_futures=True)

    # Processing, in the caller's thread

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
            work.outgoing.append(processed.outgoing)
            batch.round.written_bytes += processed.outgoing.used_bytes
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
            return self._pipeline.process(batch, self._spare.take())
        except Exception as error:
            _log.error("batch_failed", topic=batch.tp.topic, partition=batch.tp.partition, exc_info=error)
            reason = f"processing failed: {log.describe(error)} at {log.where(error)}"
            batch.round.halted[batch.tp] = Halted(batch.first_offset, reason, HALT_RETRY_S)
            return None

    # Committing, in the stage's own thread

    def _conclude(self, work: _Work) -> None:
        with self._lock:
            if not work.round.may_commit:
                work.round.settle(committed=False)
                return
            try:
                self._commit(work)
            except Replay as replay:
                self._fail(work.round, replay)
            except Fatal as error:
                self._end(work.round, error)
            except Exception as error:
                self._abort_and_fail(work.round, error)

    def _commit(self, work: _Work) -> None:
        rnd = work.round
        if rnd.offsets:
            self._outbox.begin()
            self._outbox.send_offsets(rnd.offsets, rnd.group_metadata)
            for block in work.outgoing:
                self._outbox.write(block)
                self._spare.keep(block)
            self._outbox.write_accounts(work.accounts)
            self._outbox.commit()
            if rnd.batches:
                self.figures.add(work)
        self._failures = 0
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
        rnd.settle(committed=False)

    def _end(self, rnd: Round, error: BaseException) -> None:
        rnd.settle(committed=False)
        self._on_fatal(error)
