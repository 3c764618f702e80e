from __future__ import annotations

from typing import Any

from monitor.balance import LATE_AFTER_MS, Balance, balance

NOW_MS = 1_800_000_000_000
MINUTE = NOW_MS // 60_000


def total(**differs: Any) -> dict[str, Any]:
    return {
        "topic": "raw.a", "resource": "d.a", "captured": 10, "refused_capture": 1, "processed": 9,
        "refused_process": 2, "foreign_records": 0, "last_minute": MINUTE, **differs,
    }  # fmt: skip


def uneven(**differs: Any) -> dict[str, Any]:
    return {
        "topic": "raw.a", "minute": MINUTE, "resource": "d.a", "entered": 9, "processed": 9,
        "same_positions": True, "same_content": True, "last_captured_ms": NOW_MS, **differs,
    }  # fmt: skip


def uneven_view(**differs: Any) -> dict[str, Any]:
    return {
        "topic": "raw.a", "minute": MINUTE, "view_topic": "share.a.v", "resource": "d.a", "expected": 7,
        "accounted": 7, "same_positions": False, **differs,
    }  # fmt: skip


def judged(**rows: Any) -> Balance:
    view = {"topic": "raw.a", "view_topic": "share.a.v", "delivered": 5, "filtered": 2, "records": 6}
    given = {
        "totals": [total()], "view_totals": [view], "uneven_minutes": [], "uneven_views": [], "missing": [],
    }  # fmt: skip
    return balance(**{**given, **rows}, now_ms=NOW_MS, since_ms=NOW_MS - 3_600_000)


def test_even_accounts_balance() -> None:
    found = judged()

    assert found.balanced
    assert (found.captured, found.processed, found.refused, found.in_flight) == (10, 9, 3, 0)
    assert found.topics[0].balanced
    assert found.topics[0].views[0].balanced


def test_what_was_just_captured_is_in_flight_and_no_problem() -> None:
    found = judged(totals=[total(processed=6)], uneven_minutes=[uneven(processed=6, same_positions=False)])

    assert found.balanced
    assert found.in_flight == 3


def test_what_stays_unprocessed_is_late_at_the_process_stage() -> None:
    old = uneven(processed=8, last_captured_ms=NOW_MS - LATE_AFTER_MS - 1)
    found = judged(uneven_minutes=[old])

    [problem] = found.problems
    assert not found.balanced
    assert not found.topics[0].balanced
    assert (problem.stage, problem.kind, problem.changes) == ("process", "late", 1)
    assert problem.minute_ms == MINUTE * 60_000


def test_more_processed_than_captured_is_doubled_at_once() -> None:
    [problem] = judged(uneven_minutes=[uneven(processed=10, same_positions=False)]).problems

    assert (problem.stage, problem.kind, problem.changes) == ("process", "doubled", 1)


def test_one_lost_and_another_doubled_is_noticed_by_the_positions() -> None:
    [problem] = judged(uneven_minutes=[uneven(same_positions=False)]).problems

    assert (problem.stage, problem.kind) == ("process", "different")


def test_altered_bytes_are_noticed_by_the_contents() -> None:
    [problem] = judged(uneven_minutes=[uneven(same_content=False)]).problems

    assert (problem.stage, problem.kind) == ("process", "altered")


def test_missing_delivery_names_the_view() -> None:
    found = judged(uneven_views=[uneven_view(accounted=6)])

    [problem] = found.problems
    assert (problem.stage, problem.kind, problem.changes) == ("deliver", "missing", 1)
    assert problem.view_topic == "share.a.v"
    assert not found.topics[0].views[0].balanced


def test_doubled_delivery_names_the_view() -> None:
    [problem] = judged(uneven_views=[uneven_view(accounted=9)]).problems

    assert (problem.stage, problem.kind, problem.changes) == ("deliver", "doubled", 2)


def test_accounts_that_cannot_be_read_leave_nothing_balanced() -> None:
    gap = {
        "stage": "gap", "account_offset": 9, "first_offset": 3, "last_offset": 9, "readable_ms": NOW_MS,
    }  # fmt: skip
    found = judged(missing=[gap])

    assert not found.balanced
    assert "3 to 9" in found.problems[0].text


def test_problem_of_one_topic_leaves_others_balanced() -> None:
    found = judged(
        totals=[total(), total(topic="raw.b", resource="d.b")],
        uneven_minutes=[uneven(same_content=False)],
    )

    assert [topic.balanced for topic in found.topics] == [False, True]


def place(settled_changes: int) -> dict[str, Any]:
    return {
        "topic": "raw.a",
        "minute": MINUTE,
        "settled_changes": settled_changes,
        "offsets": [(2, 100, 180)],
    }


def test_what_the_workers_have_read_past_is_missing_at_once_and_has_a_place() -> None:
    row = uneven(processed=8, same_positions=False)
    [problem] = judged(uneven_minutes=[row], places=[place(9)]).problems

    assert (problem.stage, problem.kind, problem.changes) == ("process", "missing", 1)
    [offsets] = problem.offsets
    assert (offsets.partition, offsets.first_offset, offsets.last_offset) == (2, 100, 180)


def test_what_the_workers_have_not_read_past_is_still_in_flight() -> None:
    row = uneven(processed=8, same_positions=False)

    assert judged(uneven_minutes=[row], places=[place(8)]).balanced


def test_accounts_that_kafka_never_had_are_a_problem() -> None:
    [problem] = judged(unknown_to_kafka=2).problems

    assert (problem.stage, problem.kind) == ("accounts", "different")
    assert "2 accounts" in problem.text
