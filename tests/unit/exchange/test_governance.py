"""Requests as values: every order of events, every deadline of a year, and who may do what."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import GovernanceError
from exchange.governance import authority, clock
from exchange.governance import request as requests
from exchange.governance.desired import merged
from exchange.governance.request import ENDS, TABLE, Event, Request, Route, State, Who
from exchange.topology.model import Governance, Topology
from tests.unit.exchange.topologies import CONTRACTS, GOOD, TODAY, load

NOW = dt.datetime(2026, 11, 23, 9, 0, tzinfo=clock.ZONE)
RULES = Governance()
ACTORS = ("li-na", "wang-wei", "zhao-min")
PEOPLE = """
people:
  li-na:
    label: {zh: 李娜, en: Li Na}
    roles: {requester: [tax], steward: [tax]}
  wang-wei:
    label: {zh: 王伟, en: Wang Wei}
    roles: {steward: [police], requester: [police]}
  zhao-min:
    label: {zh: 赵敏, en: Zhao Min}
    roles: {authority: [police]}
"""


def a_request(state: State = State.DRAFT, route: Route = Route.AUTHORITY) -> Request:
    return Request(
        id=1,
        state=state,
        route=route,
        subscriber="tax",
        view="population.person.basic",
        purpose="p",
        legal_basis="l",
        requester="li-na",
        since=NOW,
    )


# --- every order of events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """One event that was carried out, and the request before and after."""

    event: Event
    actor: str
    before: Request
    after: Request


EVENTS = st.lists(
    st.tuples(st.sampled_from(Event), st.sampled_from(ACTORS), st.sampled_from(["", "because"])), max_size=14
)


def run(route: Route, events: list[tuple[Event, str, str]]) -> list[Done]:
    request, history = a_request(route=route), []
    for event, actor, reason in events:
        try:
            after = requests.advance(request, event, actor, NOW, reason)
        except GovernanceError:
            continue
        history.append(Done(event, actor, request, after))
        request = after
    return history


def violations(route: Route, history: list[Done]) -> Iterator[str]:
    """Yield what must never be, whatever the order; told from the events alone."""
    approvers: list[str] = []
    for done in history:
        if done.after.version != done.before.version + 1:
            yield "a version was left out"
        if done.before.state in ENDS:
            yield "something happened after the end"
        if done.event in (Event.SUBMIT, Event.RETURN):
            approvers = []
        if done.event in (Event.APPROVE, Event.RETURN, Event.REVOKE) and done.actor == "li-na":
            yield "somebody decided on a request of their own"
        if done.event == Event.APPROVE:
            approvers.append(done.actor)
        if done.event in (Event.RETURN, Event.REVOKE) and not done.after.reason:
            yield "a reason is missing"
        needed = {Route.DIRECT: 0, Route.STEWARD: 1, Route.AUTHORITY: 2}[route]
        if done.after.state == State.GRANTED and len(set(approvers)) < needed:
            yield "granted without the approvals that are needed"
    for before, after in pairwise(history):
        if before.after != after.before:
            yield "a state came from nowhere"


@given(st.sampled_from(Route), EVENTS)
def test_no_order_of_events_breaks_a_rule(route: Route, events: list[tuple[Event, str, str]]) -> None:
    assert list(violations(route, run(route, events))) == []


@pytest.mark.parametrize(
    ("name", "planted", "events"),
    [
        ("DECISIONS", frozenset[Event](), [(Event.SUBMIT, "li-na", ""), (Event.APPROVE, "li-na", "")]),
        (
            "TABLE",
            (
                *(one for one in TABLE if one.state != State.SUBMITTED),
                requests.Step(State.SUBMITTED, Event.APPROVE, frozenset(Route), State.GRANTED, Who.STEWARD),
            ),
            [(Event.SUBMIT, "li-na", ""), (Event.APPROVE, "wang-wei", "")],
        ),
    ],
)
def test_the_checker_sees_a_rule_that_was_taken_out(
    monkeypatch: pytest.MonkeyPatch, name: str, planted: object, events: list[tuple[Event, str, str]]
) -> None:
    monkeypatch.setattr(requests, name, planted)
    assert list(violations(Route.AUTHORITY, run(Route.AUTHORITY, events)))


def test_every_state_is_reached_and_only_ends_have_no_way_on() -> None:
    assert {step.target for step in TABLE} | {State.DRAFT} == set(State)
    assert set(State) - {step.state for step in TABLE} == ENDS


def test_the_table_has_one_target_for_each_state_event_and_route() -> None:
    ways = [(step.state, step.event, route) for step in TABLE for route in step.routes]
    assert len(ways) == len(set(ways))


def test_a_grant_that_is_over_is_not_made() -> None:
    late = a_request(State.SUBMITTED, Route.STEWARD).model_copy(update={"until": dt.date(2026, 11, 22)})
    with pytest.raises(GovernanceError, match="which is over"):
        requests.advance(late, Event.APPROVE, "wang-wei", NOW)


# --- deadlines --------------------------------------------------------------------------------------------

# Source: 国务院办公厅关于2026年部分节假日安排的通知: first and last days off, weekend days worked.
OFF_2026 = (
    ("01-01", "01-03"),
    ("02-15", "02-23"),
    ("04-04", "04-06"),
    ("05-01", "05-05"),
    ("06-19", "06-21"),
    ("09-25", "09-27"),
    ("10-01", "10-07"),
)
WORKED_2026 = ("01-04", "02-14", "02-28", "05-09", "09-20", "10-10")


def worked(day: dt.date) -> bool:
    """Say whether a day is worked, from the notice itself."""
    if day.year == 2026:
        text = day.strftime("%m-%d")
        if text in WORKED_2026:
            return True
        if any(first <= text <= last for first, last in OFF_2026):
            return False
    return day.weekday() < 5


def days_worked_until(first: dt.date, last: dt.date) -> int:
    return sum(worked(first + dt.timedelta(days=n)) for n in range(1, (last - first).days + 1))


def wrong_deadlines(deadline: Callable[[Request, Governance], clock.Deadline | None]) -> list[dt.date]:
    """Return the days of 2026 on which a request would get a wrong deadline, at either desk."""
    wrong = []
    for number in range(365):
        day = dt.date(2026, 1, 1) + dt.timedelta(days=number)
        since = dt.datetime.combine(day, dt.time(23, 30), clock.ZONE)
        for state, days in ((State.SUBMITTED, 10), (State.AT_AUTHORITY, 5)):
            due = deadline(a_request(state).model_copy(update={"since": since}), RULES)
            right = due is not None and worked(due.day) and days_worked_until(day, due.day) == days
            if not right or (due is not None and due.is_estimated != (due.day.year > 2026)):
                wrong.append(day)
    return wrong


def test_every_deadline_of_a_year_is_right() -> None:
    assert wrong_deadlines(clock.deadline) == []


def test_the_checker_sees_a_deadline_that_forgets_holidays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "is_workday", lambda day, _rules: day.weekday() < 5)
    assert wrong_deadlines(clock.deadline)


def test_reminder_overdue_and_escalation_come_on_their_days_through_a_year() -> None:
    for number in range(0, 330, 11):
        day = dt.date(2026, 1, 1) + dt.timedelta(days=number)
        since = dt.datetime.combine(day, dt.time(10), clock.ZONE)
        request = a_request(State.SUBMITTED).model_copy(update={"since": since})
        for later in range(50):
            now = since + dt.timedelta(days=later)
            passed = days_worked_until(day, now.date())
            expected = clock.Notice.NONE
            if passed >= 15:
                expected = clock.Notice.ESCALATED
            elif passed > 10 or (passed == 10 and not worked(now.date())):
                expected = clock.Notice.OVERDUE
            elif passed >= 8:
                expected = clock.Notice.REMINDER
            assert clock.notice(request, now, RULES) == expected, (day, now)


def test_nobody_is_reminded_of_what_needs_no_decision() -> None:
    for state in set(State) - {State.SUBMITTED, State.AT_AUTHORITY}:
        assert clock.notice(a_request(state), NOW + dt.timedelta(days=900), RULES) == clock.Notice.NONE


def test_past_the_calendar_the_topology_says_what_is_worked() -> None:
    day = dt.date(2027, 2, 8)
    assert clock.is_workday(day, RULES)
    assert not clock.is_workday(day, Governance(holidays=(day,)))
    assert clock.is_workday(dt.date(2027, 2, 13), Governance(workdays=(dt.date(2027, 2, 13),)))


# --- who may ----------------------------------------------------------------------------------------------


@pytest.fixture
def topology() -> Topology:
    return load(GOOD + PEOPLE).topology


@pytest.mark.parametrize(
    ("actor", "who"), [("li-na", Who.REQUESTER), ("wang-wei", Who.STEWARD), ("zhao-min", Who.AUTHORITY)]
)
def test_a_role_holds_for_its_own_department_alone(topology: Topology, actor: str, who: Who) -> None:
    view = "population.person.basic"
    authority.expect_role(topology, actor, who, "tax", view)
    for other in set(Who) - {who}:
        with pytest.raises(GovernanceError):
            authority.expect_role(topology, actor, other, "tax", view)


def test_the_route_follows_share_attribute_whitelist_review_and_grade(topology: Topology) -> None:
    def route(text: str) -> Route:
        loaded = load(text + PEOPLE).topology
        view = loaded.views["population.person.basic"]
        return authority.route_to("tax", view, loaded, CONTRACTS, is_proposed=False)

    conditional = "    share: conditional\n"
    assert route(GOOD) == Route.STEWARD
    assert route(GOOD.replace(conditional, "    share: unconditional\n")) == Route.DIRECT
    assert route(GOOD.replace(conditional, conditional + "    whitelist: [tax]\n")) == Route.DIRECT
    assert route(GOOD.replace(conditional, conditional + "    review: authority\n")) == Route.AUTHORITY
    assert route(GOOD + "governance: {authority_from_grade: 1}\n") == Route.AUTHORITY


def test_a_view_that_changed_since_it_was_asked_for_is_not_approved(topology: Topology) -> None:
    asked = authority.submitted(a_request(), topology, CONTRACTS)
    authority.expect_same_view(asked, topology)
    wider = load(GOOD.replace("{kind: partial, keep_first: 1}", "{kind: partial, keep_first: 2}") + PEOPLE)
    with pytest.raises(GovernanceError, match="was changed since"):
        authority.expect_same_view(asked, wider.topology)


def test_what_is_shared_with_nobody_is_not_granted_by_an_old_approval(topology: Topology) -> None:
    street = a_request(State.GRANTED).model_copy(update={"view": "population.street.all"})
    gone = a_request(State.GRANTED).model_copy(update={"subscriber": "gone"})
    assert merged(topology, [street, gone]).grants == topology.grants


def test_an_approved_grant_ends_with_its_last_day(topology: Topology) -> None:
    bare = topology.model_copy(update={"grants": ()})
    until = a_request(State.GRANTED).model_copy(update={"until": TODAY})
    wanted = merged(bare, [until])
    assert wanted.granted_views("tax", TODAY) == ("population.person.basic",)
    assert wanted.granted_views("tax", TODAY + dt.timedelta(days=1)) == ()
    assert clock.is_over(until, TODAY + dt.timedelta(days=1))
    assert not clock.is_over(until, TODAY)
