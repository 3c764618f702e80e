"""What the API answers and what it may be asked. Times are milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from exchange.alerting.alert import Alert
from exchange.model import Model
from monitor.balance import Problem as Imbalance
from monitor.delays import DelayBudget, StageDelay
from monitor.expected import Silent

_WEEK_S = 7 * 86_400


class RoutesParams(Model):
    """Query parameters of /api/routes."""

    LONGEST_S: ClassVar[int] = _WEEK_S

    window_s: int = Field(default=300, ge=10, le=_WEEK_S, description="How far back figures reach.")
    limit: int | None = Field(
        default=None, ge=1, le=1000, description="At most so many; all where not given."
    )
    offset: int = Field(default=0, ge=0, le=1_000_000, description="So many are passed over.")


class RouteParams(Model):
    """Query parameters of /api/route."""

    topic: str = Field(min_length=1, max_length=249, description="Raw topic.")
    view_topic: str = Field(min_length=1, max_length=249, description="View topic.")
    span: Literal["15min", "day", "month"] = Field(
        default="15min", description="How far back: by the minute, by the minute, by the hour."
    )


class BalanceParams(Model):
    """Query parameters of /api/accounts/balance."""

    minutes: int = Field(default=1440, ge=1, le=90 * 1440, description="How many source minutes back.")
    per: Literal["topic", "minute"] = Field(
        default="topic", description="`minute` adds the figures of every minute."
    )


class RefusalsParams(Model):
    """Query parameters of /api/refusals."""

    window_s: int = Field(default=86_400, ge=10, le=90 * 86_400, description="How far back figures reach.")
    topic: str = Field(default="", max_length=249, description="Only this raw topic.")
    limit: int = Field(default=100, ge=1, le=1000, description="At most so many rows, largest first.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="So many are passed over.")


Trend = Literal["growing", "shrinking", "steady"]


class NoParams(Model):
    """A path without query parameters."""


class Delay(Model):
    """Source commit to readable by a read_committed consumer, milliseconds; each within 5 %."""

    p50: float
    p95: float
    p99: float


class Delivered(Model):
    """What one subscriber's own store, or its answers over HTTP, got of a view, over the window."""

    subscriber: str
    stage: Literal["deliver", "pull"] = Field(
        description="deliver: written to its store. pull: handed out over HTTP, as often as it was asked for."
    )
    delivered: int = Field(description="Changes written or handed out.")
    parked: int = Field(
        description="Changes that the store cannot hold, whose places and reasons it keeps; of stage pull, "
        "those handed out without their content."
    )
    lag_records: int | None = Field(
        description="Not yet written, or behind the cursor sent last; None where Kafka does not tell."
    )
    last_made_at_ms: int


class Route(Model):
    """From one raw topic to one view topic, over the window."""

    topic: str
    view_topic: str
    resource: str
    plan_version: int
    rate_per_s: float = Field(description="Changes delivered per second over the last minute.")
    delivered: int
    filtered: int
    records: int = Field(description="Kafka records written, tombstones too.")
    refused: dict[str, int] = Field(description="Reason → changes of the raw topic, for all its views.")
    delay_ms: Delay | None = Field(description="None where nothing was processed in the window.")
    last_made_at_ms: int | None
    deliveries: tuple[Delivered, ...] = Field(description="Into subscribers' own stores, and over HTTP.")
    stages: tuple[StageDelay, ...] = Field(default=(), description="Delay stage by stage, in order.")
    budget: DelayBudget | None = Field(default=None, description="None where the view declares none.")
    lag_records: int | None = Field(
        default=None, description="Records of the raw topic that the workers have not read."
    )
    lag_s: float | None = Field(
        default=None, description="For how long the oldest of them has been there, to within 5 s."
    )
    trend: Trend | None = Field(default=None, description="Of lag_records, over the last minute.")
    readers_lag_records: int | None = Field(
        default=None, description="The largest lag of a subscriber's group on the view topic."
    )


class FlowPoint(Model):
    """What a view topic got in one step."""

    start_ms: int
    delivered: int
    filtered: int
    records: int


class StagePoint(Model):
    """What passed one stage in one step, and how late."""

    start_ms: int
    stage: Literal["capture", "process", "redrive", "deliver", "pull"]
    changes: int
    refused: int
    p99_ms: float | None = Field(description="Source commit to the stage's end; None where nothing passed.")


class RouteDetail(Model):
    """One route, and its figures over time. Steps without figures are left out."""

    at_ms: int
    step_s: int
    since_ms: int
    route: Route
    flow: tuple[FlowPoint, ...]
    stages: tuple[StagePoint, ...]
    readers: tuple[SubscriberPosition, ...] = Field(description="Consumer groups on the view topic.")


class Routes(Model):
    """The routes of the newest plan and those with figures in the window, by topic and view topic."""

    window_s: int
    at_ms: int
    routes: tuple[Route, ...]
    total: int = Field(description="How many there are, with those that the limit left out.")
    next_offset: int | None = Field(default=None, description="Where the next ones start; None at the end.")


class Refusal(Model):
    """What went to quarantine for one reason."""

    topic: str
    resource: str
    stage: str
    reason: str
    field: str = Field(description="Dotted path in the contract, never a value.")
    changes: int
    last_made_at_ms: int


class Refusals(Model):
    """Refusals over the window, largest first."""

    window_s: int
    at_ms: int
    refusals: tuple[Refusal, ...]
    next_offset: int | None = Field(default=None, description="Where the next ones start; None at the end.")


class MinuteFigures(Model):
    """One raw topic's figures of one source minute."""

    topic: str
    minute_ms: int
    captured: int
    refused_capture: int
    processed: int
    refused_process: int


class SubscriberPosition(Model):
    """How far one consumer group is on one partition."""

    subscriber: str
    group: str
    topic: str
    partition: int
    next_offset: int
    end_offset: int
    lag_records: int = Field(description="Transaction markers count, so an idle group may show a few.")
    at_ms: int
    lag_s: float | None = Field(
        default=None,
        description="For how long the record it would read next has been there, to within 5 s; 0 where there "
        "is none. A lag from before the monitor knew the topic counts from then.",
    )
    trend: Trend | None = Field(default=None, description="Of lag_records, over the last minute.")


class PartHealth(Model):
    """Whether one part works, and what it says."""

    ok: bool
    text: str


class Health(Model):
    """Answer of /health: HTTP 200 when all parts work, else 503."""

    ok: bool
    parts: dict[str, PartHealth]


class AccountsProgress(Model):
    """How far the monitor has read the accounts."""

    next_offset: int
    end_offset: int
    ingested: int = Field(description="Since the monitor started.")
    reconciled_at_ms: int | None = Field(
        default=None, description="When what is stored was last compared with what Kafka has."
    )
    mended: int = Field(default=0, description="Stored again since the start: missing, or there twice.")
    unknown_to_kafka: int = Field(default=0, description="Stored accounts that Kafka never had.")


class BalanceSummary(Model):
    """The short form of /api/accounts/balance."""

    balanced: bool
    captured: int
    processed: int
    refused: int
    in_flight: int
    problems: int
    newest: tuple[Imbalance, ...] = Field(default=(), description="The newest three problems.")


class Status(Model):
    """Everything at a glance; figures are null while ClickHouse does not answer."""

    at_ms: int
    started_at_ms: int
    memory_mib: int = Field(description="Resident memory of the monitor, embedded ClickHouse included.")
    parts: dict[str, PartHealth]
    workers: tuple[dict[str, JsonValue], ...] = Field(description="Heartbeats of connectors and workers.")
    silent: tuple[Silent, ...] = Field(
        default=(), description="Who ought to be at work and gives no sign of life."
    )
    plan_version: int | None
    accounts: AccountsProgress
    routes_window_s: int = Field(description="How far back the figures of the routes reach.")
    balance_minutes: int = Field(description="How many source minutes back the balance reaches.")
    routes: tuple[Route, ...] | None
    balance: BalanceSummary | None
    subscribers: tuple[SubscriberPosition, ...] | None
    alerts: tuple[Alert, ...] | None = Field(default=None, description="Not over, firing ones first.")
    sweep: PartHealth | None = Field(
        default=None, description="What the last sweep of requests and grants came to."
    )


class Problem(Model):
    """An error. Source: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: tuple[str, ...] = ()
