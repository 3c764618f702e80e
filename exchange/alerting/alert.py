"""One alert: firing → acknowledged or silenced → resolved. No I/O."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from exchange.alerting.rules import Kind, Severity
from exchange.errors import GovernanceError
from exchange.model import Label, Model


class State(StrEnum):
    """How far somebody has dealt with an alert; `firing` sorts first wherever alerts are shown."""

    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    RESOLVED = "resolved"


class Event(StrEnum):
    """What a notice tells."""

    FIRING = "firing"
    RESOLVED = "resolved"


ACTIVE: Final = (State.FIRING, State.ACKNOWLEDGED, State.SILENCED)


class Alert(Model):
    """What is wrong, where, since when, why most likely, and what to do. Times are milliseconds, UTC."""

    id: int = Field(default=0, description="0: not stored yet.")
    key: str = Field(description="Kind and place; one alert at a time has it.")
    kind: Kind
    severity: Severity
    state: State = State.FIRING
    stage: str = Field(description="capture, process, deliver, accounts, monitor or request.")
    where: str = Field(description="Topic, system, part, view or request; never a value.")
    value: float = Field(description="What was seen, in the kind's unit.")
    threshold: float
    since_ms: int = Field(description="From when on it was so.")
    fired_at_ms: int
    resolved_at_ms: int | None = None
    what: Label
    cause: Label
    action: Label
    by: str = Field(default="", description="Who acknowledged or silenced it.")
    reason: str = Field(default="", description="Why it was silenced.")
    until_ms: int | None = Field(default=None, description="Until when it is silenced.")


def acknowledged(alert: Alert, by: str) -> Alert:
    """Return the alert as one that somebody deals with. Raises: GovernanceError when it is over."""
    _expect_active(alert)
    return alert.model_copy(update={"state": State.ACKNOWLEDGED, "by": by, "until_ms": None, "reason": ""})


def silenced(alert: Alert, by: str, reason: str, until_ms: int) -> Alert:
    """Return the alert as one of which nobody is told until then. Raises: GovernanceError when it is over."""
    _expect_active(alert)
    if not reason.strip():
        msg = f"alert {alert.id}: silencing needs a reason, which others read"
        raise GovernanceError(msg)
    update = {"state": State.SILENCED, "by": by, "reason": reason.strip(), "until_ms": until_ms}
    return alert.model_copy(update=update)


def speaking(alert: Alert) -> Alert:
    """Return a silenced alert whose time is over as firing again."""
    return alert.model_copy(update={"state": State.FIRING, "by": "", "reason": "", "until_ms": None})


def resolved(alert: Alert, now_ms: int) -> Alert:
    """Return the alert as one that is over; who dealt with it stays."""
    return alert.model_copy(update={"state": State.RESOLVED, "resolved_at_ms": now_ms})


def _expect_active(alert: Alert) -> None:
    if alert.state not in ACTIVE:
        msg = f"alert {alert.id} is {alert.state}; only one that is not over can be changed"
        raise GovernanceError(msg)
