"""Where the time between a source's commit and its readers goes: stage by stage, against a budget. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from exchange.model import Model

StageName = Literal["capture", "process", "deliver"]

_REACHED: Final[tuple[tuple[str, StageName], ...]] = (
    ("capture", "capture"), ("readable", "process"), ("deliver", "deliver"),
)  # fmt: skip
"""Where the time up to a stage's end is counted, and the stage, in order."""


class StageDelay(Model):
    """One stage of a route: milliseconds from the source's commit to its end; each within 10 %.

    capture: handed to Kafka; process: readable in the view's topic; deliver: in a subscriber's own store.
    """

    stage: StageName
    p50: float
    p95: float
    p99: float
    added_p99: float = Field(description="How much later than the stage before it, at the 99th percentile.")


class DelayBudget(Model):
    """Whether a route keeps what its view declares as `delay_budget_ms`, and which stage breaks it."""

    budget_ms: int
    kept: bool
    p99_ms: float = Field(description="Source commit to readable.")
    slowest_stage: StageName = Field(description="The stage that adds most to the 99th percentile.")


def stages_of(rows: Iterable[Mapping[str, Any]]) -> tuple[StageDelay, ...]:
    """Return the stages of a route in order, from the rows of delays_of_stages that are about it."""
    percentiles = {row["reached"]: row["percentiles"] for row in rows}
    found: list[StageDelay] = []
    for reached, stage in _REACHED:
        if reached in percentiles:
            p50, p95, p99 = (round(value, 1) for value in percentiles[reached])
            before = found[-1].p99 if found else 0.0
            added = round(max(p99 - before, 0.0), 1)
            found.append(StageDelay(stage=stage, p50=p50, p95=p95, p99=p99, added_p99=added))
    return tuple(found)


def judged(stages: Iterable[StageDelay], budget_ms: int | None) -> DelayBudget | None:
    """Return how a route's delay stands to its budget; None without a budget, or where nothing passed."""
    within = [stage for stage in stages if stage.stage != "deliver"]
    if budget_ms is None or not within or within[-1].stage != "process":
        return None
    slowest = max(within, key=lambda stage: stage.added_p99)
    p99_ms = within[-1].p99
    return DelayBudget(
        budget_ms=budget_ms, kept=p99_ms <= budget_ms, p99_ms=p99_ms, slowest_stage=slowest.stage
    )
