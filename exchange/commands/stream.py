"""`exchange stream`: a worker that validates, masks and fans out what the connectors captured."""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange import log
from exchange.errors import RestartError

if TYPE_CHECKING:
    from streams.runner import Runner

_RESTART: Final = 3

_log = log.get(__name__)


def stream(
    worker_id: Annotated[
        str,
        typer.Option(help="Unique among running workers, and the same after a restart.", metavar="ID"),
    ] = "0",
    accept_refusals: Annotated[
        bool, typer.Option("--accept-refusals", help="Do not halt a table whose records are mostly refused.")
    ] = False,
) -> None:
    """Turn raw changes into masked records of every view until SIGTERM or Ctrl-C, each exactly once.

    Run as many as there are cores; Kafka shares the partitions out. A table that cannot be processed is
    halted, the others go on; `exchange status` says why. Waits while Kafka is away or no plan was applied.
    Exit codes: 0 stopped as asked, 1 a person must act, 3 start it again.

    Examples:
      exchange stream
      exchange stream --worker-id 1
      exchange stream --accept-refusals
    """
    from exchange.settings import Settings
    from streams.runner import Runner

    runner = Runner(Settings(), worker_id, accept_refusals=accept_refusals)
    _stop_on_signal(runner)
    try:
        runner.run()
    except RestartError as error:
        _log.warning("worker_restarts", worker=worker_id, exit_code=_RESTART, exc_info=error)
        raise typer.Exit(_RESTART) from None


def _stop_on_signal(runner: Runner) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        runner.stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
