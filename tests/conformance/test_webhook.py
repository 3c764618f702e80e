"""What a webhook promises beyond other sinks: order over refusals, the same id again, an end when gone."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exchange.commands.parked import list_parked, redrive
from tests.conformance import struck_sink
from tests.conformance.feed import EMPTY, FULL, PARTITIONS
from tests.conformance.sink_harness import WebhookSinkSubject
from tests.stack import Stack, wait_for

STRUCK = str(Path(struck_sink.__file__))
PATIENT = (STRUCK, "no-fault", "0", "webhook")
"""The delivery itself, but a halted view is tried again after a second."""
_names = itertools.count()


@pytest.fixture
def subject(stack: Stack) -> Iterator[WebhookSinkSubject]:
    made = WebhookSinkSubject(stack, f"hook{next(_names)}", ("person", "other"))
    yield made
    made.close()


def feed(subject: WebhookSinkSubject, keys: range, view: str = "person") -> None:
    with subject.feeds[view].transaction():
        for key in keys:
            subject.feeds[view].put(key, FULL)


def test_what_is_refused_for_now_is_sent_again_before_all_that_follows(subject: WebhookSinkSubject) -> None:
    statuses = itertools.chain([200, 500, 503, 429, 200, 200, 500], itertools.repeat(200))
    asked_at: list[float] = []

    def answer() -> tuple[int, dict[str, str]]:
        asked_at.append(time.monotonic())
        status = next(statuses)
        return status, {"Retry-After": "3"} if status == 429 else {}

    subject.receiver.answer = answer
    feed(subject, range(60))
    with subject.deliverer() as deliverer:
        subject.wait_for_state()
        assert deliverer.stop() == 0

    posted = subject.receiver.posted
    for partition in range(PARTITIONS):  # what was refused would come after what follows it
        records = subject.receiver.accepted(subject.views["person"])
        offsets = [record["offset"] for record in records if record["partition"] == partition]
        assert offsets == sorted(offsets)
    limited = next(index for index, one in enumerate(posted) if one.status == 429)
    assert asked_at[limited + 1] - asked_at[limited] > 2.3
    assert subject.story() == subject.feed.story


def test_killed_between_a_request_and_its_commit_the_same_id_comes_again(
    subject: WebhookSinkSubject,
) -> None:
    feed(subject, range(40))
    with subject.deliverer(STRUCK, "after-write", "1", "webhook") as deliverer:
        assert deliverer.ends() == -signal.SIGKILL
    before = subject.receiver.ids()
    assert before
    with subject.deliverer() as deliverer:
        # The partition that is read first now may be one that the first deliverer did not come to.
        wait_for(lambda: set(before) <= set(subject.receiver.ids()[len(before) :]), "the same ids again", 120)
        subject.wait_for_state()
        assert deliverer.stop() == 0

    bodies = {one.id: one.body for one in subject.receiver.posted}
    assert all(bodies[one.id] == one.body for one in subject.receiver.posted)


def test_a_request_that_is_refused_halts_its_view_alone_and_is_sent_until_it_is_accepted(
    subject: WebhookSinkSubject,
) -> None:
    refusing = True
    person = subject.views["person"]

    def answer() -> tuple[int, dict[str, str]]:
        return (422 if refusing else 200), {}

    with subject.deliverer(*PATIENT) as deliverer:
        subject.receiver.answer = answer
        feed(subject, range(20))
        deliverer.says("delivery_halted")
        wait_for(lambda: len(subject.receiver.ids(422)) > 1, "another try")
        wait_for(lambda: "422" in str(subject.heartbeat().get("halted")), "the reason")
        # Which partition is read first may differ from try to try; each begins at the same record each time.
        tried = {(one.data["partition"], one.data["records"][0]["offset"]) for one in subject.receiver.posted}
        assert len(tried) == len(dict(tried))
        assert all(one.data["view"] == person for one in subject.receiver.posted)
        refusing = False
        feed(subject, range(20, 30))
        feed(subject, range(5), "other")
        subject.wait_for_state()
        subject.wait_for_state("other")
        assert deliverer.stop() == 0

    assert subject.story() == subject.feed.story
    assert "欧阳" not in deliverer.text()


def test_a_receiver_that_is_gone_is_left_alone_until_the_plan_changes(subject: WebhookSinkSubject) -> None:
    gone = subject.views["person"]
    there = subject.receiver

    def answer() -> tuple[int, dict[str, str]]:
        return 410, {}

    with subject.deliverer(*PATIENT) as deliverer:
        there.answer = answer
        feed(subject, range(10))
        deliverer.says("it answers 410")
        there.answer = lambda: (200, {})
        for key in range(30):
            feed(subject, range(key, key + 1), "other")
            subject.wait_for_state("other")
        assert len([one for one in there.posted if one.data["view"] == gone]) == 1, deliverer.text()
        subject.publish()
        subject.wait_for_state()
        assert deliverer.stop() == 0


def test_the_judge_finds_a_refusal_that_was_taken_for_acceptance(subject: WebhookSinkSubject) -> None:
    """Control: the same comparison, with a delivery that does not look at the answer."""
    statuses = itertools.chain([200, 500], itertools.repeat(200))
    subject.receiver.answer = lambda: (next(statuses), {})
    feed(subject, range(60))
    with subject.deliverer(STRUCK, "swallow", "0", "webhook"):
        subject.wait_for_kept(60)
        feed(subject, range(100, 101))
        wait_for(lambda: 100 in (subject.state() or {}), "the last row")

    assert set(subject.feed.state) - set(subject.state() or {})


# --- what is parked ---------------------------------------------------------------------------------------


@pytest.fixture
def parking(subject: WebhookSinkSubject, monkeypatch: pytest.MonkeyPatch) -> WebhookSinkSubject:
    """A receiver that refuses what is named `bad`, and a delivery that parks it after a second."""
    monkeypatch.setenv("EXCHANGE_HOME", str(subject.stack.home))
    subject.park_after_s = 1
    subject.publish()
    subject.receiver.refuses = lambda body: "bad" in map(name_of, body["data"]["records"])
    return subject


def name_of(record: dict[str, Any]) -> str | None:
    return record["after"]["name"] if record["after"] else None


def change(subject: WebhookSinkSubject, *changes: tuple[int, str | None]) -> None:
    """Put rows with a name, delete those without, in one transaction."""
    with subject.feed.transaction():
        for key, name in changes:
            if name is None:
                subject.feed.delete(key)
            else:
                subject.feed.put(key, EMPTY | {"name": name})


def listed(subject: WebhookSinkSubject, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    list_parked(subject.name, as_json=True)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def wait_for_parked(subject: WebhookSinkSubject, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    wait_for(lambda: len(listed(subject, capsys)) == number, f"{number} parked", 300)


def mend(subject: WebhookSinkSubject) -> None:
    subject.receiver.refuses = lambda _: False
    redrive(subject.name)


def counts(subject: WebhookSinkSubject) -> tuple[int, int]:
    """Return how many changes were accounted as delivered, and as refused."""
    accounts = subject.accounts()
    delivered = sum(figures.delivered for one in accounts for figures in one.views.values())
    return delivered, sum(sum(one.refused.values()) for one in accounts)


def figures_of(subject: WebhookSinkSubject, *names: str) -> list[Any]:
    figures = subject.heartbeat().get("figures", {})
    return [figures.get(name) for name in names]


FIRST: list[tuple[int, str | None]] = [(key, f"{key}-first") for key in range(9)]
BAD: list[tuple[int, str | None]] = [
    (3, "bad"),
    (4, "4-second"),
    (3, "3-third"),
    (3, None),
    (5, "5-second"),
    (3, "3-fifth"),
]


def test_a_refused_record_and_its_keys_later_ones_are_parked_and_sent_again_in_order(
    parking: WebhookSinkSubject, capsys: pytest.CaptureFixture[str]
) -> None:
    partition = parking.feed.partition_of(3)
    good, other = [key for key in range(10, 99) if parking.feed.partition_of(key) == partition][:2]
    next_request = [*((good, f"{good}-{number}") for number in range(9)), (other, "bad"), (other, "after it")]
    with parking.deliverer(*PATIENT) as deliverer:
        change(parking, *FIRST)
        wait_for(lambda: len(parking.story()) == len(FIRST), "the first batch")
        change(parking, *BAD, *next_request)
        wait_for_parked(parking, 6, capsys)
        change(parking, (3, "3-sixth"), (6, "6-second"))
        wait_for_parked(parking, 7, capsys)
        wait_for(lambda: "7 records parked" in str(parking.heartbeat().get("alarms")), "the alarm")
        assert figures_of(parking, "parked") == [7]
        shown = listed(parking, capsys)
        assert [one["status"] for one in shown] == [422, None, None, None, 422, None, None]
        assert all(one["in_kafka"] for one in shown)
        wait_for(lambda: ("u", "6-second") in parking.story()[6], "what goes on meanwhile")
        assert parking.story() | {3: [], other: []} == parking.feed.story | {3: [], other: []}
        assert parking.story()[3] == [("c", "3-first")]
        redrive(parking.name)
        wait_for(lambda: deliverer.text().count("parked_redriven") == 1, "an order that was in vain")
        assert len(listed(parking, capsys)) == 7
        mend(parking)
        change(parking, (3, "3-last"))
        wait_for_parked(parking, 0, capsys)
        parking.wait_for_state()
        wait_for(lambda: not parking.heartbeat().get("alarms"), "an end of the alarm")
        assert deliverer.stop() == 0
    assert parking.story() == parking.feed.story
    delivered, refused = counts(parking)
    assert delivered == len(parking.feed.positions)
    assert refused in (7, 8)  # the last one waited, or came after what was sent again
    assert "3-third" not in deliverer.text()
    capsys.readouterr()


@pytest.mark.slow_faults
def test_killed_around_parking_and_redriving_no_entry_and_no_record_is_lost_or_doubled(
    parking: WebhookSinkSubject, capsys: pytest.CaptureFixture[str]
) -> None:
    change(parking, *FIRST, *BAD, *((3, f"3-more-{number}") for number in range(5)))
    for fault, parked in (("before-parked", 0), ("after-parked", 9)):
        with parking.deliverer(STRUCK, fault, "1", "webhook") as deliverer:
            assert deliverer.ends() == -signal.SIGKILL, deliverer.text()
        assert len(listed(parking, capsys)) == parked
    mend(parking)
    for fault, parked in (("before-parked", 9), ("after-parked", 6)):
        with parking.deliverer(STRUCK, fault, "1", "webhook") as deliverer:
            assert deliverer.ends() == -signal.SIGKILL, deliverer.text()
        assert len(listed(parking, capsys)) == parked
    with parking.deliverer(*PATIENT) as deliverer:
        change(parking, (3, "3-last"))
        wait_for_parked(parking, 0, capsys)
        parking.wait_for_state()
        assert deliverer.stop() == 0
    assert parking.story() == parking.feed.story
    assert counts(parking) == (len(parking.feed.positions), 9)


@pytest.mark.slow_faults
@pytest.mark.parametrize("fault", ["overtake", "unlisted"])
def test_the_judge_finds_records_that_overtook_a_parked_one_or_were_not_put_on_the_list(
    parking: WebhookSinkSubject, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Control: the same comparison, with a fault that loses the order or the record."""
    change(parking, *FIRST, *BAD)
    with parking.deliverer(STRUCK, fault, "0", "webhook"):
        wait_for(lambda: figures_of(parking, "parked")[0], "parked records")
    mend(parking)
    with parking.deliverer(*PATIENT):
        wait_for_parked(parking, 0, capsys)
        change(parking, (8, "8-last"))
        wait_for(lambda: ("u", "8-last") in parking.story()[8], "the last record")
    assert parking.story() != parking.feed.story


def test_what_kafka_no_longer_has_is_told_by_its_place_and_given_up_only_when_ordered(
    parking: WebhookSinkSubject, capsys: pytest.CaptureFixture[str]
) -> None:
    with parking.deliverer(*PATIENT) as deliverer:
        change(parking, *FIRST, *BAD)
        wait_for_parked(parking, 4, capsys)
        wait_for(lambda: figures_of(parking, "parked", "lag_records") == [4, 0], "an end of the lag")
        parking.drop_records("person")
        change(parking, (3, "3-after"))
        wait_for_parked(parking, 5, capsys)
        assert [one["in_kafka"] for one in listed(parking, capsys)] == [False] * 4 + [True]
        mend(parking)
        deliverer.says("parked_record_gone")
        wait_for(lambda: not listed(parking, capsys)[0]["ordered"], "an end of the order")
        assert len(listed(parking, capsys)) == 5
        redrive(parking.name, forget_gone=True)
        wait_for_parked(parking, 0, capsys)
        wait_for(lambda: ("u", "3-after") in parking.story()[3], "what Kafka still had")
        assert deliverer.stop() == 0
    assert parking.story()[3] == [("c", "3-first"), ("u", "3-after")]
