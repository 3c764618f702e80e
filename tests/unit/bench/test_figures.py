"""The arithmetic of the benchmarks."""

from __future__ import annotations

import pytest

from bench.figures import Spread, percentile, ratio, slope
from bench.pace import Look, pace


def test_a_spread_is_median_least_and_greatest() -> None:
    spread = Spread.of([3, 1, 2])
    assert (spread.median, spread.least, spread.greatest) == (2, 1, 3)
    assert Spread.of([1234.5, 1000, 2000]).text() == "1,234 (1,000–2,000)"


def test_one_figure_has_no_spread() -> None:
    assert Spread.of([12.34]).text(1) == "12.3"


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_figure_that_was_measured(share: float, wanted: int) -> None:
    assert percentile(range(1, 101), share) == wanted


def test_a_ratio_compares_rounds_and_not_medians() -> None:
    assert ratio([10, 40, 9], [10, 20, 10]) == 1.0


def test_a_ratio_of_unequal_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def test_a_slope_is_per_unit_of_time() -> None:
    assert slope([0, 1, 2], [10, 12, 14]) == pytest.approx(2)
    assert slope([0], [10]) == 0


def test_a_pace_leaves_out_the_warm_up() -> None:
    looks = [Look(0, 0), Look(10, 90), Look(11, 100), Look(13, 300)]
    measured = pace(looks, warm_up=100, records=300)
    assert (measured.records_per_s, measured.seconds, measured.short) == (100, 2, False)


def test_a_pace_of_a_single_look_is_taken_from_the_look_before_and_said_to_be_short() -> None:
    measured = pace([Look(0, 0), Look(0.02, 500)], warm_up=100, records=500)
    assert (measured.records_per_s, measured.short) == (25_000, True)


def test_markers_of_transactions_are_no_records() -> None:
    measured = pace([Look(0, 0), Look(1, 550), Look(2, 1_100)], warm_up=500, records=1_000)
    assert measured.records_per_s == 500


def test_outputs_of_several_views_are_one_input() -> None:
    measured = pace([Look(0, 0), Look(2, 1_000)], warm_up=0, records=1_000)
    assert measured.of_inputs(5).records_per_s == 100
