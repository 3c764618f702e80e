from __future__ import annotations

from typing import Any

import pytest

from monitor.expected import Silent, Watch, expected_of
from tests.unit.exchange.test_plan import plan
from tests.unit.exchange.topologies import changed

NOW_MS = 1_800_000_000_000
LONG_MS = 120_000


def beat(stage: str, writer: str, at_ms: int = NOW_MS, state: str = "running") -> dict[str, Any]:
    return {"stage": stage, "writer": writer, "at_ms": at_ms, "state": state}


PULLED = changed(
    (
        "    department: tax\n    label: {zh: 税务局, en: Tax}\ngrants",
        "    department: tax\n    label: {zh: 税务局, en: Tax}\n    pull_keys_env: TAX_KEYS\n"
        "    delivery: {kind: files, folder: /tmp/tax}\ngrants",
    )
)
BOTH = [beat("capture", "cdc-population"), beat("process", "stream-0")]


def named(found: tuple[Silent, ...]) -> list[tuple[str, str]]:
    return [(one.writer, one.command) for one in found]


def test_nobody_is_missed_while_all_of_the_plan_are_heard() -> None:
    assert Watch(NOW_MS - LONG_MS).silent(plan(), BOTH, NOW_MS) == ()


def test_connector_that_was_never_heard_is_named_with_what_starts_it() -> None:
    watch = Watch(NOW_MS - LONG_MS)

    [found] = watch.silent(plan(), BOTH[1:], NOW_MS)

    assert (found.writer, found.command) == ("cdc-population", "exchange connect population")
    assert (found.last_at_ms, found.since_ms) == (None, NOW_MS - LONG_MS)


def test_connector_that_died_is_named_with_when_it_was_last_heard() -> None:
    watch = Watch(NOW_MS - LONG_MS)
    watch.silent(plan(), BOTH, NOW_MS)

    [found] = watch.silent(plan(), BOTH[1:], NOW_MS + LONG_MS)

    assert (found.writer, found.last_at_ms) == ("cdc-population", NOW_MS)


def test_watch_that_forgets_the_plan_is_seen() -> None:
    """The fault planted: who looks at heartbeats alone names nobody once a connector's is gone."""
    assert Watch(NOW_MS - LONG_MS).silent(None, BOTH[1:], NOW_MS) == ()


def test_no_worker_at_all_is_named() -> None:
    found = Watch(NOW_MS - LONG_MS).silent(plan(), BOTH[:1], NOW_MS)

    assert named(found) == [("stream", "exchange stream")]


@pytest.mark.parametrize(("state", "missed"), [("running", 1), ("stopped", 0)])
def test_one_of_several_workers_is_missed_unless_it_said_that_it_stops(state: str, missed: int) -> None:
    watch = Watch(NOW_MS - LONG_MS)
    watch.silent(plan(), [*BOTH, beat("process", "stream-1", state=state)], NOW_MS)

    found = watch.silent(plan(), BOTH, NOW_MS + 1000)

    assert named(found) == [("stream-1", "exchange stream")] * missed
    assert watch.silent(plan(), BOTH, NOW_MS + 2 * 3_600_000) == ()


def test_nobody_is_missed_before_heartbeats_can_have_come() -> None:
    assert Watch(NOW_MS - 5000).silent(plan(), [], NOW_MS) == ()


def test_deliveries_and_pull_of_the_plan_are_expected() -> None:
    assert set(expected_of(plan(PULLED)).values()) == {
        "exchange connect population", "exchange deliver tax", "exchange serve-pull",
    }  # fmt: skip


def test_pull_is_missed_when_the_last_of_its_servers_is_gone() -> None:
    watch = Watch(NOW_MS - LONG_MS)
    others = [*BOTH, beat("deliver", "deliver-tax")]
    servers = [beat("deliver", "pull-a:8490"), beat("deliver", "pull-b:8490")]
    never = watch.silent(plan(PULLED), others, NOW_MS)
    both = watch.silent(plan(PULLED), others + servers, NOW_MS)
    one = watch.silent(plan(PULLED), others + servers[1:], NOW_MS)
    [none] = watch.silent(plan(PULLED), others, NOW_MS)

    assert (named(never), both, one) == ([("pull", "exchange serve-pull")], (), ())
    assert (none.writer, none.command, none.last_at_ms) == ("pull", "exchange serve-pull", NOW_MS)
