"""What each kind of error does to the open transaction and its producer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from exchange.block import Outgoing, WriteBlock
from exchange.wire.connection import NotSpokenError
from streams import transaction
from streams.transaction import Fatal, Outbox, Replay

FENCED = KafkaException(KafkaError(KafkaError._FENCED, "x", fatal=True))
ABORT = KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, "x", txn_requires_abort=True))
RETRIABLE = KafkaException(KafkaError(KafkaError._TIMED_OUT, "x", retriable=True))
UNKNOWN = KafkaException(KafkaError(KafkaError._STATE, "x"))
BLOCK = WriteBlock()
BLOCK.add(Outgoing("share.a.v", 0, None, b"v", b""))


class FakeProducer:
    """Remembers calls; `plan` holds the errors to raise, by method, in order."""

    plan: dict[str, list[Any]] = {}  # noqa: RUF012 - set anew by each test
    made: list[FakeProducer] = []  # noqa: RUF012

    def __init__(self, _config: dict[str, Any]) -> None:
        self.calls: list[str] = []
        FakeProducer.made.append(self)

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*_arguments: Any) -> None:
            self.calls.append(name)
            errors = FakeProducer.plan.get(name, [])
            if errors:
                error = errors.pop(0)
                if isinstance(error, threading.Event):
                    error.wait(10)
                elif error is not None:
                    raise error

        return call

    def write(self, block: WriteBlock, first: int) -> int:
        """Take one record each time."""
        self.__getattr__("write")()
        return min(first + 1, block.count)


@pytest.fixture
def outbox(monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr(transaction, "first_choice", lambda: FakeProducer)
    monkeypatch.setattr(transaction, "_RETRY_INIT_S", 0)
    FakeProducer.plan, FakeProducer.made = {}, []
    made = Outbox({}, "stream-0", threading.Event())
    made.start()
    return made


def one_round(outbox: Outbox) -> None:
    outbox.begin()
    outbox.send_offsets({}, None)
    outbox.write(BLOCK)
    outbox.commit()


def calls() -> list[list[str]]:
    return [producer.calls for producer in FakeProducer.made]


def test_a_transaction_takes_the_offsets_along_before_it_commits(outbox: Outbox) -> None:
    one_round(outbox)
    whole = ["begin_transaction", "send_offsets_to_transaction", "write", "flush", "commit_transaction"]
    assert calls() == [["init_transactions", *whole]]


def test_a_retriable_commit_is_asked_again(outbox: Outbox) -> None:
    FakeProducer.plan = {"commit_transaction": [RETRIABLE, RETRIABLE]}
    one_round(outbox)
    assert calls()[0].count("commit_transaction") == 3


@pytest.mark.parametrize("step", ["write", "send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.parametrize("error", [ABORT, UNKNOWN, NotSpokenError("CGMDv2")])
def test_after_a_failed_step_a_new_producer_replays_the_round(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception
) -> None:
    monkeypatch.setattr(transaction, "LibrdkafkaProducer", FakeProducer)
    FakeProducer.plan = {step: [error]}
    with pytest.raises(Replay):
        one_round(outbox)
    assert calls()[0][-2:] == [step, "purge"], "nothing more is asked of the old one"
    assert calls()[1] == ["init_transactions"]
    assert not outbox.is_open
    one_round(outbox)
    assert calls()[1][-1] == "commit_transaction"


def test_offsets_that_could_not_be_sent_are_not_sent_again(outbox: Outbox) -> None:
    FakeProducer.plan = {"send_offsets_to_transaction": [RETRIABLE]}
    with pytest.raises(Replay):
        one_round(outbox)
    assert calls()[0].count("send_offsets_to_transaction") == 1
    assert calls()[1] == ["init_transactions"]


def test_an_abort_that_fails_replaces_the_producer(outbox: Outbox) -> None:
    FakeProducer.plan = {"abort_transaction": [UNKNOWN]}
    outbox.begin()
    outbox.abort()
    assert calls()[0][-2:] == ["abort_transaction", "purge"]
    assert calls()[1] == ["init_transactions"]


def test_a_call_that_never_returns_is_an_unknown_outcome(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "_HUNG_S", 0.05)
    hung = threading.Event()
    FakeProducer.plan = {"send_offsets_to_transaction": [hung]}
    with pytest.raises(Replay):
        one_round(outbox)
    hung.set()
    assert calls()[1] == ["init_transactions"]


def test_a_commit_that_stays_without_answer_is_an_unknown_outcome(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "TRANSACTION_TIMEOUT_S", 0)
    FakeProducer.plan = {"commit_transaction": [RETRIABLE]}
    with pytest.raises(Replay):
        one_round(outbox)
    assert calls()[1] == ["init_transactions"]


def test_a_fenced_producer_is_fatal(outbox: Outbox) -> None:
    FakeProducer.plan = {"commit_transaction": [FENCED]}
    with pytest.raises(Fatal, match="_FENCED"):
        one_round(outbox)
    assert len(calls()) == 1, "a fenced producer is not replaced: that would fence the other one back"


def test_what_found_no_room_is_written_in_turn(outbox: Outbox) -> None:
    outbox.begin()
    block = WriteBlock()
    for _ in range(3):
        block.add(Outgoing("share.a.v", 0, None, b"v", b""))
    outbox.write(block)
    assert calls()[0].count("write") == 3


def test_a_kafka_that_is_too_old_is_left_to_librdkafka(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "LibrdkafkaProducer", FakeProducer)
    FakeProducer.plan = {"init_transactions": [NotSpokenError("EndTxn version 5")]}
    outbox.start()
    one_round(outbox)
    assert calls()[2][-1] == "commit_transaction"


def test_starting_goes_on_until_kafka_accepts_the_producer(outbox: Outbox) -> None:
    FakeProducer.plan = {"init_transactions": [UNKNOWN, UNKNOWN]}
    outbox.start()
    assert len(calls()) == 4
