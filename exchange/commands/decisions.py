"""`exchange decisions`: who decided what and when, and what was refused, for auditors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exchange.commands.acting import acting
from exchange.commands.topology import load
from exchange.counting import counted
from exchange.errors import ConfigError, NotAllowedError

if TYPE_CHECKING:
    from exchange.topology.model import Topology


def decisions(
    actor: Annotated[str, typer.Option("--as", help="Who reads: auditor, authority or administrator.")],
    after: Annotated[int, typer.Option("--after", min=0, help="Only those behind this number.")] = 0,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="csv, or a JSON a line.")] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default stdout. Never overwritten.")
    ] = None,
) -> None:
    """Write all decisions and refused attempts, in the order in which they happened.

    What they say stands in the topic `_exchange.decisions` too. Neither claims nor answers of objections are
    among them.

    Examples:
      exchange decisions --as sun-li -o decisions.csv
      exchange decisions --as sun-li --format json --after 1200
    """
    from exchange.governance.export import csv_lines, decisions_after
    from exchange.governance.store import Store
    from exchange.settings import Settings

    settings = Settings()
    topology = load(settings, settings.topology)[0].topology
    with Store.of(settings) as store:
        _expect_reader(acting(settings, store, topology, actor), actor)
        found = list(decisions_after(store, after))
    lines = csv_lines(found) if form == "csv" else (one.model_dump_json() + "\n" for one in found)
    _write(out, "".join(lines))
    sys.stderr.write(f"{counted(len(found), 'decision')} and refused attempts\n")


def _expect_reader(topology: Topology, actor: str) -> None:
    from exchange.governance.authority import expect_person
    from exchange.identity.caller import READS_DECISIONS

    expect_person(topology, actor)
    if READS_DECISIONS.isdisjoint(topology.people[actor].roles):
        msg = f"decisions are read by {', '.join(sorted(READS_DECISIONS))}; '{actor}' is none of them here"
        raise NotAllowedError(msg)


def _write(out: Path | None, text: str) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror})"
        raise ConfigError(msg) from None
