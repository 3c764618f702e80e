"""`exchange up`, `down`, `status`, `client-config`: the parts of the bus, and the way in for subscribers."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from exchange.counting import counted
from exchange.errors import ConfigError
from exchange.subscriber.client_config import Format

if TYPE_CHECKING:
    from exchange.local.stack import PartStatus
    from exchange.settings import Settings

_FIGURES_TIMEOUT_S: Final = 5.0
_STOPPED: Final = frozenset({"stopped", "ended", "not answering"})


def up(
    parts: Annotated[
        list[str] | None,
        typer.Argument(help="kafka, redis, postgres, monitor; all of them where none is named."),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Kafka speaks TLS, from now on; certificates are made if need be.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the addresses as one JSON object.")] = False,
) -> None:
    """Start Kafka, Redis, PostgreSQL and the monitor in the background, and wait until all answer.

    What runs already is left as it is. A part whose address is set (EXCHANGE_KAFKA_BOOTSTRAP,
    EXCHANGE_REDIS_URL, EXCHANGE_API_URL) is not started, only asked. State and logs are in EXCHANGE_HOME
    (default .exchange).

    Examples:
      exchange up
      exchange up kafka redis
      exchange up --tls
      EXCHANGE_HOME=/srv/exchange exchange up --json
    """
    from exchange import local
    from exchange.local.stack import ALL_PARTS
    from exchange.settings import Settings

    unknown = [part for part in parts or () if part not in ALL_PARTS]
    if unknown:
        msg = f"no part is called {', '.join(unknown)}; there are {', '.join(ALL_PARTS)}"
        raise ConfigError(msg)
    settings = Settings()
    if tls:
        settings = settings.model_copy(update={"kafka_security_protocol": "SASL_SSL"})
    endpoints = local.up(settings, _say, parts or ALL_PARTS)
    if as_json:
        sys.stdout.write(endpoints.model_dump_json(indent=2) + "\n")
        return
    for name, address in endpoints.model_dump(exclude_none=True).items():
        sys.stdout.write(f"{name:<11} {address}\n")


def down(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was stopped as one JSON object.")
    ] = False,
) -> None:
    """Stop all that runs in the background here: connectors, workers, monitor, then the parts. Data stay.

    Examples:
      exchange down
      exchange down --json
    """
    from exchange import local
    from exchange.settings import Settings

    stopped = local.down(Settings(), _say)
    if as_json:
        sys.stdout.write(json.dumps({"stopped": stopped}) + "\n")
        return
    sys.stdout.write(f"stopped: {', '.join(stopped)}\n" if stopped else "nothing was running\n")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which parts answer and, when the monitor does, what goes through the bus.

    The exit code is 1 when a part is stopped or doesn't answer.

    Examples:
      exchange status
      exchange status --json
    """
    from exchange import local
    from exchange.settings import Settings

    settings = Settings()
    parts = local.status(settings)
    figures = _figures(settings) if _answers("monitor", parts) else None
    if as_json:
        document = {"parts": [part.model_dump() for part in parts], "figures": figures}
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(_as_text(parts, figures))
    if any(part.state in _STOPPED for part in parts):
        raise typer.Exit(1)


def client_config(
    subscriber: Annotated[str, typer.Argument(help="The subscriber's name in topology.yaml.")],
    form: Annotated[
        Format, typer.Option("--format", help="librdkafka (also kcat -F), java, or json.")
    ] = "librdkafka",
) -> None:
    """Print what a subscriber's client needs: addresses, login, registry, groups and topics.

    The text holds the subscriber's password.

    Examples:
      (umask 077; exchange client-config school-office > school.properties)
      kcat -F school.properties -C -t share.population.person.school
      exchange client-config school-office --format json
    """
    from exchange.settings import Settings
    from exchange.subscriber.client_config import client_config as connection
    from exchange.subscriber.client_config import render

    settings = Settings()
    topics = _granted(settings, subscriber)
    sys.stdout.write(render(connection(settings, subscriber, topics), form))


def _granted(settings: Settings, subscriber: str) -> tuple[str, ...] | None:
    """Return the topics of the views granted to a subscriber, None where no topology file is found.

    Raises: ConfigError when the topology doesn't know the subscriber, or, without one, when it is one of the
    bus's own users.
    """
    from exchange.apply import access
    from exchange.cluster import ADMIN
    from exchange.files.contracts import load_contracts
    from exchange.governance.desired import with_approved
    from exchange.plan import view_topic
    from exchange.topology import load, today

    if not settings.topology.exists():
        own = subscriber in {ADMIN, access.WORKER, access.MONITOR}
        if own or subscriber.startswith((access.connector(""), access.steward(""))):
            msg = f"{subscriber} is a user of the bus itself; name a subscriber"
            raise ConfigError(msg)
        return None
    topology = with_approved(settings, load(settings.topology, load_contracts(settings.contracts)))
    if subscriber not in topology.subscribers:
        known = ", ".join(sorted(topology.subscribers)) or "none"
        msg = f"{settings.topology}: no subscriber is called {subscriber}; there are {known}"
        raise ConfigError(msg)
    views = (view.rpartition(".") for view in topology.granted_views(subscriber, today()))
    return tuple(view_topic(resource, name) for resource, _, name in views)


def _answers(name: str, parts: list[PartStatus]) -> bool:
    return any(part.part == name and part.state not in _STOPPED for part in parts)


def _figures(settings: Settings) -> Any:
    """Return the monitor's figures; None when it has none to give just now."""
    import httpx

    from exchange.settings import machine_headers

    url = httpx.URL(settings.endpoints().api).join("/api/status")
    try:
        headers = machine_headers(settings)
        answer = httpx.get(url, headers=headers, timeout=_FIGURES_TIMEOUT_S, trust_env=False)
        return answer.json() if answer.is_success else None
    except (httpx.HTTPError, ValueError):
        return None


def _as_text(parts: list[PartStatus], figures: Any) -> str:
    from exchange.commands.status_text import figures_text

    lines = [f"{'part':<16} {'state':<14} {'pid':>8}  address"]
    for part in parts:
        pid = str(part.pid) if part.pid is not None else "-"
        lines.append(f"{part.part:<16} {part.state:<14} {pid:>8}  {part.address or '-'}")
        if part.reason:
            lines.append(f"{'':<16} {part.reason}")
        if part.certificate_days_left is not None:
            lines.append(f"{'':<16} {_certificate(part.certificate_days_left)}")
    if figures is not None:
        lines += ["", figures_text(figures).rstrip()]
    return "\n".join(lines) + "\n"


def _certificate(days_left: int) -> str:
    from exchange.tls.files import RENEW_BEFORE_DAYS

    if days_left < 0:
        return "TLS: its certificate has ENDED; `exchange ca renew`"
    hint = "; `exchange ca renew`" if days_left < RENEW_BEFORE_DAYS else ""
    return f"TLS: its certificate ends in {counted(days_left, 'day')}{hint}"


def _say(message: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {message}\n")
    sys.stderr.flush()
