from __future__ import annotations

from typing import Any

import pytest

from monitor.quality import indicators


def row(**given: int) -> dict[str, int]:
    return {"captured": 100, "refused_capture": 0, "processed": 100, "refused_process": 0, **given}


def rule(reason: str, changes: int) -> dict[str, Any]:
    return {"reason": reason, "changes": changes}


def test_a_month_without_a_fault_is_whole() -> None:
    found = indicators(row(), [], {"readable_changes": 100, "timely": 100})

    assert set(found.model_dump().values()) == {1.0}


@pytest.mark.parametrize(
    ("figures", "rules", "name", "share"),
    [
        (row(), [rule("required", 5)], "completeness", 0.95),
        (row(), [rule("length", 5), rule("cn_id_number", 5)], "validity", 0.9),
        (row(processed=110), [], "uniqueness", 0.9),
        (row(processed=90), [], "consistency", 0.9),
        (row(refused_capture=10, processed=90), [rule("type", 10)], "validity", 0.9),
        (row(), [rule("foreign", 50), rule("mask", 5)], "validity", 1.0),
    ],
)
def test_each_fault_lowers_its_own_indicator_alone(
    figures: dict[str, int], rules: list[dict[str, Any]], name: str, share: float
) -> None:
    found = indicators(figures, rules, {"readable_changes": 100, "timely": 100}).model_dump()

    assert found.pop(name) == share
    assert set(found.values()) == {1.0}


def test_what_was_late_is_not_timely_and_nothing_is_judged_of_nothing() -> None:
    assert indicators(row(), [], {"readable_changes": 80, "timely": 60}).timeliness == 0.75
    nothing = indicators(row(captured=0, processed=0), [], None)
    assert set(nothing.model_dump().values()) == {None}
