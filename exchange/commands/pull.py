"""`exchange serve-pull` and `exchange pull-key`: subscribers that read their views over HTTP."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from exchange.commands.running import on_signal


def serve_pull(
    listen: Annotated[
        str, typer.Option(help="host:port to serve on; TLS is the reverse proxy's.")
    ] = "127.0.0.1:8490",
) -> None:
    """Serve `GET /pull/<view>` to all subscribers that have a key, until SIGTERM or Ctrl-C.

    Each request is read from Kafka as the subscriber whose key it carries: Kafka's own access rules decide.
    The process keeps nothing, so several may run side by side; docs/pull.md has the interface.

    Examples:
      exchange serve-pull
      exchange serve-pull --listen 0.0.0.0:8490
    """
    import re

    from connectors.pull.server import PullServer
    from exchange import log
    from exchange.errors import ConfigError
    from exchange.settings import Settings

    if not re.fullmatch(r"[A-Za-z0-9_.:-]+:[0-9]{1,5}", listen, re.ASCII):
        msg = "--listen: wanted is host:port, like 127.0.0.1:8490"
        raise ConfigError(msg)
    server = PullServer(Settings(), listen)
    on_signal(server.stop)
    server.run()
    log.get(__name__).info("pull_stopped")


def pull_key(
    subscriber: Annotated[str, typer.Argument(help="Subscriber that topology.yaml gives `pull_keys_env`.")],
    only: Annotated[
        bool, typer.Option("--only", help="Make every key before it invalid at once, not the oldest alone.")
    ] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Make no key, and all there are invalid.")] = False,
) -> None:
    """Make an API key for a subscriber that pulls, and print it: it is shown this once, its hash is kept.

    The newest key before stays valid beside it, so that the subscriber can change over; a second run, or
    --only, ends that. The hashes are a secret of the bus (`pull_keys_env` in topology.yaml); what runs reads
    them anew for each request.

    Examples:
      exchange pull-key housing
      exchange pull-key housing --only
      exchange pull-key housing --revoke
    """
    from connectors.http.keys import make_key, revoke_keys
    from exchange.errors import ConfigError
    from exchange.files import yaml_source
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean
    from exchange.topology import check, today

    settings = Settings()
    pulling = check(yaml_source.read(settings.topology), None, today()).topology.pull_keys()
    if subscriber not in pulling:
        msg = f"{settings.topology}: no subscriber with pull_keys_env {did_you_mean(subscriber, pulling)}"
        raise ConfigError(msg)
    if revoke:
        revoke_keys(settings.secrets, pulling[subscriber])
        sys.stderr.write(f"No key of {subscriber} is valid any more.\n")
        return
    key = make_key(settings.secrets, pulling[subscriber], only=only)
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(f"Give it to {subscriber}; it cannot be shown again.\n")
