"""The live screen: it fits the terminal, and says the important first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from exchange.demo.figures import Figures, Totals
from exchange.demo.samples import Pair
from exchange.demo.screen import View
from exchange.files.contracts import load_contracts

CONTRACT = load_contracts(Path(__file__).parents[3] / "avro")["population.person"]
ROUTES = {
    "raw.population.public.person": ("person.school", "person.housing", "person.tax"),
    "raw.market.public.legal_person": ("legal_person.public", "legal_person.credit"),
    "raw.education.public.enrolment": ("enrolment.employment",),
}
DELAY = {"p50": 108.0, "p95": 283.0, "p99": 1429.0}
VIEWS = [f"share.{raw.split('.')[1]}.{view}" for raw, views in ROUTES.items() for view in views]
COMMANDS = (
    "接口 API: http://127.0.0.1:8080/api/status",
    "订阅 read a topic:",
    "  exchange consume tax --follow",
)
MASKED = {name: "***" if field.sensitivity else "same" for name, field in list(CONTRACT.fields.items())[:8]}
ROW = {field.source: "same" for field in CONTRACT.fields.values()}


def totals(delivered: int) -> Totals:
    counts = dict.fromkeys(VIEWS, delivered)
    return Totals(dict.fromkeys(ROUTES, delivered), counts, counts, {}, {}, (), frozenset())


def shown(width: int, height: int) -> list[str]:
    routes: list[dict[str, Any]] = [
        {"topic": raw, "view_topic": f"share.{raw.split('.')[1]}.{view}", "delay_ms": DELAY}
        for raw, views in ROUTES.items()
        for view in views
    ]
    screen = View(totals(0), time.monotonic(), CONTRACT, COMMANDS)
    screen.figures = Figures(totals(123_456), tuple(routes), ())
    screen.pair = Pair("population.person.housing", ROW, MASKED)
    screen.children = dict.fromkeys(("stream", "connect-population", "connect-market"), "running")
    screen.phase = "Ctrl-C: stop in order"
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as written:
        console.print(screen)
    return written.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (200, 60)])
def test_it_fits_the_terminal_with_every_route_in_one_line(width: int, height: int) -> None:
    lines = shown(width, height)
    assert len(lines) <= height
    for view in VIEWS:
        (line,) = [line for line in lines if "→ " in line and view.split(".", 2)[2] in line]
        assert all(figure in line for figure in ("108", "283", "1429", "123456"))
    assert "Ctrl-C" in lines[-1]


def test_a_low_terminal_shows_masked_fields_before_others() -> None:
    record = "\n".join(shown(80, 24))
    assert "***" in record
    assert "公民身份号码" in record
    assert "sex_code" not in record


def test_a_large_one_shows_the_whole_record_and_where_to_go_on() -> None:
    screen = "\n".join(shown(200, 60))
    assert all(name in screen for name in MASKED)
    assert all(command in screen for command in COMMANDS)
    assert all(view in screen for view in VIEWS)
