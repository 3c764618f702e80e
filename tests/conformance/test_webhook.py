"""What a webhook promises beyond other sinks: order over refusals, the same id again, an end when gone."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import struck_sink
from tests.conformance.feed import FULL, PARTITIONS
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
    with subject.deliverer() as deliverer:
        subject.wait_for_kept(1)
        subject.wait_for_state()
        assert deliverer.stop() == 0

    after = subject.receiver.ids()[len(before) :]
    assert before
    assert set(before) <= set(after)
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
        assert len(set(subject.receiver.ids(422))) == 1
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
        deliverer.says("delivery_halted")
        there.answer = lambda: (200, {})
        for key in range(30):
            feed(subject, range(key, key + 1), "other")
            subject.wait_for_state("other")
        assert len([one for one in there.posted if one.data["view"] == gone]) == 1
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
