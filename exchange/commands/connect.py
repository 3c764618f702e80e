"""`exchange connect` and `exchange resnapshot`: capture of source systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from exchange import log
from exchange.children import RESTART
from exchange.commands.acting import Actor
from exchange.commands.running import on_signal, run_each
from exchange.errors import ConfigError, RestartError

if TYPE_CHECKING:
    from exchange.settings import Settings

_log = log.get(__name__)


def connect(
    system: Annotated[
        str | None, typer.Argument(help="System to capture, as topology.yaml names it.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Run one connector for each system of the plan, and restart them.")
    ] = False,
) -> None:
    """Capture a source system's changes until SIGTERM or Ctrl-C: snapshot first, then its log.

    Of a system of kind http it serves `POST /ingest/<resource>`, of kind files it watches the folders.
    Goes on exactly where it was; that place is kept in Kafka. Waits while Kafka or the source is away.
    Exit codes: 0 stopped as asked, 1 a person must act, 3 start it again (the plan's tables changed).

    Examples:
      exchange connect population
      exchange connect --all
    """
    from exchange.settings import Settings

    if (system is None) is not every:
        msg = "name one system, or say --all"
        raise ConfigError(msg)
    settings = Settings()
    if system is None:
        _connect_all(settings)
        return
    from connectors.runner import Connector

    connector = Connector(settings, system)
    on_signal(connector.stop)
    try:
        connector.run()
    except RestartError as error:
        _log.warning("connector_ends", system=system, exit_code=RESTART, exc_info=error)
        raise typer.Exit(RESTART) from None
    _log.info("connector_stopped", system=system)


def resnapshot(
    system: Annotated[str, typer.Argument(help="System to read anew, as topology.yaml names it.")],
    table: Annotated[
        str | None, typer.Option("--table", help="<schema>.<table> alone; the others go on undisturbed.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    actor: Actor = None,
) -> None:
    """Give up a system's position in Kafka, so that its connector reads all tables anew.

    For a connector that halted because changes are missing. Every view of the system is emptied (an operation
    `t`), then filled again; changes between the gap and the new snapshot are seen by their result only.

    With --table this is done for one table that was halted because changes of it are missing. Who did it, or
    was refused, stands with the decisions.

    Examples:
      exchange resnapshot population
      exchange resnapshot population --table public.person --as chen-hao
    """
    tables = "all tables" if table is None else f"table {table}"
    if not yes:
        typer.confirm(f"{system}: empty the views of {tables} and read anew?", abort=True, err=True)
    _begin_anew(system, table, actor, f"{system}: the next start of its connector reads {tables} anew")


def _begin_anew(system: str, table: str | None, actor: str | None, done: str) -> None:
    """Give up a position, say so and note it, in the person's name or in that of who runs this."""
    import datetime as dt

    from connectors.runner import Connector
    from exchange import resnapshot_desk
    from exchange.commands.acting import in_the_name_of
    from exchange.settings import Settings

    settings = Settings()
    with in_the_name_of(settings, actor) as who:

        def give_up() -> None:
            Connector(settings, system).begin_anew(table)

        now = dt.datetime.now().astimezone()
        resnapshot_desk.at_once(who.store, who.topology, who.actor, system, table or "", give_up, now)
        typer.echo(done)


def _connect_all(settings: Settings) -> None:
    from connectors.runner import systems

    run_each(settings, {f"connect-{name}": ["connect", name] for name in systems(settings)})
