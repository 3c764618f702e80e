"""`exchange monitor`: the registry, the accounts' way into ClickHouse, and the JSON API."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from exchange.errors import ConfigError
from exchange.settings import Settings


def monitor(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; default: the one in endpoints.json."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Off this machine the API answers nobody before `exchange user add`."
        ),
    ] = "127.0.0.1",
) -> None:
    """Serve the schema registry and the JSON API, and keep the accounts in ClickHouse, until SIGTERM.

    `exchange up` starts this in the background. It waits for Kafka and says so in its log and under /health.

    Examples:
      exchange monitor
      exchange monitor --port 18081
    """
    from monitor.service import Service

    settings = Settings()
    Service(settings).run(host, port or _published_port(settings))


def _published_port(settings: Settings) -> int:
    url = settings.endpoints().registry
    found = urlsplit(url).port
    if found is None:
        msg = f"registry address {url} names no port; give one with --port"
        raise ConfigError(msg)
    return found
