"""The transaction stage: one round, one transaction, and nothing of a round that failed."""

from __future__ import annotations

import threading

import pytest

from exchange.block import WriteBlock
from streams import stage as stage_module
from streams.breaker import Breaker
from streams.rounds import Round
from streams.spare import SpareBlocks
from streams.stage import Stage
from streams.transaction import Fatal, Replay
from tests.unit.streams.fakes import A0, A1, B0, FakeOutbox, FakePipeline, a_round


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_FAILURE_PAUSE_S", 0)


class Rig:
    def __init__(self, outbox: FakeOutbox | None = None, *, accept_refusals: bool = False) -> None:
        self.outbox = outbox or FakeOutbox()
        self.pipeline = FakePipeline()
        self.fatal: list[BaseException] = []
        breaker = Breaker(accept_refusals=accept_refusals)
        self.stage = Stage(self.outbox.as_outbox(), self.pipeline, breaker, self.fatal.append)

    def run(self, rnd: Round) -> Round:
        for batch in rnd.batches:
            self.stage.handle(batch)
        rnd.wait(10)
        return rnd


def committed(rnd: Round) -> bool:
    assert rnd.outcome is not None
    return rnd.outcome.committed


def test_a_round_is_one_transaction_in_the_promised_order() -> None:
    rig = Rig()
    rnd = rig.run(a_round(A0=range(3, 6), A1=range(7, 8)))
    assert rig.outbox.steps == [
        ("begin",),
        ("offsets", {A0: 6, A1: 8}, "member 1"),
        ("write", 3),
        ("write", 1),
        ("accounts", 3, 1),
        ("commit",),
    ]
    assert committed(rnd)


def test_written_blocks_are_used_again_once_written_and_hold_nothing_of_the_round_before() -> None:
    rig = Rig()
    for count in (5, 2):
        rnd = rig.run(a_round(A0=range(count), A1=range(1)))
        assert committed(rnd)
    written = [step[1] for step in rig.outbox.steps if step[0] == "write"]
    assert written == [5, 1, 2, 1]
    rooms = [id(room) for room in rig.pipeline.rooms]
    assert set(rooms[2:]) == set(rooms[:2])
    assert len(set(rooms[:2])) == 2  # never one that is still to be written


class TooEarly(SpareBlocks):
    """Hands out a block that is still to be written."""

    def __init__(self) -> None:
        super().__init__(1)
        self._only = WriteBlock()

    def take(self) -> WriteBlock:
        return self._only


def test_a_block_used_again_too_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    monkeypatch.setattr(rig.stage, "_spare", TooEarly())
    rig.run(a_round(A0=range(5), A1=range(1)))
    written = [step[1] for step in rig.outbox.steps if step[0] == "write"]
    assert written != [5, 1]


def test_spare_blocks_have_no_more_room_than_they_may() -> None:
    spare, blocks = SpareBlocks(250), [WriteBlock() for _ in range(3)]
    for block in blocks:
        block.reserve(1, 100)
        spare.keep(block)
    assert [spare.take() for _ in range(3)][:2] == blocks[:0:-1]
    huge = WriteBlock()
    huge.reserve(1, 251)
    spare.keep(huge)
    assert spare.take() is not huge


def test_a_block_that_was_not_written_is_not_used_again() -> None:
    rig = Rig(FakeOutbox(write=Replay()))
    assert not committed(rig.run(a_round(A0=range(3))))
    rig.outbox.is_open = False
    rig.outbox.steps.clear()
    assert committed(rig.run(a_round(A0=range(2))))
    assert ("write", 2) in rig.outbox.steps
    assert rig.pipeline.rooms[0] is not rig.pipeline.rooms[1]


def test_a_round_that_must_be_read_again_says_so_and_the_next_one_begins_anew() -> None:
    for step in ("begin", "offsets", "write", "accounts", "commit"):
        rig = Rig(FakeOutbox(**{step: Replay()}))
        assert not committed(rig.run(a_round(A0=range(3))))
        rig.outbox.is_open = False  # the real one has aborted before it raises
        rig.outbox.steps.clear()
        assert committed(rig.run(a_round(A0=range(3))))
        assert rig.outbox.names() == ["begin", "offsets", "write", "accounts", "commit"]


def test_an_error_nobody_foresaw_aborts_and_replays() -> None:
    rig = Rig(FakeOutbox(commit=RuntimeError()))
    assert not committed(rig.run(a_round(A0=range(3))))
    assert rig.outbox.names()[-1] == "abort"
    assert rig.fatal == []


def test_five_failures_in_a_row_end_the_worker_but_not_five_with_a_success_between() -> None:
    rig = Rig()
    for number in range(9):
        if number != 4:
            rig.outbox._fails["commit"] = RuntimeError()
        rig.run(a_round(A0=range(3)))
    assert rig.fatal == []
    rig.outbox._fails["commit"] = RuntimeError()
    rig.run(a_round(A0=range(3)))
    assert len(rig.fatal) == 1


def test_a_fatal_error_ends_the_worker_and_the_round() -> None:
    rig = Rig(FakeOutbox(commit=Fatal("fenced")))
    assert not committed(rig.run(a_round(A0=range(3))))
    assert [str(error) for error in rig.fatal] == ["fenced"]


def test_what_precedes_a_halt_is_committed_with_the_other_partitions() -> None:
    rig = Rig()
    rig.pipeline.halt_at = 5
    rnd = rig.run(a_round(A0=range(3, 9), B0=range(2)))
    assert rnd.offsets == {A0: 5, B0: 2}
    assert rnd.outcome is not None
    assert committed(rnd)
    assert rnd.outcome.halted[A0].offset == 5


def test_a_halt_at_the_first_record_commits_nothing_for_its_partition() -> None:
    rig = Rig()
    rig.pipeline.halt_at = 3
    rnd = rig.run(a_round(A0=range(3, 9)))
    assert committed(rnd)
    assert rig.outbox.steps == []


def test_a_batch_that_breaks_the_pipeline_halts_its_partition_alone() -> None:
    rig = Rig()
    rig.pipeline.raise_at = 5
    rnd = rig.run(a_round(A0=range(3, 9), B0=range(2)))
    assert rnd.offsets == {B0: 2}
    assert rnd.outcome is not None
    assert rnd.outcome.halted[A0].offset == 3
    assert "RuntimeError" in rnd.outcome.halted[A0].reason


def test_a_discarded_round_is_aborted_and_its_remaining_batches_are_skipped() -> None:
    rig = Rig()
    rnd = a_round(A0=range(3), A1=range(3))
    rig.stage.handle(rnd.batches[0])
    rig.stage.discard([rnd])
    rig.stage.handle(rnd.batches[1])
    rig.stage.close()
    assert rig.outbox.names() == []
    assert not committed(rnd)


def test_a_new_plan_is_taken_between_rounds_never_inside_one() -> None:
    rig = Rig()
    rnd = a_round(A0=range(3), A1=range(3))
    rig.stage.handle(rnd.batches[0])
    newer = FakePipeline(plan_version=2)
    rig.stage.replace_pipeline(newer)
    rig.stage.handle(rnd.batches[1])
    assert newer.seen == []
    rig.run(a_round(A0=range(3, 6)))
    assert newer.seen == [(A0, 6)]
    assert rig.stage.plan_version == 2


def test_a_topic_that_is_mostly_refused_is_halted_and_others_are_not() -> None:
    rig = Rig()
    rig.pipeline.refuse = True
    assert committed(rig.run(a_round(A0=range(500))))
    rig.pipeline.refuse = False
    rnd = rig.run(a_round(A0=range(500, 510), A1=range(5), B0=range(5)))
    assert rnd.offsets == {B0: 5}
    assert rnd.outcome is not None
    assert {tp: halt.retry_after_s for tp, halt in rnd.outcome.halted.items()} == {A0: None, A1: None}
    assert "--accept-refusals" in rnd.outcome.halted[A0].reason


def test_refusals_can_be_accepted() -> None:
    rig = Rig(accept_refusals=True)
    rig.pipeline.refuse = True
    rig.run(a_round(A0=range(500)))
    assert rig.run(a_round(A0=range(500, 510))).offsets == {A0: 510}


def test_few_refusals_or_few_records_do_not_halt_a_topic() -> None:
    rig = Rig()
    rig.pipeline.refuse = True
    rig.run(a_round(A0=range(250)))
    rig.pipeline.refuse = False
    rig.run(a_round(A0=range(250, 500)))
    assert rig.run(a_round(A0=range(500, 510))).offsets == {A0: 510}


def test_figures_count_what_was_committed_only() -> None:
    rig = Rig(FakeOutbox(commit=Replay()))
    rig.run(a_round(A0=range(3)))
    assert (rig.stage.figures.records, rig.stage.figures.replays) == (0, 1)
    rig.run(a_round(A0=range(3)))
    assert (rig.stage.figures.records, rig.stage.figures.rounds) == (3, 1)


class SlowOutbox(FakeOutbox):
    """Its commit waits until it is let through."""

    def __init__(self, **fails: Exception) -> None:
        super().__init__(**fails)
        self.reached, self.may_go_on = threading.Event(), threading.Event()

    def commit(self) -> None:
        self.reached.set()
        self.may_go_on.wait(10)
        super().commit()


def two_rounds(outbox: SlowOutbox) -> tuple[Rig, Round, Round]:
    """Return two rounds, the second processed while the first is being committed."""
    rig = Rig(outbox)
    first = a_round(A0=range(3))
    rig.stage.handle(first.batches[0])
    assert outbox.reached.wait(10)
    second = a_round(first, A0=range(3, 6))
    rig.stage.handle(second.batches[0])
    assert second.is_processed
    assert not second.is_settled
    return rig, first, second


def test_a_round_is_processed_while_the_one_before_commits_and_committed_after_it() -> None:
    outbox = SlowOutbox()
    _, first, second = two_rounds(outbox)
    assert outbox.names() == ["begin", "offsets", "write", "accounts"], (
        "nothing of the second one is written yet"
    )
    outbox.may_go_on.set()
    second.wait(10)
    assert committed(first)
    assert committed(second)
    assert [step[1] for step in outbox.steps if step[0] == "offsets"] == [{A0: 3}, {A0: 6}]


def test_a_round_after_one_that_failed_is_never_committed() -> None:
    outbox = SlowOutbox(commit=Replay())
    _, first, second = two_rounds(outbox)
    outbox.may_go_on.set()
    second.wait(10)
    assert not committed(first)
    assert not committed(second)
    assert outbox.names().count("begin") == 1


def test_nothing_is_committed_once_discarding_has_returned() -> None:
    outbox = SlowOutbox()
    rig, first, second = two_rounds(outbox)
    thread = threading.Thread(target=rig.stage.discard, args=([first, second],))
    thread.start()
    outbox.may_go_on.set()
    thread.join(10)
    steps = list(outbox.steps)
    rig.stage.close()
    assert outbox.steps == steps
    assert committed(first), "its commit was in progress"
    assert outbox.names().count("commit") == 1 + committed(second)
