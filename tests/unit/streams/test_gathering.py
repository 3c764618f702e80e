"""When the poller hands rounds over, and what it does when one of them fails; no Kafka is needed for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from faust.types import TP

from exchange.blockio import ReadError, Reading
from streams import poller as poller_module
from streams.poller import Poller
from streams.rounds import Halted, Round
from tests.unit.streams.fakes import A0, A1, block


class FakeConsumer:
    """Notes seeks and pauses; offset 0 of everything is committed unless the test says otherwise."""

    def __init__(self, _config: Any) -> None:
        self.steps: list[tuple[str, Any]] = []
        self.offsets: dict[TP, int] = {}

    def seek(self, at: TopicPartition) -> None:
        self.steps.append(("seek", (TP(at.topic, at.partition), at.offset)))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.steps += [("pause", TP(at.topic, at.partition)) for at in partitions]

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.steps += [("resume", TP(at.topic, at.partition)) for at in partitions]

    def committed(self, asked: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        offsets = [(at, self.offsets.get(TP(at.topic, at.partition), 0)) for at in asked]
        return [TopicPartition(at.topic, at.partition, offset) for at, offset in offsets]

    def consumer_group_metadata(self) -> str:
        return "member 1"


class FakeBlocks:
    """Hands out what the test prepared, one part a read."""

    def __init__(self, consumer: FakeConsumer) -> None:
        self.consumer = consumer
        self.coming: list[Reading] = []
        self.forwarded: list[TP] = []

    def assign(self, positions: Sequence[TopicPartition]) -> None:
        """Nothing is assigned."""

    def forward(self, partitions: Sequence[TopicPartition]) -> None:
        self.forwarded += [TP(at.topic, at.partition) for at in partitions]

    def read(self, into: Reading, _max_records: int, _max_bytes: int, _wait_s: float) -> None:
        if not self.coming:
            return
        part = self.coming.pop(0)
        for at, records in part.blocks.items():
            for record in records:
                into.blocks.setdefault(at, block(())).add(record)
        into.errors += part.errors
        into.records += part.records
        into.strays |= part.strays


class Listening:
    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.revoked: list[Round] = []

    def on_assigned(self, assigned: set[TP], generation: int) -> None:
        """Nothing to take in."""

    def on_revoked(self, revoked: set[TP], rounds: Sequence[Round]) -> None:
        self.revoked += rounds

    def on_round(self, rnd: Round) -> None:
        self.rounds.append(rnd)

    def on_failed(self, error: BaseException) -> None:
        raise error


class Rig:
    def __init__(self) -> None:
        self.listener = Listening()
        self.poller = Poller({}, self.listener)
        self.consumer: FakeConsumer = self.poller._consumer  # type: ignore[assignment]
        self.blocks: FakeBlocks = self.poller._blocks  # type: ignore[assignment]
        self.poller._on_assign(self.poller._consumer, [TopicPartition(*A0), TopicPartition(*A1)])
        self.poller._limit = 10

    def turn(self, *coming: Reading) -> list[Round]:
        """Let the poller gather once; return the rounds that it has handed over so far."""
        self.blocks.coming += coming
        self.poller._turn()
        return self.listener.rounds


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(poller_module, "Consumer", FakeConsumer)
    monkeypatch.setattr(poller_module, "BlockConsumer", FakeBlocks)
    return Rig()


def came(offsets: range, tp: TP = A0, **more: Any) -> Reading:
    return Reading({(tp.topic, tp.partition): block(offsets)}, records=len(offsets), **more)


def offsets(rnd: Round) -> dict[TP, list[int]]:
    return {batch.tp: [record.offset for record in batch.records] for batch in rnd.batches}


def test_few_records_are_handed_over_at_once_when_nothing_is_in_process(rig: Rig) -> None:
    assert [offsets(rnd) for rnd in rig.turn(came(range(2)))] == [{A0: [0, 1]}]


def test_few_records_wait_for_the_round_before_and_grow_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rig.turn(came(range(2)))[0]
    first.processed()
    rig.blocks.coming += [came(range(2, 3)), came(range(3, 4)), came(range(4, 5))]
    read, left = rig.blocks.read, [1, 2, 3]

    def settle_at_last(*arguments: Any) -> None:
        read(*arguments)
        left.pop()
        if not left:
            first.settle(committed=True)

    monkeypatch.setattr(rig.blocks, "read", settle_at_last)
    assert offsets(rig.turn()[1]) == {A0: [2, 3, 4]}


def test_a_full_round_is_handed_over_while_the_one_before_commits_but_no_third(rig: Rig) -> None:
    first = rig.turn(came(range(10)))[0]
    first.processed()
    second = rig.turn(came(range(10, 20)))[1]
    assert not first.is_settled
    assert not second.may_commit
    second.processed()
    third = came(range(20, 320))
    assert not rig.poller._is_due(third)
    first.settle(committed=True)
    assert second.may_commit
    assert len(rig.turn(third)) == 3


def test_a_round_that_is_being_dropped_may_not_be_committed_at_any_moment() -> None:
    """The poller drops it in its thread while the committer asks in another, right after the first failed."""
    first = Round({A0: block(range(3))}, "member 1")
    second = Round({A0: block(range(3, 6))}, "member 1", first)
    first.settle(committed=False)
    asked = []

    class Asked(Round):
        def __setattr__(self, name: str, value: object) -> None:
            asked.append(second.may_commit)
            super().__setattr__(name, value)
            asked.append(second.may_commit)

    second.__class__ = Asked
    second.settle(committed=False)
    assert len(asked) >= 4
    assert not any(asked)


def test_nothing_is_read_from_before_what_this_worker_committed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.positions._ASK_AGAIN_S", 0)
    first = rig.turn(came(range(3)))[0]
    first.offsets = {A0: 3}
    first.processed()
    first.settle(committed=True)
    second = rig.turn(came(range(3, 6)))[1]
    answers = [{A0: 0}, {A0: 2}, {A0: 3}]

    def committed(asked: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        rig.consumer.offsets = answers.pop(0)
        return FakeConsumer.committed(rig.consumer, asked, timeout)

    monkeypatch.setattr(rig.consumer, "committed", committed)
    second.settle(committed=False)
    rig.turn(came(range(6, 9)))
    assert answers == []
    assert ("seek", (A0, 3)) in rig.consumer.steps
    assert [at for step, at in rig.consumer.steps if step == "seek" and at[0] == A0] == [(A0, 3)]


def test_a_round_that_failed_takes_what_was_read_after_it_along(rig: Rig) -> None:
    rig.consumer.offsets = {A0: 5, A1: 7}
    first = rig.turn(came(range(10)))[0]
    first.processed()
    second = rig.turn(came(range(10, 20)))[1]
    first.settle(committed=False)
    assert len(rig.turn(came(range(20, 30)))) == 2, "what was gathered is dropped"
    assert second.outcome is not None
    assert not second.outcome.committed
    assert sorted(rig.consumer.steps) == [("seek", (A0, 5)), ("seek", (A1, 7))]
    assert [offsets(rnd) for rnd in rig.turn(came(range(5, 8)))[2:]] == [{A0: [5, 6, 7]}]


def test_what_a_round_halted_is_parked_before_the_next_one_and_only_once(rig: Rig) -> None:
    first = rig.turn(came(range(10)))[0]
    first.halted[A0] = Halted(4, "cannot be judged", 60.0)
    first.processed()
    both = came(range(10, 20))
    both.blocks[A1.topic, A1.partition] = block(range(3))
    assert offsets(rig.turn(both)[1]) == {A1: [0, 1, 2]}
    first.settle(committed=True)
    assert rig.poller._follow_up()
    assert rig.consumer.steps == [("pause", A0), ("seek", (A0, 4))]


def test_a_round_that_is_processed_at_the_last_moment_is_looked_at_before_the_next_goes_out(rig: Rig) -> None:
    """Another thread may process it between seeing what became of it and asking whether one is due."""
    first = rig.turn(came(range(10)))[0]
    first.halted[A0] = Halted(4, "cannot be judged", 60.0)
    assert rig.poller._follow_up()
    first.processed()
    assert not rig.poller._is_due(came(range(10, 20)))
    assert rig.poller._follow_up()
    assert rig.poller._is_due(came(range(10, 20)))
    assert rig.consumer.steps == [("pause", A0), ("seek", (A0, 4))]


def test_records_that_strayed_are_read_again_by_the_right_way(rig: Rig) -> None:
    first = rig.turn(came(range(3)))[0]
    first.processed()
    first.settle(committed=True)
    assert len(rig.turn(came(range(3, 6), strays=True))) == 1
    assert sorted(rig.blocks.forwarded) == [A0, A1]
    assert sorted(rig.consumer.steps) == [("seek", (A0, 0)), ("seek", (A1, 0))]


def test_ends_of_partitions_come_with_the_records_before_them(rig: Rig) -> None:
    end = ReadError(*A0, 3, KafkaError(KafkaError._PARTITION_EOF))
    rnd = rig.turn(came(range(3), errors=[end]))[0]
    assert rig.poller.progress[A0].reached == 0
    rnd.offsets[A0] = 3
    rnd.processed()
    rnd.settle(committed=True)
    rig.turn()
    assert rig.poller.progress[A0].reached == 3


def test_revoked_partitions_take_every_round_in_process_with_them(rig: Rig) -> None:
    rig.turn(came(range(10)))[0].processed()
    rig.turn(came(range(10, 20)))
    rig.poller._on_revoke(rig.poller._consumer, [TopicPartition(*A0), TopicPartition(*A1)])
    assert rig.listener.revoked == rig.listener.rounds
    assert rig.turn() == rig.listener.rounds, "nothing more is handed over"
