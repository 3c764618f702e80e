"""`exchange push-key`: API keys of systems that push."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def push_key(
    system: Annotated[str, typer.Argument(help="System of kind http, as topology.yaml names it.")],
    only: Annotated[
        bool, typer.Option("--only", help="Make every key before it invalid at once, not the oldest alone.")
    ] = False,
) -> None:
    """Make an API key for a system that pushes, and print it: it is shown this once, its hash is kept.

    The newest key before stays valid beside it, so that the department can change over; a second run, or
    --only, ends that. The hashes are a secret of the bus (`keys_env` in topology.yaml); what runs reads them
    anew for each request.

    Examples:
      exchange push-key hospitals
      exchange push-key hospitals --only
    """
    from connectors.http.keys import make_key
    from exchange.errors import ConfigError
    from exchange.files import yaml_source
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean
    from exchange.topology import check, today
    from exchange.topology.model import HttpSystem

    settings = Settings()
    declared = check(yaml_source.read(settings.topology), None, today()).topology.systems
    pushing = {name: found for name, found in declared.items() if isinstance(found, HttpSystem)}
    if system not in pushing:
        msg = f"{settings.topology}: no system of kind http {did_you_mean(system, pushing)}"
        raise ConfigError(msg)
    key = make_key(settings.secrets, pushing[system].keys_env, only=only)
    sys.stdout.write(f"{key}\n")
    sys.stderr.write(f"Give it to the department of {system}; it cannot be shown again.\n")
