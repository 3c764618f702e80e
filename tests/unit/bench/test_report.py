"""Tables and the report: what was measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import latency, memory, report
from bench.contest import Results
from bench.pace import Pace
from bench.table import markdown_table, text_table
from exchange.errors import ConfigError


def result(benchmark: str = "fanout", **changes: Any) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "given": {"records": 5_000, "rounds": 1, "peers": True, "rates": [1, 2]},
        "machine": {"cores": 2, "python": "3.11"},
        "ratios": {"fanout5_vs_1": 2.5},
        "table": {"head": ["views", "records/s"], "rows": [["1", "9,000"]]},
    } | changes


def test_a_text_table_is_aligned_also_with_wide_letters() -> None:
    assert text_table(["名", "n"], [["ab", "1"], ["c", "1,000"]]).splitlines() == [
        "名      n",
        "--  -----",
        "ab      1",
        "c   1,000",
    ]


def test_a_markdown_table_has_a_rule_under_its_head() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"


def test_a_competitor_that_did_not_run_has_its_reason_and_no_ratio() -> None:
    results = Results({"bus": "bus", "quix": "Quix"}, {"bus": [Pace(10, 1, False)]}, {"quix": "not run: why"})
    assert results.rows("bus") == [["bus", "10", ""], ["Quix", "not run: why", ""]]
    assert results.ratios("bus", {"pipeline_vs_quix": "quix"}) == {}


def test_a_report_has_each_figure_and_the_command_to_repeat_it() -> None:
    text = report.render([result()])
    assert "`exchange bench fanout --records 5000 --rounds 1 --peers --rates 1,2`" in text
    assert "| 1 | 9,000 |" in text
    assert "- `fanout5_vs_1`: 2.5" in text
    assert "run: pipeline, subscribers, latency, latency_from_source, capture, memory, monitor." in text


def test_a_report_says_of_a_ratio_whether_what_is_wanted_was_reached() -> None:
    for figure, verdict in ((2.2, "2.2; wanted is 2.2 at most: reached"), (2.21, "2.2 at most: not reached")):
        assert verdict in report.render([result(ratios={"fanout5_vs_1": figure})])
    for figure, verdict in ((0.45, "0.45 at least: reached"), (0.44, "0.45 at least: not reached")):
        assert verdict in report.render([result("pipeline", ratios={"pipeline_vs_passthrough": figure})])
    assert "- `pipeline_vs_quix`: 9\n" in report.render([result("pipeline", ratios={"pipeline_vs_quix": 9})])


def test_a_report_says_of_delays_memory_and_queries_whether_what_is_wanted_was_reached() -> None:
    delays = {"1000": {"p50": 61.5, "p99": 38.0}, "5": {"p50": 900.0, "p99": 900.0}}
    text = report.render([result("latency", ratios={}, latency_ms=delays)])
    assert "- `latency_ms.1000.p50`: 61.5; wanted is 60 at most: not reached\n" in text
    assert "- `latency_ms.1000.p99`: 38; wanted is 200 at most: reached\n" in text
    assert "latency_ms.20000" not in text
    assert "`latency_ms" not in report.render([result("latency_from_source", ratios={}, latency_ms=delays)])
    text = report.render([result("memory", ratios={}, memory={"max_mb": 286.4})])
    assert "- `memory.max_mb`: 286.4; wanted is 300 at most: reached\n" in text


def test_results_of_two_machines_make_no_report() -> None:
    with pytest.raises(ConfigError, match="different machines"):
        report.render([result(), result("memory", machine={"cores": 64})])


def test_two_results_of_one_benchmark_make_no_report() -> None:
    with pytest.raises(ConfigError, match="two results are of one benchmark"):
        report.render([result(), result()])


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"benchmark": "other"})])
def test_a_file_that_is_no_result_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "result.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"result\.json: not a benchmark's result"):
        report.read(file)


def test_a_saved_result_makes_the_document(tmp_path: Path) -> None:
    saved, out = tmp_path / "fanout.json", tmp_path / "performance.md"
    saved.write_text(json.dumps(result()))
    report.write([report.read(saved)], out)
    assert out.read_text().startswith("# Performance")


def test_latencies_are_medians_of_rounds() -> None:
    rounds = [latency.summary([float(n) for n in range(1, 101)]), latency.summary([200.0])]
    answer = latency.answer({1_000: rounds}, {})
    assert answer["latency_ms"]["1000"] == {"p50": 125.0, "p95": 147.5, "p99": 149.5, "max": 150.0}


def test_memory_leaves_the_first_tenth_out_of_its_slope() -> None:
    times = [float(second) for second in range(20)]
    answer = memory.answer(times, [50.0, 80.0, *[100.0] * 18], 5, {})
    assert answer["memory"]["slope_mb_per_min"] == 0
    assert (answer["rss_mb"], answer["memory"]["start_mb"], answer["memory"]["max_mb"]) == (100, 50, 100)
