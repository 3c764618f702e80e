"""The monthly assessment: its figures, and what it looks like on paper and in Excel."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import pytest
import python_calamine

from exchange.commands.report import _month, report
from exchange.errors import ConfigError
from exchange.report.assess import Assessment, assess
from exchange.report.excel import workbook
from exchange.report.render import html
from tests.unit.exchange.topologies import GOOD, load

NOW = dt.datetime(2026, 11, 28, 8, tzinfo=dt.UTC)
INDICATORS = {
    "completeness": 0.99, "validity": 0.9, "uniqueness": 1.0, "timeliness": 0.5, "consistency": None,
}  # fmt: skip
QUALITY: dict[str, Any] = {
    "month": "2026-10",
    "resources": [
        {
            "topic": "raw.population.public.person", "resource": "population.person", "captured": 1000,
            "refused": 110, "indicators": INDICATORS, "score": 84.75, "score_before": 90.0,
            "worst": [{"stage": "process", "reason": "length", "field": "full_name", "changes": 100}],
        },
    ],
    "views": [
        {"view_topic": "share.population.person.basic", "resource": "population.person", "delivered": 7},
    ],
}  # fmt: skip


def assessment(text: str = GOOD) -> Assessment:
    return assess(QUALITY, load(text).topology, {"police": 2}, NOW)


def test_a_department_is_told_by_what_it_gives_and_what_it_gets() -> None:
    police, tax = assessment().departments

    assert (police.department, police.resources, police.supplied, police.used) == ("police", 2, 1000, 0)
    assert (police.score, police.timeliness, police.overdue) == (84.75, 0.5, 2)
    assert (tax.department, tax.supplied, tax.views_used, tax.used) == ("tax", 0, 1, 7)
    assert tax.score is None


def test_a_resource_without_changes_is_there_without_figures() -> None:
    person, street = assessment().resources

    assert (person.resource, person.score, person.score_before) == ("population.person", 84.75, 90.0)
    assert (street.resource, street.captured, street.score) == ("population.street", 0, None)


def test_the_page_escapes_what_is_declared_and_loads_nothing() -> None:
    page = html(assessment(GOOD.replace("zh: 公安局", "zh: '<script src=x>'")))

    assert "&lt;script src=x&gt; police" in page
    assert "<script" not in page
    assert "http" not in page
    assert "99.0" in page


def test_the_workbook_has_the_same_figures_and_no_formula() -> None:
    told = workbook(assessment(GOOD.replace("zh: 公安局", "zh: '=1+1'")))

    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(told))
    departments, resources, rules = (book.get_sheet_by_index(number).to_python() for number in range(3))
    assert departments[1][:3] == ["=1+1 police", 2.0, 1000.0]
    assert resources[1][4:9] == [99.0, 90.0, 100.0, 50.0, ""]
    assert rules[1] == ["population.person", "process", "length", "full_name", 100.0]


def test_a_month_or_a_file_that_is_none_is_refused(tmp_path: Any) -> None:
    assert _month("", dt.datetime(2026, 1, 15, tzinfo=dt.UTC)) == "2025-12"
    for wrong in ("2026-13", "2026", "26-01", "2026-11; x"):
        with pytest.raises(ConfigError, match="a month like"):
            _month(wrong, NOW)
    with pytest.raises(ConfigError, match=r"ends with .json, .xlsx, .html"):
        report("2026-11", tmp_path / "report.pdf")
