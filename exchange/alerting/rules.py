"""Section `alerts` of topology.yaml: when the monitor alerts, and whom it tells; it goes with the plan."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from exchange.model import Model

Kind = Literal[
    "part_down", "stall", "lag", "imbalance", "refusals", "delay_budget", "retained_wal",
    "overdue_request", "certificate",
]  # fmt: skip
Severity = Literal["warning", "critical"]

RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
SecretName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
ReceiverUrl = Annotated[
    str,
    Field(
        pattern=r"^(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\s@#]*)?"
        r"|http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/[^\s@#]*)?)$"
    ),
]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")]
MailAddress = Annotated[str, Field(pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$")]

_LOCAL: Final = frozenset({"localhost", "127.0.0.1"})


class AlertRule(Model):
    """When something is an alert. The first rule of a kind that fits the place decides, then the default."""

    kind: Kind = Field(description="What is watched; docs/alerts.md has each kind's unit and default.")
    where: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=("*",), description="Places it is for: topics, systems or parts, `*` for any characters."
    )
    threshold: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="From where it alerts, in the kind's unit; the kind's own when not given."
    )
    for_s: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None, description="Seconds that it must last; the kind's own when not given."
    )
    severity: Severity | None = Field(default=None, description="The kind's own when not given.")
    long_window: bool = Field(
        default=True,
        description="`refusals`: the last hour must be past it too, not only the last five minutes.",
    )
    enabled: bool = Field(default=True, description="`false`: no alert of that kind at these places.")

    def fits(self, kind: Kind, where: str) -> bool:
        """Return whether the rule decides about a place."""
        return kind == self.kind and any(fnmatchcase(where, pattern) for pattern in self.where)


class WebhookChannel(Model):
    """Notices as POST requests, signed as those of `delivery` are."""

    kind: Literal["webhook"] = Field(description="HTTP requests, signed as Standard Webhooks has it.")
    url: ReceiverUrl = Field(description="Where they go; http only on this machine.")
    keys_env: SecretName = Field(
        description="Name of the secret that holds the signing keys; made by `exchange alert key`."
    )
    signature: Literal["hmac", "ed25519"] = Field(default="hmac", description="As of a delivery.")
    ca_file: str = Field(
        default="", description="PEM file of the CA of its certificate; empty: a public one."
    )
    from_severity: Severity = Field(default="warning", description="`critical`: only these.")
    most_per_hour: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=60, description="Notices an hour at most; more wait."
    )


class MailChannel(Model):
    """Notices as mails, in Chinese and English."""

    kind: Literal["mail"] = Field(description="Mail by SMTP.")
    host: HostName = Field(description="SMTP server.")
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=587, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="`none` only to this machine."
    )
    login_env: SecretName | None = Field(
        default=None, description="Name of the secret that holds `user:password`; none when not given."
    )
    sender: MailAddress = Field(description="From whom.")
    recipients: Annotated[tuple[MailAddress, ...], Field(min_length=1)] = Field(description="To whom.")
    from_severity: Severity = Field(default="warning", description="`critical`: only these.")
    most_per_hour: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=60, description="Notices an hour at most; more wait."
    )

    @model_validator(mode="after")
    def _readable_by_nobody_else(self) -> Self:
        if self.tls == "none" and self.host not in _LOCAL:
            msg = "tls: none is for a server on this machine alone (localhost); use starttls or tls"
            raise ValueError(msg)
        return self


AnyChannel = Annotated[WebhookChannel | MailChannel, Field(discriminator="kind")]
"""A channel of any kind."""


class Alerting(Model):
    """Rules besides the built-in ones, and the channels that notices go to; see docs/alerts.md."""

    rules: dict[RuleName, AlertRule] = Field(default={}, description="Rules by name, first fitting first.")
    channels: dict[RuleName, AnyChannel] = Field(default={}, description="Who is told, by name.")

    def rule(self, kind: Kind, where: str) -> AlertRule:
        """Return the rule for a place, with the kind's defaults filled in."""
        own = next((rule for rule in self.rules.values() if rule.fits(kind, where)), AlertRule(kind=kind))
        given = own.model_dump(exclude_none=True)
        return AlertRule.model_validate({**DEFAULTS[kind].model_dump(), **given})


DEFAULTS: Final[dict[Kind, AlertRule]] = {
    rule.kind: rule
    for rule in (
        AlertRule(kind="part_down", threshold=1, for_s=60, severity="critical"),
        AlertRule(kind="stall", threshold=30, for_s=0, severity="critical"),
        AlertRule(kind="lag", threshold=120, for_s=60, severity="warning"),
        AlertRule(kind="imbalance", threshold=1, for_s=10, severity="critical"),
        AlertRule(kind="refusals", threshold=0.05, for_s=0, severity="warning"),
        AlertRule(kind="delay_budget", threshold=1, for_s=120, severity="warning"),
        AlertRule(kind="retained_wal", threshold=0.8, for_s=0, severity="critical"),
        AlertRule(kind="overdue_request", threshold=0, for_s=0, severity="warning"),
        AlertRule(kind="certificate", threshold=14, for_s=0, severity="critical"),
    )
}
"""part_down: parts; stall, lag: seconds; imbalance: minutes that do not balance; refusals: share of what was
processed; delay_budget: times the budget; retained_wal: share of protect_wal_bytes; overdue_request: working
days past the deadline are not counted, any is one; certificate: days left."""
