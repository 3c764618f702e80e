"""docs/topology.md, made from the models: a field's description there is the only text about it."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from exchange.alerting.rules import Alerting, AlertRule, MailChannel, WebhookChannel
from exchange.masking import MaskSpec
from exchange.model import Label, Model
from exchange.topology.model import (
    ClickhouseDelivery,
    DebeziumEngine,
    DebeziumSystem,
    Department,
    FilesDelivery,
    FilesSystem,
    Governance,
    Grant,
    Group,
    HttpSystem,
    Person,
    PostgresDelivery,
    Quotas,
    Resource,
    Subscriber,
    System,
    Topology,
    WebhookDelivery,
)
from exchange.topology.watch import DenialsRule, ExpectedRule, OffHoursRule, RereadRule, VolumeRule
from exchange.view import RowCondition, ViewSpec

_HEAD = """\
# topology.yaml

<!-- Made from the models by `exchange check --doc`; a test compares. Change the models, not this. -->

The whole bus in one file. `exchange check` reads it offline and shows every problem with its line;
`exchange apply` makes Kafka, the schema registry and the sources look as it says. The file in this
repository's root is the worked example.
"""

SECTIONS: Final[tuple[tuple[str, type[Model]], ...]] = (
    ("departments", Department),
    ("systems: databases", System),
    ("systems: HTTP push", HttpSystem),
    ("systems: files", FilesSystem),
    ("systems: Debezium", DebeziumSystem),
    ("engine of a Debezium system", DebeziumEngine),
    ("resources", Resource),
    ("views", ViewSpec),
    ("rows of a view", RowCondition),
    ("subscribers", Subscriber),
    ("quotas of a subscriber", Quotas),
    ("delivery: PostgreSQL", PostgresDelivery),
    ("delivery: ClickHouse", ClickhouseDelivery),
    ("delivery: files", FilesDelivery),
    ("delivery: webhook", WebhookDelivery),
    ("grants", Grant),
    ("people", Person),
    ("groups", Group),
    ("governance", Governance),
    ("alerts", Alerting),
    ("rules of alerts", AlertRule),
    ("channels of alerts: webhook", WebhookChannel),
    ("channels of alerts: mail", MailChannel),
    ("watch: denials", DenialsRule),
    ("watch: volume", VolumeRule),
    ("watch: more than the grant expects", ExpectedRule),
    ("watch: reading again", RereadRule),
    ("watch: out of hours", OffHoursRule),
    ("label", Label),
)


def render() -> str:
    """Return the page."""
    parts = [_HEAD, _section("The file", Topology)]
    parts += [_section(title, model) for title, model in SECTIONS]
    parts.append(
        "## Masks\n\nA mask is written as a word (`name: redact`) or with its settings "
        "(`name: {kind: partial, keep_first: 1}`).\n"
    )
    parts += [_section(f"`{_kind(mask)}`", mask, level=3, hide="kind") for mask in masks()]
    return "\n".join(parts)


def masks() -> tuple[type[Model], ...]:
    """Return the models of all masks."""
    return get_args(get_args(MaskSpec)[0])


def _kind(mask: type[Model]) -> str:
    return str(get_args(mask.model_fields["kind"].annotation)[0])


def _section(title: str, model: type[Model], *, level: int = 2, hide: str = "") -> str:
    lines = [f"{'#' * level} {title}", "", (model.__doc__ or "").strip().split("\n\n")[0], ""]
    fields = {name: field for name, field in model.model_fields.items() if name != hide}
    if fields:
        lines += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_row(field.alias or name, field) for name, field in fields.items()]
        lines.append("")
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else _default(field.default)
    value = _type(field.annotation) + _bounds(field)
    return f"| `{name}` | {value} | {default} | {_escaped(field.description or '')} |"


def _escaped(text: str) -> str:
    """Return the text with `<` as Markdown wants it; between backticks Markdown shows it as it stands."""
    parts = text.split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _default(value: object) -> str:
    return "—" if value in (None, "", (), {}) or isinstance(value, Model) else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    low = next((str(bound.ge) for bound in field.metadata if isinstance(bound, Ge)), "")
    high = next((str(bound.le) for bound in field.metadata if isinstance(bound, Le)), "")
    if low and high:
        return f" {low}–{high}"
    return f" from {low}" if low else ""


def _union(models: tuple[Any, ...]) -> str:
    """Return what the models of a union are called."""
    if System in models:
        return "system"
    if MailChannel in models:
        return "channel"
    if DenialsRule in models:
        return "rule"
    return "delivery" if PostgresDelivery in models else "mask"


def _type(annotation: Any) -> str:
    """Return a type in a reader's words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in (Union, UnionType):
        parts = tuple(part for part in arguments if part is not type(None))
        return _union(parts) if len(parts) > 1 else _type(parts[0])
    if origin is dict:
        return f"{_type(arguments[0])} → {_type(arguments[1])}"
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    words = {
        "str": "text",
        "int": "number",
        "ViewSpec": "view",
        "RowCondition": "row condition",
        "AlertRule": "rule",
    }
    name: str = annotation.__name__
    return words.get(name, name.lower())
