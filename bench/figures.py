"""The arithmetic of the benchmarks: medians and spreads, percentiles, ratios, slopes. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds' figures, and their least and greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Return the spread of at least one figure."""
        return cls(statistics.median(figures), min(figures), max(figures))

    def text(self, digits: int = 0) -> str:
        """Return `median (least–greatest)`; the median alone where there is but one figure's worth."""
        median, least, greatest = (
            f"{number:,.{digits}f}" for number in (self.median, self.least, self.greatest)
        )
        return median if least == greatest else f"{median} ({least}–{greatest})"


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest figure that at least `share` (0 to 1) of the ordered figures do not exceed.

    Source: the nearest-rank method; it never invents a figure that was not measured.
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of round-by-round quotients, to three digits.

    Rounds are interleaved, so what disturbs the machine for a while falls on both sides of a quotient.
    """
    quotients = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return round(statistics.median(quotients), 3)


def slope(times: Sequence[float], figures: Sequence[float]) -> float:
    """Return the least-squares slope, in figures' units per unit of `times`; 0 for fewer than two."""
    if len(times) < 2:
        return 0.0
    return statistics.linear_regression(times, figures).slope
