"""`exchange stream`: a worker that validates, masks and fans out what the connectors captured."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from exchange import log
from exchange.children import RESTART, Children
from exchange.commands.running import on_signal
from exchange.errors import RestartError

_log = log.get(__name__)


def stream(
    worker_id: Annotated[
        str,
        typer.Option(help="Unique among running workers, and the same after a restart.", metavar="ID"),
    ] = "0",
    workers: Annotated[
        int,
        typer.Option(help="Processes to run, one a core; several are called ID-0, ID-1", metavar="N", min=1),
    ] = 1,
    accept_refusals: Annotated[
        bool, typer.Option("--accept-refusals", help="Do not halt a table whose records are mostly refused.")
    ] = False,
) -> None:
    """Turn raw changes into masked records of every view until SIGTERM or Ctrl-C, each exactly once.

    Run as many workers as there are cores, here or on other machines; Kafka shares the partitions out. With
    --workers, one that ends is started again, and they all end together. A table that cannot be processed is
    halted, the others go on; `exchange status` says why. Waits while Kafka is away or no plan was applied.
    Exit codes: 0 stopped as asked, 1 a person must act, 3 start it again (one worker only).

    Examples:
      exchange stream
      exchange stream --workers 4
      exchange stream --worker-id east --workers 2
      exchange stream --accept-refusals
    """
    if workers == 1:
        _run_one(worker_id, accept_refusals=accept_refusals)
        return
    children = Children(_commands(worker_id, workers, accept_refusals=accept_refusals))
    on_signal(children.stop)
    if code := children.run():
        raise typer.Exit(code)


def _commands(worker_id: str, workers: int, *, accept_refusals: bool) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "exchange.cli", "stream", "--worker-id"]
    more = ["--accept-refusals"] if accept_refusals else []
    names = [f"{worker_id}-{number}" for number in range(workers)]
    return {f"stream-{name}": [*command, name, *more] for name in names}


def _run_one(worker_id: str, *, accept_refusals: bool) -> None:
    from exchange.settings import Settings
    from streams.runner import Runner

    runner = Runner(Settings(), worker_id, accept_refusals=accept_refusals)
    on_signal(runner.stop)
    try:
        runner.run()
    except RestartError as error:
        _log.warning("worker_restarts", worker=worker_id, exit_code=RESTART, exc_info=error)
        raise typer.Exit(RESTART) from None
