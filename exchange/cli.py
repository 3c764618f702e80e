"""The command `exchange`: assembles the commands and turns errors into one clear line.

stdout is the answer, stderr the log. Exit codes: 0 done, 1 error (or an unbalanced account), 2 wrong usage or
differences found, 3 "restart me" (worker and connector only).
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import typer

from exchange import log
from exchange.errors import ExchangeError
from exchange.settings import read_settings

# group of commands (None: top level) → module and function of each, in the order of the help
COMMANDS: Final[dict[str | None, dict[str, str]]] = {
    None: {
        "demo": "exchange.commands.demo:demo",
        "up": "exchange.commands.parts:up",
        "down": "exchange.commands.parts:down",
        "status": "exchange.commands.parts:status",
        "check": "exchange.commands.topology:check",
        "apply": "exchange.commands.topology:apply",
        "connect": "exchange.commands.connect:connect",
        "resnapshot": "exchange.commands.connect:resnapshot",
        "stream": "exchange.commands.stream:stream",
        "monitor": "exchange.commands.monitor:monitor",
        "consume": "exchange.commands.consume:consume",
        "client-config": "exchange.commands.parts:client_config",
    },
    "quarantine": {
        "list": "exchange.commands.quarantine:list_refused",
        "show": "exchange.commands.quarantine:show",
        "redrive": "exchange.commands.quarantine:redrive",
    },
    "keys": {
        "create": "exchange.commands.keys:create",
        "list": "exchange.commands.keys:list_keys",
    },
}

_GROUP_HELP: Final = {
    "quarantine": "Refused records: what was refused and why, and sending them again after a fix.",
    "keys": "Key pairs of source stewards, for whom refused records are sealed.",
}


def build() -> typer.Typer:
    """Return the command with all its sub-commands."""
    app = typer.Typer(
        help="A data exchange bus: masked, validated, accounted change streams between departments.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for group, commands in COMMANDS.items():
        parent = app
        if group is not None:
            parent = typer.Typer(no_args_is_help=True, help=_GROUP_HELP[group])
            app.add_typer(parent, name=group)
        for name, target in commands.items():
            module, _, function = target.partition(":")
            parent.command(name)(getattr(importlib.import_module(module), function))
    return app


def main() -> None:
    """Run the command line."""
    log.configure("INFO")
    log.silence_tracebacks()
    try:
        settings = read_settings()
        log.configure(settings.log_level, json_lines=settings.log_json)
        build()()
    except ExchangeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Caught here because typer puts a hook of its own in place, which prints the error's text.
        log.uncaught(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
