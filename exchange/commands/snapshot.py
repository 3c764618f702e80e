"""`exchange snapshot`: read one table again while the stream goes on."""

from __future__ import annotations

import datetime as dt
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from exchange.commands.acting import Actor
from exchange.counting import counted

if TYPE_CHECKING:
    from exchange.snapshot_desk import Asked
    from exchange.snapshots import SnapshotStatus

System = Annotated[str, typer.Argument(help="System of kind postgres, as topology.yaml names it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Pace = Annotated[
    int | None, typer.Option("--rows-per-s", min=0, help="Read no faster, to spare the source; 0: no limit.")
]


def start(
    system: System,
    table: Annotated[str, typer.Option("--table", help="<schema>.<table> to read.")],
    view: Annotated[
        str, typer.Option("--view", help="One view of its resource alone (its last name), such as a new one.")
    ] = "",
    rows_per_s: Pace = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Order a snapshot of one table beside the stream; its connector takes it up within a second or so.

    All rows are sent again as reads (`r`), in chunks, each row unless the stream has told something newer of
    it meanwhile. Nothing is emptied and no change waits. With --view they go to that view alone: this is how
    a view that was added to a running resource gets its history. Who ordered it, or was refused, stands with
    the decisions; the same holds for pausing, resuming and stopping it.

    Examples:
      exchange snapshot start population --table public.person
      exchange snapshot start population --table public.person --view school --rows-per-s 2000
    """
    from exchange.snapshot_desk import Asked

    whom = f"view {view}" if view else "all views"
    told = f"for {whom} is ordered; `exchange snapshot status {system}` shows how it gets on"
    _order(actor, Asked(system, "start", table, view, rows_per_s), told, as_json)


def pause(system: System, actor: Actor = None, as_json: Json = False) -> None:
    """Pause the snapshot under way; the stream goes on, and the snapshot waits where it is.

    Examples:
      exchange snapshot pause population
    """
    from exchange.snapshot_desk import Asked

    _order(actor, Asked(system, "pause"), "is to pause", as_json)


def resume(system: System, rows_per_s: Pace = None, actor: Actor = None, as_json: Json = False) -> None:
    """Go on with a paused snapshot; or, with --rows-per-s, go on at another pace with one that runs.

    Examples:
      exchange snapshot resume population
      exchange snapshot resume population --rows-per-s 500
    """
    from exchange.snapshot_desk import Asked

    _order(actor, Asked(system, "resume", rows_per_s=rows_per_s), "is to go on", as_json)


def stop(system: System, actor: Actor = None, as_json: Json = False) -> None:
    """End the snapshot under way for good; rows that were sent stay sent.

    Examples:
      exchange snapshot stop population
    """
    from exchange.snapshot_desk import Asked

    _order(actor, Asked(system, "stop"), "is to end", as_json)


def status(system: System, as_json: Json = False) -> None:
    """Show the last snapshot that was ordered: its state, how far it is, what it waits for, why it failed.

    The exit code is 1 when it failed.

    Examples:
      exchange snapshot status population
      exchange snapshot status population --json
    """
    from exchange.settings import Settings
    from exchange.snapshots import Snapshots

    found = Snapshots(Settings(), system).status()
    document: dict[str, object] = {"system": system, "operation": None} if found is None else asdict(found)
    _say(as_json, document, f"{system}: no snapshot was ordered" if found is None else _as_text(found))
    if found is not None and found.state == "failed":
        raise typer.Exit(1)


def _order(actor: str | None, asked: Asked, told: str, as_json: bool) -> None:
    """Give an order, note it, and say so; a refusal is noted too."""
    from exchange import snapshot_desk
    from exchange.commands.acting import in_the_name_of
    from exchange.settings import Settings

    settings = Settings()
    with in_the_name_of(settings, actor) as who:
        now = dt.datetime.now().astimezone()
        order = snapshot_desk.order(settings, who.store, who.topology, who.actor, asked, now)
    _say(
        as_json,
        {"system": asked.system, **order.model_dump(mode="json")},
        f"{asked.system}: snapshot {order.operation} of {order.table} {told}",
    )


def _as_text(found: SnapshotStatus) -> str:
    whom = f"view {found.view}" if found.view else "all views"
    done = found.rows + found.passed
    of = f" of about {found.estimated_rows:,}" if found.estimated_rows else ""
    lines = [
        f"{found.system}: snapshot {found.operation} of {found.table} for {whom}: {found.state}",
        f"  {done:,}{of} rows read in {counted(found.chunks, 'chunk')}, {found.rows:,} sent, "
        f"{found.passed:,} newer in the stream",
    ]
    if found.rows_per_s:
        lines.append(f"  {found.rows_per_s:,} rows/s")
    if found.reason:
        lines.append(f"  {found.reason}")
    if not found.is_at_work and found.state in ("ordered", "running"):
        lines.append(f"  its connector is not at work; `exchange connect {found.system}` starts it")
    return "\n".join(lines)


def _say(as_json: bool, document: dict[str, object], text: str) -> None:
    sys.stdout.write((json.dumps(document, ensure_ascii=False) if as_json else text) + "\n")
