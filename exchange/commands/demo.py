"""`exchange demo`: the whole bus on one machine, with invented data."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def demo(
    seconds: Annotated[
        float | None, typer.Option("--for", min=1, help="Stop by itself after so many seconds of traffic.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, help="Row changes a second over all tables.")
    ] = 60,
    as_json: Annotated[
        bool, typer.Option("--json", help="No screen; end with one JSON object on stdout.")
    ] = False,
) -> None:
    """Show the bus at work: three departments' invented data, masked and delivered as they change.

    Starts the embedded parts, makes what is missing, applies topology.yaml, changes rows and shows each
    route's rate and delay, what was refused and why, and whether the accounts balance. Ctrl-C stops
    everything in order; the next run goes on where this one was. With --for or --json the exit code is 1 when
    anything is unbalanced.

    Examples:
      exchange demo
      exchange demo --rate 500
      exchange demo --for 60 --json
    """
    from exchange import log
    from exchange.demo.run import Demo
    from exchange.settings import Settings

    live = not as_json and sys.stdout.isatty()
    if live:
        log.configure("ERROR")  # a log line would tear the screen; the screen shows states and halts itself
    run = Demo(Settings(), rate=rate, seconds=seconds, live=live)
    run.run()
    if as_json:
        sys.stdout.write(json.dumps(run.result, ensure_ascii=False, indent=2) + "\n")
    if (seconds is not None or as_json) and not run.result.get("balanced"):
        raise typer.Exit(1)
