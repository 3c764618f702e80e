"""Rounds of a contest: each round lets every competitor do the same work, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from bench.figures import Spread, ratio
from bench.ground import Ground
from bench.pace import STALL_S, Pace, Visible, follow, pace
from bench.progress import say
from bench.verify import Judge, Outputs
from exchange.local.process import Running

Start = Callable[[], AbstractContextManager[list[Running]]]


@dataclass(frozen=True)
class Run:
    """One competitor's work of one round.

    records: written to its input, `warm_up` of them before the clock starts; judges: of each output topic;
    position_sum: what the outputs' positions must add up to, where they carry any.
    """

    records: int
    warm_up: int
    judges: Mapping[str, Judge]
    start: Start
    position_sum: int | None = None


@dataclass(frozen=True)
class Competitor:
    """Who takes part: its name in the figures, what it is, and how a round of it is prepared."""

    name: str
    title: str
    prepare: Callable[[], Run]


@dataclass
class Results:
    """What every competitor did, round by round; `missing` says of those that did not run why."""

    titles: dict[str, str] = field(default_factory=dict)
    paces: dict[str, list[Pace]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def rates(self, name: str) -> list[float]:
        """Return a competitor's records a second, round by round; empty when it did not run."""
        return [one.records_per_s for one in self.paces.get(name, [])]

    def ratios(self, ours: str, labels: Mapping[str, str]) -> dict[str, float]:
        """Return our rate over each other's; labels: name in the figures → competitor."""
        return {
            label: ratio(self.rates(ours), self.rates(theirs))
            for label, theirs in labels.items()
            if self.rates(ours) and self.rates(theirs)
        }

    def spread(self, name: str) -> Spread:
        """Return a competitor's rates as median, least and greatest."""
        return Spread.of(self.rates(name))

    def medians(self) -> dict[str, float]:
        """Return each competitor's median rate."""
        return {name: round(self.spread(name).median) for name in self.paces}

    def rows(self, ours: str) -> list[list[str]]:
        """Return table rows: title, records/s with spread, our rate against it."""
        rows = []
        for name, title in self.titles.items():
            if name in self.missing:
                rows.append([title, self.missing[name], ""])
                continue
            against = "" if name == ours else f"{ratio(self.rates(ours), self.rates(name)):.2f}"
            rows.append([title, self.spread(name).text(), against])
        return rows

    def raw(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rounds' figures, as JSON holds them."""
        return {
            name: [
                {"records_per_s": round(one.records_per_s), "seconds": round(one.seconds, 3)} for one in paces
            ]
            for name, paces in self.paces.items()
        }


def contest(ground: Ground, competitors: Sequence[Competitor], rounds: int) -> Results:
    """Let all competitors run in turn, as often as there are rounds.

    Raises: WrongOutputError when an output is not whole, single and masked; PartError when one fails.
    """
    return contest_between([(ground, one) for one in competitors], rounds)


def contest_between(entries: Sequence[tuple[Ground, Competitor]], rounds: int) -> Results:
    """Do the same with competitors that stand on different grounds."""
    results = Results({one.name: one.title for _, one in entries})
    for number in range(1, rounds + 1):
        for ground, one in entries:
            done = measure(ground, one.prepare())
            results.paces.setdefault(one.name, []).append(done)
            short = ", too short a time to say much: give more --records" if done.short else ""
            say(f"round {number} of {rounds}: {one.title}: {done.records_per_s:,.0f} records/s{short}")
    return results


def measure(ground: Ground, run: Run, stall_s: float = STALL_S) -> Pace:
    """Run one competitor once, look at its output from outside, and check it afterwards."""
    topics = list(run.judges)
    visible = Visible(ground.client, topics)
    base = visible.offsets()
    with_positions = run.position_sum is not None
    outputs = Outputs(ground.client, base, run.judges, run.records, sum_positions=with_positions)
    wanted, warm_up = run.records * len(topics), run.warm_up * len(topics)
    with run.start() as running:
        looks = follow(visible, sum(base.values()), wanted, running, outputs.complete, stall_s)
    outputs.check(run.position_sum)
    ground.forget(topics)
    return pace(looks, warm_up, wanted).of_inputs(len(topics))
