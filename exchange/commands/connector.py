"""`exchange connector`: have a source's connector write nothing for a while, and go on where it stopped."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.commands.acting import Actor

if TYPE_CHECKING:
    from exchange.pause_desk import Asked
    from exchange.pauses import Meanwhile, Pause

System = Annotated[str, typer.Argument(help="System, as topology.yaml names it.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_MEANWHILE: Final[dict[Meanwhile, str]] = {
    "wal": "its database keeps all log for the slot until it is resumed: the disk there may fill up",
    "wal_until_limit": "its database keeps all log for the slot; past protect_wal_bytes the slot is dropped, "
    "and all tables must be read anew",
    "log": "its database keeps its log as it is set to: after a longer pause all tables must be read anew",
    "topics": "Debezium's topics keep the changes as long as their retention says: after a longer pause all "
    "must be read anew",
    "refuses": "whoever pushes is answered 503 with Retry-After, and keeps the changes",
    "folders": "files stay in their folders; `exchange load` by hand still loads",
}


def pause(
    system: System,
    reason: Annotated[str, typer.Option("--reason", help="Why; others read it while it is paused.")],
    actor: Actor = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Have a connector write nothing more, also after a restart, until it is resumed.

    Its position stays in Kafka, and its source keeps what comes meanwhile, as long as it can. Who paused it,
    when and why stands in `exchange status`, in the console and with the decisions.

    Examples:
      exchange connector pause population --as chen-hao --reason "storage is moved tonight"
    """
    from exchange.pause_desk import Asked

    if not yes:
        typer.confirm(f"{system}: {_meanwhile(system)}. Pause its connector?", abort=True, err=True)
    done = _order(actor, Asked(system, "pause", reason))
    _say(as_json, system, done, "is to pause within a second or so, and whenever it is started")


def resume(
    system: System,
    actor: Actor = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the decisions.")] = "",
    as_json: Json = False,
) -> None:
    """Have a paused connector go on where it stopped, with every change since.

    Examples:
      exchange connector resume population
      exchange connector resume population --as chen-hao
    """
    from exchange.pause_desk import Asked

    done = _order(actor, Asked(system, "resume", reason))
    _say(as_json, system, done, "is to go on where it stopped, within a second or so")


def status(system: System, as_json: Json = False) -> None:
    """Show whether a connector is paused or is to be: since when, by whom, why, and whether it obeys.

    Examples:
      exchange connector status population
      exchange connector status population --json
    """
    from exchange import heartbeat
    from exchange.cluster import ADMIN
    from exchange.pauses import Pauses, is_obeyed, paused_text
    from exchange.position import writer_id
    from exchange.settings import Settings

    settings = Settings()
    with Pauses(settings.kafka_client(ADMIN), system) as pauses:
        found = pauses.read()
    beat = heartbeat.last_of(settings, "capture", writer_id(system))
    obeys = None if found is None or not beat else is_obeyed(found, beat)
    document = {
        "system": system,
        "pause": None if found is None else found.model_dump(mode="json"),
        "state": beat.get("state"),
        "obeys": obeys,
    }
    text = "not paused" if found is None or not found.is_wanted else paused_text(found.figures)
    how = "its connector is not at work" if not beat else f"its connector says: {beat['state']}"
    sys.stdout.write(json.dumps(document, ensure_ascii=False) if as_json else f"{system}: {text}; {how}")
    sys.stdout.write("\n")


def _order(actor: str | None, asked: Asked) -> Pause:
    """Give an order and note it; a refusal is noted too."""
    from exchange import pause_desk
    from exchange.commands.acting import in_the_name_of
    from exchange.settings import Settings

    settings = Settings()
    with in_the_name_of(settings, actor) as who:
        now = dt.datetime.now().astimezone()
        return pause_desk.order(settings, who.store, who.topology, who.actor, asked, now)


def _meanwhile(system: str) -> str:
    """Return what becomes of a system's changes in a pause. Raises: PlanError when there is no plan."""
    from exchange.cluster import ADMIN
    from exchange.errors import PlanError
    from exchange.pauses import meanwhile
    from exchange.plan_topic import no_plan, read_plan
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean

    plan = read_plan(Settings().kafka_client(ADMIN))
    if plan is None:
        raise no_plan()
    systems = {one.name: one for one in plan.systems}
    if system not in systems:
        msg = f"the published plan has no system {did_you_mean(system, systems)}"
        raise PlanError(msg)
    return _MEANWHILE[meanwhile(systems[system])]


def _say(as_json: bool, system: str, done: Pause, told: str) -> None:
    document = {"system": system, **done.model_dump(mode="json")}
    sys.stdout.write(
        json.dumps(document, ensure_ascii=False) if as_json else f"{system}: its connector {told}"
    )
    sys.stdout.write("\n")
