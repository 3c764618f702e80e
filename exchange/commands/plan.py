"""`exchange plan`: what `exchange apply` would do, and what that means to the readers of views."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.commands.topology import FILE, answer, load, warn
from exchange.counting import counted
from exchange.errors import ConfigError

if TYPE_CHECKING:
    from exchange.apply.steps import Survey

_DIFFERENCES: Final = 2
_MARKS: Final = ("created", "changed", "removed")


def plan(
    file: Annotated[Path | None, FILE] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the plan to a .json for `exchange apply`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Show what differs between the topology and what is there; nothing is changed.

    One line an object: + to be created, ~ changed, - removed; x: apply made it, the topology no longer has
    it, and it stays until `exchange apply --allow-delete`. Then what it means to the readers of each view,
    old → new, with their names; ! marks what shows them more than before, or may.

    Exit codes: 0 no difference, 2 differences, 1 something stands in the way.

    Examples:
      exchange plan
      exchange plan -o plan.json && exchange apply plan.json
      exchange plan draft.yaml --json
    """
    from exchange.apply.planfile import PlanFile, wanted_sha256
    from exchange.apply.proposed import without_used_names
    from exchange.apply.work import Work
    from exchange.governance.desired import to_apply
    from exchange.settings import Settings

    if output is not None and output.suffix != ".json":
        msg = f"-o {output}: `exchange apply` knows a plan by its name; wanted is one that ends with .json"
        raise ConfigError(msg)
    settings = Settings()
    path = file or settings.topology
    loaded, contracts = load(settings, path)
    warn(loaded)
    wanted = to_apply(settings, loaded.topology, contracts)
    desired, held_back = without_used_names(settings, wanted, loaded.topology.views)
    seen = Work(settings, desired, contracts).survey()
    seen.notes += held_back
    found = PlanFile.of(path, wanted_sha256(desired, contracts), seen)
    if as_json:
        answer(found.model_dump(mode="json") | {"problems": seen.problems, "notes": seen.notes})
    else:
        for note in seen.notes:
            sys.stderr.write(f"note: {note}\n")
        sys.stdout.write(_as_text(seen))
    if seen.problems:
        raise ConfigError("\n".join(seen.problems))
    if output is not None:
        _write(output, found.model_dump_json(indent=1) + "\n")
    if seen.changes or seen.undeclared:
        raise typer.Exit(_DIFFERENCES)


def _as_text(seen: Survey) -> str:
    lines = []
    for kind, group in groupby(seen.changes, key=lambda line: line.kind):
        lines.append(kind)
        lines += [f"  {line}" for line in group]
    if seen.undeclared:
        lines.append("no longer declared; to delete, needs --allow-delete")
        lines += [f"  {line}" for line in seen.undeclared]
    if seen.views:
        lines.append("what it means to readers")
        lines += [f"  {change}" for change in seen.views]
    return "\n".join([*lines, _summary(seen)]) + "\n"


def _summary(seen: Survey) -> str:
    if not seen.changes and not seen.undeclared:
        return "no difference"
    marks = Counter(line.mark.name.lower() for line in seen.changes)
    parts = ", ".join(f"{marks[mark]} to be {mark}" for mark in _MARKS if marks[mark])
    exposing = sum(change.exposes for change in seen.views)
    shown = f"; {exposing} of what readers notice shows them more" if exposing else ""
    made = f"{counted(len(seen.changes), 'change')}: {parts}{shown}" if seen.changes else "no change"
    left = f"; {counted(len(seen.undeclared), 'object')} no longer declared" if seen.undeclared else ""
    return made + left


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{path}: the plan cannot be written ({error.strerror})"
        raise ConfigError(msg) from None
