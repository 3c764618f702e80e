"""What `exchange status` says about the monitor's figures."""

from __future__ import annotations

import time
from typing import Any

from exchange.commands.status_text import figures_text

FIGURES: dict[str, Any] = {
    "parts": {"redis": {"ok": False, "text": "no answer"}, "clickhouse": {"ok": True, "text": "ok"}},
    "workers": [
        {
            "stage": "process",
            "writer": "worker-0",
            "state": "running",
            "halted": [{"topic": "raw.a.b.c", "partition": 1, "offset": 7, "reason": "schema 9 is unknown"}],
        },
        {
            "stage": "deliver",
            "writer": "deliver-tax",
            "state": "halted",
            "halted": [{"topic": "share.a.b.c", "partition": -1, "offset": -1, "reason": "no room"}],
            "figures": {
                "views": {
                    "a.b.c": {"delivered": 1200, "parked": 1, "lag_records": 3, "lag_s": 4.26},
                    "a.b.d": {"delivered": 0, "parked": 0, "lag_records": 0, "lag_s": 0.0},
                },
            },
        },
    ],
    "balance_minutes": 1440,
    "routes_window_s": 300,
    "balance": {"balanced": False, "captured": 12000, "processed": 11000, "refused": 3, "in_flight": 997},
    "routes": [
        {
            "topic": "raw.population.public.person",
            "view_topic": "share.population.person.school",
            "rate_per_s": 12.34,
            "delivered": 9,
            "filtered": 2,
            "refused": {"rule": 2, "leak": 1},
            "delay_ms": {"p50": 55.4, "p95": 120.0, "p99": 242.0},
        }
    ],
    "subscribers": [
        {"group": "school.main", "topic": "share.x", "lag_records": 2},
        {"group": "school.main", "topic": "share.x", "lag_records": 3},
    ],
}


def test_what_is_wrong_is_said_in_words() -> None:
    text = figures_text(FIGURES)
    assert "monitor: redis: no answer\n" in text
    assert "clickhouse" not in text
    assert "  HALTED at raw.a.b.c partition 1 offset 7: schema 9 is unknown\n" in text
    counts = "12,000 captured, 11,000 processed, 3 refused, 997 in flight"
    assert f"the accounts of the last 24 h DO NOT BALANCE: {counts}\n" in text


def test_a_delivery_shows_each_views_figures() -> None:
    text = figures_text(FIGURES)
    assert "deliver deliver-tax: halted\n  HALTED at share.a.b.c: no room\n" in text
    assert "  a.b.c: 1,200 delivered, 1 PARKED, 3 records behind (4.3 s)\n" in text
    assert "  a.b.d: 0 delivered, 0 records behind\n" in text


def test_a_route_shows_its_rate_counts_and_delay() -> None:
    line = next(line for line in figures_text(FIGURES).splitlines() if "population.person.school" in line)
    assert line.split() == ["population.person.school", "12.3", "9", "2", "3", "55/120/242"]


def test_a_group_is_behind_by_the_sum_of_its_partitions() -> None:
    assert "group school.main on share.x: 5 records behind\n" in figures_text(FIGURES)


def test_who_gives_no_sign_of_life_is_named_with_what_starts_it() -> None:
    silent = {"stage": "capture", "writer": "cdc-tax", "since_ms": 1, "command": "exchange connect tax"}
    heard_ms = time.time_ns() // 10**6 - 90_000

    text = figures_text(FIGURES | {"silent": [silent | {"last_at_ms": at} for at in (None, heard_ms)]})

    start = "`exchange connect tax` starts it"
    assert f"capture cdc-tax: NO SIGN OF LIFE since the monitor's start; {start}\n" in text
    assert "capture cdc-tax: NO SIGN OF LIFE for 9" in text


def test_figures_that_are_not_known_are_left_out() -> None:
    unknown: dict[str, Any] = {
        "parts": {},
        "workers": [],
        "balance_minutes": 1440,
        "routes_window_s": 300,
        "balance": None,
        "routes": None,
        "subscribers": None,
    }
    assert figures_text(unknown) == ""


def test_figures_say_how_far_back_they_reach() -> None:
    text = figures_text(FIGURES)
    assert "the accounts of the last 24 h " in text
    assert "view, last 5 min " in text


def test_that_nothing_is_at_work_is_said_with_the_commands_that_start_it() -> None:
    text = figures_text(FIGURES | {"workers": [], "parts": {"redis": {"ok": True, "text": "ok"}}})
    assert "no connector or worker is at work; `exchange connect --all` and `exchange stream` start" in text


def test_a_group_that_lacks_one_record_is_said_to_lack_one() -> None:
    one = FIGURES | {"subscribers": [{"group": "school.main", "topic": "share.x", "lag_records": 1}]}
    assert "group school.main on share.x: 1 record behind\n" in figures_text(one)


def test_what_a_source_keeps_for_its_connector_is_shown_with_its_alarm_and_halts() -> None:
    connector = {
        "stage": "capture",
        "writer": "cdc-town",
        "state": "streaming",
        "halted": [{"topic": "", "partition": -1, "offset": -1, "reason": "table a.b was made anew"}],
        "alarms": ["its server keeps 300 MiB of log"],
        "figures": {"retained_wal_bytes": 314572800, "lag_bytes": 1048576, "wal_status": "extended"},
    }
    text = figures_text(FIGURES | {"workers": [connector]})
    assert "  HALTED: table a.b was made anew\n" in text
    assert "  ALARM: its server keeps 300 MiB of log\n" in text
    assert "  its source keeps 300.0 MiB of log (extended), 1.0 MiB not yet confirmed\n" in text


def test_a_paused_connector_says_since_when_by_whom_why_and_what_has_it_go_on() -> None:
    figures = {"paused_since_ms": 1_795_903_200_000, "paused_by": "chen-hao", "paused_reason": "disk moved"}
    worker = {"writer": "cdc-town", "stage": "capture", "state": "paused", "halted": [], "figures": figures}
    text = figures_text(FIGURES | {"workers": [worker]})
    assert (
        "  paused since 2026-11-28 22:00 UTC by chen-hao: disk moved; "
        "`exchange connector resume town` has it go on\n"
    ) in text


def test_a_snapshot_beside_the_stream_is_shown_while_it_runs_and_when_it_failed() -> None:
    figures: dict[str, Any] = {
        "snapshot_table": "public.person",
        "snapshot_view": "school",
        "snapshot_state": "running",
        "snapshot_rows": 5000,
        "snapshot_estimated_rows": 100_000,
        "snapshot_rows_per_s": 1234,
        "snapshot_hint": "",
    }
    assert shown(figures) == (
        "  snapshot of public.person for view school running, 5,000 of about 100,000 rows, 1,234 rows/s\n"
    )
    failed = {"snapshot_state": "failed", "snapshot_view": "", "snapshot_hint": "no primary key"}
    assert shown(figures | failed) == (
        "  snapshot of public.person failed, 5,000 of about 100,000 rows: no primary key\n"
    )
    assert shown(figures | {"snapshot_state": "complete"}) == ""


def shown(figures: dict[str, Any]) -> str:
    worker = {"stage": "capture", "writer": "cdc-a", "state": "streaming", "halted": [], "figures": figures}
    document: dict[str, Any] = {
        "workers": [worker],
        "parts": {},
        "balance": None,
        "balance_minutes": 1,
        "routes": None,
    }
    text = figures_text(document | {"routes_window_s": 300, "subscribers": None})
    return text.removeprefix("capture cdc-a: streaming\n")


def test_a_lag_has_its_seconds_and_where_it_goes() -> None:
    late = {"group": "school.main", "topic": "share.x", "lag_records": 90, "lag_s": 61.2, "trend": "growing"}
    other = late | {"lag_records": 4, "lag_s": 0.0, "trend": "shrinking"}
    text = figures_text(FIGURES | {"subscribers": [late, other]})

    assert "group school.main on share.x: 94 records behind, 61 s, growing\n" in text


def test_a_budget_that_is_not_kept_names_the_stage() -> None:
    [route, *_] = FIGURES["routes"]
    budget = {"budget_ms": 1000, "kept": False, "p99_ms": 3210.4, "slowest_stage": "capture"}
    behind = {"lag_records": 7, "lag_s": 12.0, "trend": "steady"}
    text = figures_text(FIGURES | {"routes": [route | behind | {"budget": budget}]})

    assert "  LATE: 99 of 100 within 3,210 ms, 1,000 ms allowed; most of it at capture\n" in text
    assert f"workers on {route['topic']}: 7 records behind, 12 s\n" in text


def test_the_newest_problems_of_the_accounts_have_stage_minute_and_place() -> None:
    problem = {
        "stage": "process", "topic": "raw.a", "view_topic": None, "minute_ms": 0, "text": "1 lost",
        "offsets": [{"partition": 2, "first_offset": 5, "last_offset": 9}],
    }  # fmt: skip
    text = figures_text(FIGURES | {"balance": FIGURES["balance"] | {"balanced": False, "newest": [problem]}})

    assert "  process raw.a 1970-01-01 00:00 UTC: 1 lost (partition 2 offsets 5 to 9)\n" in text
