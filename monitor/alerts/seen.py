"""What the rules look at: one moment's figures, each None where it is not known just then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from exchange.alerting.rules import Kind
from exchange.plan import PublishedPlan
from monitor.api.models import PartHealth, Route, SubscriberPosition
from monitor.balance import Balance

Heartbeat = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Overdue:
    """A request that should have been decided; view: what it asks for."""

    request: int
    view: str
    state: str
    due_ms: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One moment. long_refused: topic → share refused within the last hour; asked for only when it matters.

    certificates: place → when its certificate ends, milliseconds; None where one cannot be read.
    """

    now_ms: int
    parts: Mapping[str, PartHealth]
    plan: PublishedPlan | None = None
    workers: tuple[Heartbeat, ...] | None = None
    groups: tuple[SubscriberPosition, ...] | None = None
    routes: tuple[Route, ...] | None = None
    balance: Balance | None = None
    overdue: tuple[Overdue, ...] | None = None
    certificates: Mapping[str, int] | None = field(default_factory=dict)
    long_refused: Callable[[], Mapping[str, float]] = dict


@dataclass(frozen=True, slots=True)
class Condition:
    """What is so at one place at one moment; `text` chooses its words, `detail` is the system's own reason.

    since_ms: from when on, where the figures say so; else from when it is first seen.
    """

    kind: Kind
    text: str
    stage: str
    where: str
    value: float
    since_ms: int | None = None
    detail: str = ""

    @property
    def key(self) -> str:
        """Kind and place: there is one alert for them at a time."""
        return "|".join((self.kind, self.text, self.stage, self.where))
