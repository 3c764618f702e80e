"""Objections as values: every order of events, and by when each must be answered and ended."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import GovernanceError
from exchange.governance import authority, clock, objection
from exchange.governance.clock import Notice
from exchange.governance.corrections import marker
from exchange.governance.objection import ENDS, TABLE, Event, Objection, Place, State
from exchange.governance.possible import objection_acts
from exchange.governance.request import Who
from exchange.topology.model import Governance
from tests.unit.exchange.test_governance import NOW, PEOPLE, days_worked_until
from tests.unit.exchange.topologies import GOOD, load

RULES = Governance()
ACTORS = ("li-na", "wang-wei")
VIEW = "population.person.basic"
SECRET = "张三的身份证号是错的"
EARLIER, LATER = Place(offset=3, position="3"), Place(offset=9, position="9")


def an_objection(state: State = State.FILED) -> Objection:
    return Objection(
        id=1,
        state=state,
        subscriber="tax",
        view=VIEW,
        fields=("full_name",),
        partition=2,
        offset=17,
        change=Place(offset=5, position="5"),
        claim=SECRET,
        filer="li-na",
        since=NOW,
    )


@dataclass(frozen=True)
class Done:
    """One event that was carried out, and the objection before and after."""

    event: Event
    actor: str
    before: Objection
    after: Objection


Events = list[tuple[Event, str, str, Place | None]]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(Event),
        st.sampled_from(ACTORS),
        st.sampled_from(["", "because"]),
        st.sampled_from([None, EARLIER, LATER]),
    ),
    max_size=10,
)


def run(events: Events) -> list[Done]:
    now, history = an_objection(), []
    for event, actor, answer, correction in events:
        try:
            after = objection.advance(now, event, actor, NOW, answer=answer, correction=correction)
        except GovernanceError:
            continue
        history.append(Done(event, actor, now, after))
        now = after
    return history


def violations(history: list[Done]) -> Iterator[str]:
    """Yield what must never be, whatever the order; told from the events alone."""
    for done in history:
        if done.after.version != done.before.version + 1:
            yield "a version was left out"
        if done.before.state in ENDS:
            yield "something happened after the end"
        if done.event != Event.WITHDRAW and done.actor == "li-na":
            yield "somebody decided on an objection of their own"
        if done.event in (Event.ANSWER, Event.REJECT) and not done.after.answer:
            yield "nothing was said"
        corrected = done.after.state == State.CORRECTED
        if corrected != (done.after.correction is not None):
            yield "a correction without its state, or the other way round"
        if done.after.correction is not None and done.after.correction.offset <= done.after.change.offset:
            yield "something earlier corrects"
        if done.after.claim != done.before.claim or done.after.change != done.before.change:
            yield "what is objected to changed"
    for before, after in pairwise(history):
        if before.after != after.before:
            yield "a state came from nowhere"


@given(EVENTS)
def test_no_order_of_events_breaks_a_rule(events: Events) -> None:
    assert list(violations(run(events))) == []


@pytest.mark.parametrize(
    ("name", "planted", "events"),
    [
        ("_DECISIONS", frozenset[Event](), [(Event.REJECT, "li-na", "because", None)]),
        ("_WITH_TEXT", frozenset[Event](), [(Event.ANSWER, "wang-wei", "", None)]),
        (
            "TABLE",
            (*TABLE, objection.Step(State.CORRECTED, Event.ANSWER, State.ANSWERED, Who.STEWARD)),
            [(Event.CORRECT, "wang-wei", "", LATER), (Event.ANSWER, "wang-wei", "because", None)],
        ),
    ],
)
def test_the_checker_sees_a_rule_that_was_taken_out(
    monkeypatch: pytest.MonkeyPatch, name: str, planted: object, events: Events
) -> None:
    assert list(violations(run(events))) == []
    monkeypatch.setattr(objection, name, planted)
    assert list(violations(run(events)))


def test_every_state_is_reached_and_only_ends_have_no_way_on() -> None:
    assert {step.target for step in TABLE} | {State.FILED} == set(State)
    assert set(State) - {step.state for step in TABLE} == ENDS
    ways = [(step.state, step.event) for step in TABLE]
    assert len(ways) == len(set(ways))


def test_an_answer_and_an_end_are_due_in_ten_working_days_each() -> None:
    for number in range(0, 330, 13):
        day = dt.date(2026, 1, 1) + dt.timedelta(days=number)
        since = dt.datetime.combine(day, dt.time(23, 30), clock.ZONE)
        for state in (State.FILED, State.ANSWERED):
            due = objection.deadline(an_objection(state).model_copy(update={"since": since}), RULES)
            assert due is not None
            assert days_worked_until(day, due.day) == 10
    for state in ENDS:
        ended = an_objection(state)
        assert objection.notice(ended, NOW + dt.timedelta(days=900), RULES) == Notice.NONE


def test_a_marker_says_places_and_nothing_of_who_and_what() -> None:
    corrected = objection.advance(
        an_objection(), Event.CORRECT, "wang-wei", NOW, answer=SECRET, correction=LATER
    )
    told = marker(corrected)
    assert (told.resource, told.wrong, told.corrected) == ("population.person", "5", "9")
    for hidden in (SECRET, "li-na", "tax", "full_name", "basic"):
        assert hidden not in told.model_dump_json()


PEOPLE_MAY: dict[tuple[str, State], set[Event]] = {
    ("li-na", State.FILED): {Event.WITHDRAW},
    ("li-na", State.ANSWERED): {Event.WITHDRAW},
    ("wang-wei", State.FILED): {Event.ANSWER, Event.REJECT, Event.CORRECT},
    ("wang-wei", State.ANSWERED): {Event.REJECT, Event.CORRECT},
}


def test_each_is_offered_what_the_table_and_the_role_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = load(GOOD + PEOPLE).topology

    def offered() -> dict[tuple[str, State], set[Event]]:
        return {
            (actor, state): found
            for actor in (*ACTORS, "zhao-min", "nobody")
            for state in State
            if (found := set(objection_acts(topology, actor, an_objection(state), NOW)))
        }

    assert offered() == PEOPLE_MAY
    own = an_objection().model_copy(update={"filer": "wang-wei"})
    assert objection_acts(topology, "wang-wei", own, NOW) == ()
    monkeypatch.setattr(authority, "expect_role", lambda *_: None)  # planted: the state alone counts
    assert offered() != PEOPLE_MAY
