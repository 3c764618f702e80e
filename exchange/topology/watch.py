"""The section `watch`: what of a subscriber's use is told, or stopped (exchange/watch/rules.py)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from exchange.files.problem import Steps
from exchange.model import Model
from exchange.suggest import hint, listing

Action = Literal["alarm", "suspend"]
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def _a_time(value: str) -> str:
    if not _TIME.fullmatch(value):
        msg = f"{value[:10]!r} is no time of day; wanted is one from 00:00 to 23:59, in quotes"
        raise ValueError(msg)
    return value


TimeOfDay = Annotated[str, AfterValidator(_a_time)]
Minutes = Annotated[int, Field(ge=1, le=1440)]
Count = Annotated[int, Field(ge=1)]


class WatchRule(Model):
    """What all rules have."""

    action: Action = Field(
        default="alarm",
        description="`suspend` also takes the grant away at once, as `exchange revoke --suspend` does.",
    )
    spare: tuple[str, ...] = Field(default=(), description="Subscribers that the rule is not for.")
    within_minutes: Minutes = Field(default=60, description="The window in which it is counted.")


class DenialsRule(WatchRule):
    """A subscriber asks for what it may not have: requests that Kafka's authorizer denied."""

    kind: Literal["denials"]
    count: Count = Field(description="Denials in a window from which it holds.")


class VolumeRule(WatchRule):
    """A subscriber reads more of a view than is expected."""

    kind: Literal["volume"]
    records: Count = Field(description="Records of one view, read in a window by all its groups.")


class ExpectedRule(WatchRule):
    """A subscriber reads more of a view than its grant expects; grants that expect nothing are left out."""

    kind: Literal["expected"]
    percent: Count = Field(default=150, description="Of what is expected in a window, from which it holds.")
    within_minutes: Minutes = Field(default=1440, description="The window in which it is counted.")


class RereadRule(WatchRule):
    """A subscriber goes back and reads again what it has read."""

    kind: Literal["reread"]
    records: Count = Field(default=1, description="Least number of records that it goes back by.")
    count: Count = Field(default=1, description="Times in a window from which it holds.")


class OffHoursRule(WatchRule):
    """A subscriber reads a view when nobody works, by the Chinese calendar and time."""

    kind: Literal["off_hours"]
    opens: TimeOfDay = Field(description="When work begins, as `'08:30'`.")
    closes: TimeOfDay = Field(description="When it ends, later on the same day.")
    records: Count = Field(default=1, description="Records of one view, read in a window out of hours.")

    def is_open(self, at: dt.time) -> bool:
        """Return whether work goes on at a time of a working day."""
        return dt.time.fromisoformat(self.opens) <= at < dt.time.fromisoformat(self.closes)


AnyWatchRule = Annotated[
    DenialsRule | VolumeRule | ExpectedRule | RereadRule | OffHoursRule, Field(discriminator="kind")
]


def watch_problems(
    rules: Mapping[str, AnyWatchRule], subscribers: Iterable[str]
) -> Iterator[tuple[Steps, str]]:
    """Yield each spared subscriber that the file does not declare, and hours that never open."""
    known = frozenset(subscribers)
    for name, rule in rules.items():
        for index, spared in enumerate(rule.spare):
            if spared not in known:
                told = f"'{spared}' is not among the subscribers ({listing(known)}).{hint(spared, known)}"
                yield ("watch", name, "spare", index), told
        if isinstance(rule, OffHoursRule) and rule.opens >= rule.closes:
            yield ("watch", name, "closes"), f"work ends at {rule.closes}, before it begins at {rule.opens}"
