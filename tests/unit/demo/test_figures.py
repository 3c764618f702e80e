"""The demonstration's figures: what was added in this run, and at which rate."""

from __future__ import annotations

from exchange.demo.figures import Figures, Rates, Totals, outcome, since

RAW, VIEW = "raw.a.public.t", "share.a.t.v"


def totals(captured: int, delivered: int, in_flight: int = 0, problems: tuple[str, ...] = ()) -> Totals:
    return Totals(
        captured={RAW: captured},
        delivered={VIEW: delivered},
        filtered={VIEW: captured - delivered - in_flight},
        refused={"code": 1},
        in_flight={RAW: in_flight},
        problems=problems,
        uneven=frozenset(),
    )


def test_a_run_counts_what_was_added_since_its_start() -> None:
    delay = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
    end = Figures(totals(25, 15), ({"topic": RAW, "view_topic": VIEW, "delay_ms": delay},), ())
    result = outcome(totals(10, 8), end, 1.26)
    assert (result["captured"], result["delivered"], result["filtered"]) == (15, {VIEW: 7}, 8)
    assert result["refused"] == {}
    assert result["latency_ms"] == {f"{RAW} → {VIEW}": delay}
    assert (result["balanced"], result["duration_s"]) == (True, 1.3)


def test_what_is_on_its_way_or_wrong_is_not_balanced() -> None:
    assert not totals(5, 3, in_flight=1).balanced
    assert not totals(5, 3, problems=("one is missing",)).balanced
    assert totals(5, 3).balanced


def test_a_topic_that_is_new_counts_from_nothing() -> None:
    assert since({"a": 2}, {"b": 3, "a": 2}) == {"a": 0, "b": 3}


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    rates = Rates()
    for second in range(30):
        rates.add(float(second), {VIEW: 0 if second < 15 else (second - 15) * 20})
    assert rates.of(VIEW) == 20.0
    assert rates.of("share.other") == 0.0


def test_one_look_makes_no_rate() -> None:
    rates = Rates()
    rates.add(1.0, {VIEW: 5})
    assert rates.of(VIEW) == 0.0
