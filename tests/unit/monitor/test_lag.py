from __future__ import annotations

from confluent_kafka import KafkaError

from monitor import kafka
from monitor.delays import judged, stages_of
from monitor.lag import _MOST, Ends
from monitor.routes import trend_of
from monitor.subscribers import caught_up

AT = ("share.a.v", 0)


def ends(*seen: tuple[int, int]) -> Ends:
    made = Ends()
    for offset, at_ms in seen:
        made.saw(AT, offset, at_ms)
    return made


def test_lag_counts_from_when_the_end_was_first_seen_beyond_the_next_record() -> None:
    known = ends((10, 1_000), (20, 6_000), (30, 11_000))

    assert known.lag_s(AT, 5, 21_000) == 20
    assert known.lag_s(AT, 15, 21_000) == 15
    assert known.lag_s(AT, 25, 21_000) == 10


def test_only_a_marker_ahead_is_no_lag_however_long_it_lasts() -> None:
    known = ends((10, 1_000))

    assert known.lag_s(AT, 10, 10_000_000) == 0
    assert known.lag_s(AT, 9, 10_000_000) == 0
    assert known.lag_s(AT, 8, 11_000) == 10


def test_a_record_that_stood_before_the_marker_of_a_transaction_is_not_older_than_it() -> None:
    """Offset 9 is the first transaction's marker: who would read it next waits for the second's records."""
    assert ends((10, 1_000), (20, 6_000)).lag_s(AT, 9, 7_000) == 1


def test_a_topic_that_was_never_looked_at_has_no_lag_to_tell() -> None:
    assert Ends().lag_s(AT, 0, 1_000) is None


def test_what_is_remembered_is_bounded_and_right_to_a_minute_for_a_day() -> None:
    known = Ends()
    for look in range(20_000):  # 28 hours, a look every 5 seconds
        known.saw(AT, 10 * (look + 1), look * 5_000)
    now_ms = 20_000 * 5_000

    assert len(known._offsets[AT]) <= _MOST
    for age_s in (5, 60, 1_000, 1_700, 3_600, 20_000, 80_000):
        lag_s = known.lag_s(AT, 10 * (20_000 - age_s // 5) + 5, now_ms)
        assert lag_s is not None
        assert age_s - (5 if age_s < 1_800 else 65) <= lag_s <= age_s
    assert known.lag_s(AT, 0, now_ms) > 80_000  # type: ignore[operator]


def test_an_end_that_stands_still_is_not_news() -> None:
    known = Ends()

    assert known.saw(AT, 10, 1_000)
    assert not known.saw(AT, 10, 6_000)


def test_a_topic_is_caught_up_when_every_partition_is() -> None:
    raw = {("raw.a", 0), ("raw.a", 1), ("raw.b", 0)}
    known = {("raw.a", 0): 5, ("raw.a", 1): 0, ("raw.b", 0): 7}

    assert caught_up(raw, known, {("raw.a", 0): 5, ("raw.b", 0): 6}) == {"raw.a"}


def test_a_topic_whose_end_is_unknown_is_not_caught_up() -> None:
    assert caught_up({("raw.a", 0), ("raw.a", 1)}, {("raw.a", 0): 0}, {}) == set()
    assert KafkaError.LEADER_NOT_AVAILABLE in kafka.LEADERLESS


def test_trend_leaves_markers_and_small_changes_out() -> None:
    assert trend_of(0, 2) == "steady"
    assert trend_of(1_000, 1_090) == "steady"
    assert trend_of(1_000, 1_200) == "growing"
    assert trend_of(1_000, 10) == "shrinking"


def test_the_stage_that_adds_most_is_named_where_the_budget_breaks() -> None:
    rows = [
        {"reached": "capture", "percentiles": [10.0, 20.0, 900.0]},
        {"reached": "process", "percentiles": [30.0, 50.0, 1_000.0]},
        {"reached": "readable", "percentiles": [40.0, 70.0, 1_100.0]},
    ]
    stages = stages_of(rows)

    assert [(stage.stage, stage.added_p99) for stage in stages] == [("capture", 900.0), ("process", 200.0)]
    broken, kept = judged(stages, 1_000), judged(stages, 2_000)
    assert broken is not None
    assert (broken.kept, broken.slowest_stage, broken.p99_ms) == (False, "capture", 1_100.0)
    assert kept is not None
    assert kept.kept
    assert judged(stages, None) is None
    assert judged((), 1_000) is None
