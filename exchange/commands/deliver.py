"""`exchange deliver`: views into a subscriber's own store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from exchange import log
from exchange.children import RESTART
from exchange.commands.running import on_signal, run_each
from exchange.errors import ConfigError, RestartError

if TYPE_CHECKING:
    from exchange.settings import Settings

_log = log.get(__name__)


def deliver(
    subscriber: Annotated[
        str | None, typer.Argument(help="Subscriber to deliver to, as topology.yaml names it.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="One process for each delivery of the plan; restart them.")
    ] = False,
) -> None:
    """Keep a subscriber's own store filled with its views until SIGTERM or Ctrl-C.

    What `delivery` of the subscriber says in topology.yaml, as last applied. Goes on exactly where the store
    is; waits while Kafka or the store is away. A view that the store refuses is halted and tried again each
    minute, one whose grant ends is stopped, the others go on; `exchange status` says why. Exit codes: 0
    stopped as asked, 1 a person must act (also when a view is halted at the end), 3 start it again.

    Examples:
      exchange deliver tax
      exchange deliver --all
    """
    from exchange.settings import Settings

    if (subscriber is None) is not every:
        msg = "name one subscriber, or say --all"
        raise ConfigError(msg)
    settings = Settings()
    if subscriber is None:
        _deliver_all(settings)
        return
    from connectors.deliver import Deliverer

    deliverer = Deliverer(settings, subscriber)
    on_signal(deliverer.stop)
    try:
        halted = deliverer.run()
    except RestartError as error:
        _log.warning("delivery_ends", subscriber=subscriber, exit_code=RESTART, exc_info=error)
        raise typer.Exit(RESTART) from None
    _log.info("delivery_stopped", subscriber=subscriber)
    for reason in halted:
        sys.stderr.write(f"halted: {reason}\n")
    if halted:
        raise typer.Exit(1)


def _deliver_all(settings: Settings) -> None:
    from connectors.deliver import subscribers

    run_each(settings, {f"deliver-{name}": ["deliver", name] for name in subscribers(settings)})
