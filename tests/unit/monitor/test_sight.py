"""What each role is shown of figures, and who is let through: no I/O."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from exchange.alerting.alert import Alert
from exchange.corrections import Correction
from exchange.errors import NotAllowedError
from exchange.governance.export import harmless
from exchange.identity.caller import Caller, Roles, acting, expect_same, narrowed, roles_of, sight
from exchange.model import Label
from exchange.topology.model import Topology
from monitor.api import sight as sights
from monitor.api.gate import _is_of_this_machine, allowed_roles, expect_same_origin
from monitor.api.models import AccountsProgress, Refusal, Refusals, Route, Routes, Status, SubscriberPosition
from monitor.api.problem import Refused
from monitor.balance import Balance, TopicBalance, ViewBalance
from monitor.quality import Indicators, Quality, ResourceQuality, ViewUse
from tests.unit.exchange.topologies import GOOD, load

PEOPLE = """
people:
  li-na:
    label: {zh: 李娜, en: Li Na}
    roles: {requester: [tax]}
  wang-wei:
    label: {zh: 王伟, en: Wang Wei}
    roles: {steward: [police], requester: [police]}
groups:
  stewards:
    roles: {steward: [police]}
  auditors:
    roles: {auditor: [police, tax], steward: [tax]}
"""
OWN, OTHER = "raw.population.public.person", "raw.secret.public.t"
OWN_VIEW, OTHER_VIEW = "share.population.person.basic", "share.secret.t.v"


@pytest.fixture(scope="module")
def topology() -> Topology:
    return load(GOOD + PEOPLE).topology


def seen_json(topology: Topology, roles: Roles) -> str:
    """Return all figures that somebody is shown of one's own and another's topic, as JSON."""
    seen = sight(topology, Caller("somebody", roles))
    routes = Routes(
        window_s=1,
        at_ms=1,
        routes=(a_route(OWN, OWN_VIEW), a_route(OTHER, OTHER_VIEW), a_route(OWN, OTHER_VIEW)),
        total=3,
    )
    refusals = Refusals(window_s=1, at_ms=1, refusals=(a_refusal(OWN), a_refusal(OTHER)))
    positions = (a_position("tax", OWN_VIEW), a_position("secret-reader", OTHER_VIEW))
    answers = (
        sights.of_routes(routes, seen),
        sights.of_refusals(refusals, seen),
        sights.of_balance(a_balance(), seen),
        *sights.of_positions(positions, seen),
        sights.of_quality(a_month(), seen),
    )
    return "\n".join(one.model_dump_json() for one in answers)


def a_route(topic: str, view_topic: str) -> Route:
    return Route(
        topic=topic, view_topic=view_topic, resource="r", plan_version=1, rate_per_s=1, delivered=1,
        filtered=0, records=1, refused={"length": 7}, delay_ms=None, last_made_at_ms=None, deliveries=(),
    )  # fmt: skip


def a_refusal(topic: str) -> Refusal:
    return Refusal(
        topic=topic, resource="r", stage="process", reason="length", field="f", changes=1, last_made_at_ms=1
    )


def a_position(subscriber: str, topic: str) -> SubscriberPosition:
    return SubscriberPosition(
        subscriber=subscriber, group=subscriber, topic=topic, partition=0, next_offset=0, end_offset=0,
        lag_records=0, at_ms=1,
    )  # fmt: skip


def a_month() -> Quality:
    indicators = dict.fromkeys(Indicators.model_fields, 1.0)
    resources = tuple(
        ResourceQuality(
            topic=topic, resource="r", captured=1, refused=0, indicators=Indicators(**indicators), score=100,
            score_before=None, worst=(),
        )
        for topic in (OWN, OTHER)
    )  # fmt: skip
    views = tuple(ViewUse(view_topic=view, resource="r", delivered=1) for view in (OWN_VIEW, OTHER_VIEW))
    return Quality(month="2026-11", resources=resources, views=views)


def a_balance() -> Balance:
    topics = tuple(
        TopicBalance(
            topic=topic, resource="r", captured=1000, refused_capture=0, processed=1000, refused_process=0,
            foreign_records=0, in_flight=0, balanced=True,
            views=(ViewBalance(view_topic=view, delivered=1, filtered=0, records=1, balanced=True),),
        )
        for topic, view in ((OWN, OWN_VIEW), (OTHER, OTHER_VIEW))
    )  # fmt: skip
    return Balance(
        balanced=True,
        captured=2000,
        processed=2000,
        refused=0,
        in_flight=0,
        since_ms=0,
        topics=topics,
        problems=(),
    )


def shown_corrections(topology: Topology, roles: Roles) -> list[str]:
    """Return the resources of the markers that somebody is shown, of one's own and two others."""
    found = [
        Correction(objection=1, resource=resource, partition=0, wrong="w", corrected="c", at="")
        for resource in ("population.person", "population.personal", "secret.t")
    ]
    return [one.resource for one in sights.of_corrections(found, sight(topology, Caller("somebody", roles)))]


def test_corrections_are_shown_to_who_gets_a_view_of_the_resource_and_to_its_steward(
    topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown_corrections(topology, {"requester": ("tax",)}) == ["population.person"]
    assert shown_corrections(topology, {"steward": ("police",)}) == ["population.person"]
    assert shown_corrections(topology, {"requester": ("police",), "steward": ("tax",)}) == []
    with monkeypatch.context() as fault:  # planted: every topic is of every resource
        fault.setattr(sights, "view_topic", lambda *_: "")
        assert shown_corrections(topology, {"requester": ("tax",)}) != ["population.person"]


def test_a_steward_sees_the_departments_own_and_nothing_else(topology: Topology) -> None:
    shown = seen_json(topology, {"steward": ("police",)})
    assert OWN in shown
    assert '"captured":1000' in shown
    assert OTHER not in shown
    assert "secret-reader" not in shown


def test_a_subscriber_sees_its_own_views_without_what_was_refused(topology: Topology) -> None:
    shown = seen_json(topology, {"requester": ("tax",)})
    assert OWN_VIEW in shown
    assert "secret" not in shown
    assert "length" not in shown


def test_alerts_of_others_are_told_to_nobody(topology: Topology) -> None:
    places = [OWN, "share.population.person.basic", OTHER, OTHER_VIEW, "clickhouse"]
    found = Status(
        at_ms=1, started_at_ms=1, memory_mib=1, plan_version=1, parts={}, workers=(),
        accounts=AccountsProgress(next_offset=0, end_offset=0, ingested=0),
        routes_window_s=300, balance_minutes=1440, routes=None, balance=None, subscribers=None,
        alerts=tuple(an_alert(where) for where in places),
    )  # fmt: skip

    def told(roles: Roles) -> list[str]:
        alerts = sights.of_status(found, None, sight(topology, Caller("somebody", roles))).alerts
        return [one.where for one in alerts or ()]

    assert told({"steward": ("police",)}) == places[:2]
    assert told({"requester": ("tax",)}) == []


def an_alert(where: str) -> Alert:
    said = Label(zh="字", en="said")
    return Alert(
        key=where, kind="lag", severity="warning", stage="process", where=where, value=1, threshold=1,
        since_ms=1, fired_at_ms=1, what=said, cause=said, action=said,
    )  # fmt: skip


def test_of_another_department_nothing_is_seen(topology: Topology) -> None:
    shown = seen_json(topology, {"steward": ("tax",), "requester": ("police",)})
    assert OWN not in shown
    assert OTHER not in shown


def test_groups_take_the_place_of_people_and_add_up(topology: Topology) -> None:
    assert roles_of(topology, "li-na", None) == {"requester": ("tax",)}
    assert roles_of(topology, "li-na", ()) == {}
    assert roles_of(topology, "anybody", ("stewards", "auditors", "unknown")) == {
        "steward": ("police", "tax"),
        "auditor": ("police", "tax"),
    }
    unmapped = topology.model_copy(update={"groups": {}})
    assert roles_of(unmapped, "li-na", ("stewards",)) == {"requester": ("tax",)}


def test_a_token_acts_in_its_roles_alone(topology: Topology) -> None:
    caller = Caller("wang-wei", narrowed(roles_of(topology, "wang-wei", None), ["requester", "auditor"]))
    assert acting(topology, caller).people["wang-wei"].roles == {"requester": ("police",)}
    assert topology.people["wang-wei"].roles.keys() == {"steward", "requester"}
    with pytest.raises(NotAllowedError, match="another person's"):
        expect_same(caller, "li-na")


@pytest.mark.parametrize(
    ("client", "host", "is_here"),
    [
        ("127.0.0.1", "127.0.0.1:18081", True),
        ("127.0.0.1", "localhost:18081", True),
        ("127.0.0.1", "rebound.example", False),
        ("10.0.0.7", "127.0.0.1:18081", False),
        ("", "localhost", False),
    ],
)
def test_open_figures_are_for_this_machine_by_its_own_name(client: str, host: str, is_here: bool) -> None:
    assert _is_of_this_machine(a_call(host=host, client=client)) is is_here


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"origin": "http://bus.example"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "http://other"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "http://bus.example"}, False),
        ({"origin": "http://bus.example.evil"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
def test_a_session_changes_something_from_its_own_pages_alone(headers: dict[str, str], passes: bool) -> None:
    call = a_call(method="POST", **headers)
    if passes:
        expect_same_origin(call, strict=True)
    else:
        with pytest.raises(Refused):
            expect_same_origin(call, strict=True)


def test_no_cell_of_a_table_is_a_formula() -> None:
    assert [harmless(word) for word in ("=1+1", "@x", "-2", "plain")] == ["'=1+1", "'@x", "'-2", "plain"]


def test_templates_take_one_step_of_a_path() -> None:
    assert "requester" in allowed_roles("POST", "/api/requests/7/approve")
    assert "requester" in allowed_roles("HEAD", "/api/routes")
    assert "requester" not in allowed_roles("POST", "/api/requests/7/approve/x")
    assert "requester" not in allowed_roles("GET", "/api/decisions")


def a_call(
    method: str = "GET", host: str = "bus.example", client: str = "127.0.0.1", **headers: str
) -> Request:
    sent = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(
        {
            "type": "http",
            "method": method,
            "path": "/api/requests",
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": (client, 1) if client else None,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
    )
