from __future__ import annotations

import re

from bench.monitor import answer, questions
from monitor.clickhouse.client import read_queries

AT_START_OR_IN_THE_BACKGROUND = {
    "next_account", "rolled_up", "touched_minutes", "known_ends", "stored_offsets", "stored_in_stretch",
    "quarantine_next",
}  # fmt: skip


def test_every_query_that_a_viewer_causes_is_measured_with_all_its_parameters() -> None:
    queries = read_queries()
    asked = list(questions(1_800_000_000))

    assert {name for name, _, _ in asked} == set(queries) - AT_START_OR_IN_THE_BACKGROUND
    for name, _, given in asked:
        assert set(re.findall(r"\{(\w+):", queries[name])) <= given.keys(), name


def test_the_figure_is_that_of_the_slowest_query() -> None:
    found = answer(
        [("routes", "day", [5.0] * 20), ("totals", "day", [1.0] * 18 + [80.0, 90.0])], 10_000, 3.2, 0.5
    )

    assert (found["query_p95_ms"], found["worst_query"]) == (80.0, "totals, day")
    assert found["given"] == {"rows": 10_000}
