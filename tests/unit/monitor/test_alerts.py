from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from exchange.alerting.alert import Alert
from exchange.alerting.rules import DEFAULTS, Alerting, AlertRule, Kind, MailChannel
from exchange.apply.access import STREAM_GROUP
from exchange.model import Label
from exchange.plan import PlannedResource, PlannedSystem, PublishedPlan
from exchange.tls.files import TlsFiles
from monitor.alerts.judge import known_kinds
from monitor.alerts.look import certificates
from monitor.alerts.seen import Condition, Overdue, Seen
from monitor.alerts.texts import words_of
from monitor.alerts.watch import Watch
from monitor.api.models import PartHealth, Route, SubscriberPosition
from monitor.balance import Balance, Problem
from monitor.delays import DelayBudget

TOPIC = "raw.population.public.person"


def alert(**given: Any) -> Alert:
    words = words_of(Condition("stall", "stands", "process", TOPIC, 31))
    figures: dict[str, Any] = {
        "key": "stall|x", "kind": "stall", "severity": "critical", "stage": "process", "where": TOPIC,
        "value": 31, "threshold": 30, "since_ms": 0, "fired_at_ms": 0, **words._asdict(),
    }  # fmt: skip
    return Alert.model_validate({**figures, **given})


def plan(**rules: AlertRule) -> PublishedPlan:
    resource = PlannedResource(
        name="population.person", system="population", table="public.person", department="police",
        raw_topic=TOPIC, quarantine_topic="quarantine.population.person", partitions=1, contract={},
        steward_public_key="", views=(),
    )  # fmt: skip
    system = PlannedSystem(name="population", protect_wal_bytes=1000)
    return PublishedPlan(
        version=1, systems=(system,), resources=(resource,), alerts=Alerting(rules=dict(rules))
    )


def beat(stage: str, writer: str, **given: Any) -> dict[str, Any]:
    return {"stage": stage, "writer": writer, "halted": [], "alarms": [], "figures": {}, **given}


def at_work(**figures: Any) -> tuple[dict[str, Any], ...]:
    return beat("capture", "cdc-population", figures=figures), beat("process", "stream-0")


def route(**given: Any) -> Route:
    figures: dict[str, Any] = {
        "topic": TOPIC, "view_topic": "share.population.person.school", "resource": "population.person",
        "plan_version": 1, "rate_per_s": 1, "delivered": 900, "filtered": 0, "records": 900, "refused": {},
        "delay_ms": None, "last_made_at_ms": None, "deliveries": (), "lag_s": 0.0, "lag_records": 0,
    }  # fmt: skip
    return Route.model_validate({**figures, **given})


def position(next_offset: int, lag_s: float) -> SubscriberPosition:
    return SubscriberPosition(
        subscriber="", group=STREAM_GROUP, topic=TOPIC, partition=0, next_offset=next_offset, end_offset=99,
        lag_records=99 - next_offset, at_ms=0, lag_s=lag_s,
    )  # fmt: skip


def balance(*problems: Problem) -> Balance:
    return Balance(
        balanced=not problems, captured=0, processed=0, refused=0, in_flight=0, since_ms=0, topics=(),
        problems=problems,
    )  # fmt: skip


def problem(**given: Any) -> Problem:
    figures = {"stage": "process", "kind": "missing", "topic": TOPIC, "minute_ms": 60_000, "changes": 3}
    return Problem.model_validate({**figures, "text": "3 captured changes not processed", **given})


def healthy(now_s: int, **given: Any) -> Seen:
    figures: dict[str, Any] = {
        "parts": {"redis": PartHealth(ok=True, text="ok")}, "plan": plan(), "workers": at_work(),
        "groups": (position(99, 0.0),), "routes": (route(),), "balance": balance(), "overdue": (),
    }  # fmt: skip
    return Seen(now_ms=now_s * 1000, **{**figures, **given})


def kinds(found: Iterable[Alert]) -> list[str]:
    return [one.kind for one in found]


def test_a_healthy_bus_has_no_alert() -> None:
    watch = Watch()

    for now_s in range(0, 600, 5):
        assert watch.look(healthy(now_s), ()).fires == ()


def test_a_group_that_stands_fires_once_it_has_stood_for_the_threshold() -> None:
    watch, fired = Watch(), list[int]()
    for now_s in range(0, 60, 5):
        if watch.look(healthy(now_s, groups=(position(7, now_s + 1.0),)), ()).fires:
            fired.append(now_s)

    assert fired == [30, 35, 40, 45, 50, 55]


def test_a_group_that_is_behind_and_moves_does_not_stall() -> None:
    watch = Watch()

    for now_s in range(0, 120, 5):
        assert watch.look(healthy(now_s, groups=(position(now_s, 20.0),)), ()).fires == ()


def test_a_halted_stream_is_a_stall_at_once_with_its_reason() -> None:
    halt = {"topic": TOPIC, "partition": 0, "offset": 5, "reason": "the contract is not approved"}
    workers = (at_work()[0], beat("process", "stream-0", halted=[halt]))

    [found] = Watch().look(healthy(0, workers=workers), ()).fires

    assert (found.kind, found.stage, found.where) == ("stall", "process", TOPIC)
    assert "the contract is not approved" in found.what.en


@pytest.mark.parametrize(
    ("given", "kind", "after_s"),
    [
        ({"parts": {"clickhouse": PartHealth(ok=False, text="away")}}, "part_down", 60),
        ({"workers": at_work()[:1]}, "part_down", 60),
        ({"routes": (route(lag_s=200.0),)}, "lag", 60),
        ({"balance": balance(problem())}, "imbalance", 10),
        ({"balance": balance(problem(kind="late"))}, "imbalance", 10),
        ({"workers": at_work(retained_wal_bytes=801)}, "retained_wal", 0),
        ({"overdue": (Overdue(4, "population.person.tax", "submitted", 0),)}, "overdue_request", 5),
        ({"certificates": {"kafka": 13 * 86_400_000}}, "certificate", 0),
    ],
)
def test_each_kind_fires_by_its_default(given: dict[str, Any], kind: str, after_s: int) -> None:
    watch, first = Watch(), None
    for now_s in range(0, 100, 5):
        if first is None and (found := watch.look(healthy(now_s, **given), ()).fires):
            first = now_s, kinds(found)

    assert first == (after_s, [kind])


def test_certificate_of_kafka_is_looked_at_and_one_that_cannot_be_read_ends_no_alert(tmp_path: Path) -> None:
    assert certificates(tmp_path) == {}
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "server.properties").write_text("listeners=CLIENT:SASL_SSL\n")
    files = TlsFiles(tmp_path)
    files.init("test")
    ends = files.issue(["localhost"], 13, files.kafka).not_after
    found = certificates(tmp_path)

    assert found == {"kafka": int(ends.timestamp() * 1000)}
    assert kinds(Watch().look(healthy(0, certificates=found), ()).fires) == []
    due_s = int(ends.timestamp()) - 13 * 86_400
    assert kinds(Watch().look(healthy(due_s, certificates=found), ()).fires) == ["certificate"]
    files.kafka.write_text("no certificate")
    assert certificates(tmp_path) is None
    assert "certificate" not in known_kinds(healthy(0, certificates=None))


def test_what_is_late_behind_a_lag_is_no_imbalance() -> None:
    seen = {"balance": balance(problem(kind="late")), "routes": (route(lag_s=20.0),)}
    watch = Watch()

    assert not [one for now_s in (0, 60) for one in watch.look(healthy(now_s, **seen), ()).fires]


def test_many_bad_minutes_of_one_place_are_one_alert_from_the_first_on() -> None:
    bad = balance(*(problem(minute_ms=minute * 60_000) for minute in (9, 7, 8)))
    watch = Watch()
    watch.look(healthy(0, balance=bad), ())

    [found] = watch.look(healthy(20, balance=bad), ()).fires

    assert (found.value, found.since_ms) == (3, 7 * 60_000)


def test_refusals_need_both_windows_unless_the_rule_says_otherwise() -> None:
    refused = {"routes": (route(refused={"length": 100}),)}
    short = AlertRule(kind="refusals", long_window=False)

    assert not Watch().look(healthy(0, **refused, long_refused=lambda: {TOPIC: 0.01}), ()).fires
    assert Watch().look(healthy(0, **refused, long_refused=lambda: {TOPIC: 0.06}), ()).fires
    assert Watch().look(healthy(0, **refused, plan=plan(short=short)), ()).fires


def test_a_budget_that_is_not_kept_names_the_stage() -> None:
    budget = DelayBudget(budget_ms=1000, kept=False, p99_ms=2500, slowest_stage="capture")
    watch = Watch()
    watch.look(healthy(0, routes=(route(budget=budget),)), ())

    [found] = watch.look(healthy(120, routes=(route(budget=budget),)), ()).fires

    assert (found.kind, found.stage) == ("delay_budget", "capture")
    assert "2.5 times" in found.what.en


def test_nothing_is_over_while_its_figures_are_not_known() -> None:
    watch, firing = Watch(), alert(key="imbalance|missing|process|x", kind="imbalance")

    for now_s in range(0, 100, 5):
        assert watch.look(healthy(now_s, balance=None), [firing]).over == ()
    over = [watch.look(healthy(now_s), [firing]).over for now_s in (100, 105, 110, 115)]
    assert over == [(), (), (), (firing.key,)]


def test_a_rule_for_a_place_goes_before_the_default() -> None:
    lag = {"routes": (route(lag_s=200.0),)}
    off = AlertRule(kind="lag", where=("raw.population.*",), enabled=False)
    other = AlertRule(kind="lag", where=("raw.market.*",), enabled=False)
    soon = AlertRule(kind="lag", for_s=0, severity="critical")

    [found] = Watch().look(healthy(0, **lag, plan=plan(other=other, soon=soon)), ()).fires

    assert found.severity == "critical"
    assert not Watch().look(healthy(0, **lag, plan=plan(off=off, soon=soon)), ()).fires


def test_every_kind_has_a_default_and_words() -> None:
    assert set(DEFAULTS) == set(get_args(Kind))
    for kind in get_args(Kind):
        text = {"part_down": "part", "stall": "stands"}.get(kind, "")
        words = words_of(Condition(kind, text, "process", TOPIC, 1, detail="x"))
        for label in words:
            assert isinstance(label, Label)
            assert "{" not in label.zh + label.en


def test_a_mail_without_tls_leaves_this_machine_never() -> None:
    with pytest.raises(ValidationError, match="on this machine alone"):
        MailChannel(kind="mail", host="mail.city.example", tls="none", sender="a@b.c", recipients=("d@e.f",))
