"""Progress and the judgement that a worker stands still."""

from __future__ import annotations

from faust.types import TP

from streams.watchdog import Progress, Stillness

A, B = TP("raw.a", 0), TP("raw.b", 1)


def test_an_end_without_records_counts_as_reached() -> None:
    at = Progress(10)
    at.fetched_to(20)
    at.committed_to(20)
    at.at_end_at(21)  # a transaction marker stands at 20
    assert at.reached == 21


def test_an_end_does_not_count_while_records_before_it_are_in_process() -> None:
    at = Progress(10)
    at.fetched_to(20)
    at.at_end_at(21)
    assert at.reached == 10


def test_an_end_found_before_reading_went_back_is_forgotten() -> None:
    at = Progress(10)
    at.fetched_to(20)
    at.at_end_at(21)
    at.reads_again_from(10)
    assert at.reached == 10
    at.fetched_to(15)
    at.committed_to(15)
    assert at.reached == 15, "records from 15 on are still to be read"


def test_going_back_to_the_committed_offset_keeps_what_was_reached() -> None:
    at = Progress(10)
    at.fetched_to(20)
    at.fetched_to(10)
    assert at.reached == 10


def test_a_partition_that_is_behind_at_one_offset_is_still_for_as_long() -> None:
    stillness = Stillness()
    assert stillness.longest_s({A: 5}, {A: 3}, now=100.0) == (0.0, A)
    assert stillness.longest_s({A: 9}, {A: 3}, now=130.0) == (30.0, A)


def test_every_commit_starts_the_time_anew() -> None:
    stillness = Stillness()
    stillness.longest_s({A: 5}, {A: 3}, now=100.0)
    assert stillness.longest_s({A: 9}, {A: 4}, now=130.0) == (0.0, A)


def test_a_partition_that_is_up_to_date_or_no_longer_ours_is_not_still() -> None:
    stillness = Stillness()
    stillness.longest_s({A: 5, B: 5}, {A: 5, B: 3}, now=100.0)
    assert stillness.longest_s({A: 5}, {A: 5}, now=200.0) == (0.0, None)


def test_the_longest_still_partition_is_named() -> None:
    stillness = Stillness()
    stillness.longest_s({B: 5}, {B: 3}, now=100.0)
    assert stillness.longest_s({A: 5, B: 5}, {A: 1, B: 3}, now=110.0) == (10.0, B)
