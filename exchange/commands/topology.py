"""`exchange check` and `exchange apply`: the topology, judged offline and carried out."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.counting import counted
from exchange.errors import ExchangeError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exchange.apply.steps import Applied, Line, Survey
    from exchange.contract import Contract
    from exchange.settings import Settings
    from exchange.topology import Loaded
    from exchange.topology.model import Topology

FILE = typer.Argument(
    help="Topology file; default EXCHANGE_TOPOLOGY, else topology.yaml.", show_default=False
)


def check(
    file: Annotated[Path | None, FILE] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
    doc: Annotated[bool, typer.Option("--doc", hidden=True)] = False,
) -> None:
    """Check the topology and the contracts, offline; show every problem with its line.

    Exit code 1 when there is one. With --json the answer is an object all the same: `ok` is false, `report`
    holds the text and `problems` the same one by one: file, line, column, message (line and column are null
    where a whole file is meant).

    Examples:
      exchange check
      exchange check draft.yaml
      exchange check --json
    """
    from exchange.settings import Settings

    if doc:
        from exchange.topology.doc import render

        sys.stdout.write(render())
        return
    settings = Settings()
    path = file or settings.topology
    try:
        loaded, contracts = load(settings, path)
    except ExchangeError as error:
        if not as_json:
            raise
        answer({"file": str(path), "ok": False, "report": str(error), "problems": _listed(error)})
        raise typer.Exit(1) from None
    counts = _counts(loaded, contracts)
    if as_json:
        answer({"file": str(path), "ok": True, "warnings": loaded.warnings, "problems": []} | counts)
        return
    warn(loaded)
    summary = ", ".join(counted(count, kind.removesuffix("s")) for kind, count in counts.items())
    sys.stdout.write(f"{path}: ok ({summary})\n")


def apply(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Topology file, or the .json that `exchange plan -o` wrote; default EXCHANGE_TOPOLOGY, "
            "else topology.yaml.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show unchanged objects one by one.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of text; wants --yes.")
    ] = False,
    allow_delete: Annotated[
        bool,
        typer.Option(
            "--allow-delete", help="Ask for the name of each object that is to be deleted, typed in full."
        ),
    ] = False,
    delete: Annotated[
        list[str] | None,
        typer.Option(
            "--delete", metavar="NAME", help="Delete what has this name, without asking; repeatable."
        ),
    ] = None,
) -> None:
    """Make Kafka, the schema registry and the sources look as the topology says.

    Shows what would change and asks; then does it, one line an object: + created, ~ changed, - removed,
    = unchanged, ! readers of a view see more. May be repeated at any time: a second run finds nothing to do.
    Nothing at all is set up while a problem stands, but access that the topology no longer gives is taken
    away first.

    Nothing is deleted - no topic, schema, user, publication or slot - but what apply itself once made, what
    the topology no longer has, and what is named: with --allow-delete each name is asked for. A topic goes
    with all its records.

    A plan that `exchange plan -o` wrote is carried out without a question, and refused where it is stale:
    when the topology or a contract is another one by now, or more is to be done than stands in it.

    Examples:
      exchange apply
      exchange apply --yes --json
      exchange apply plan.json
      exchange apply --allow-delete
      exchange apply --yes --delete share.population.person.school
    """
    from exchange.apply.grants import catch_up
    from exchange.apply.planfile import read_plan_file, wanted_sha256
    from exchange.apply.proposed import without_used_names
    from exchange.apply.work import apply as carry_out
    from exchange.errors import ConfigError
    from exchange.governance.desired import to_apply, with_approved
    from exchange.settings import Settings

    settings = Settings()
    planned = read_plan_file(file) if file is not None and file.suffix == ".json" else None
    if as_json and ((not yes and planned is None) or allow_delete):
        msg = "--json cannot ask; give --yes with it, and --delete NAME in the place of --allow-delete"
        raise ConfigError(msg)
    loaded, contracts = load(settings, Path(planned.topology) if planned else file or settings.topology)
    warn(loaded)
    declared = loaded.topology.views
    approved = to_apply(settings, loaded.topology, contracts)
    desired, held_back = without_used_names(settings, approved, declared)
    wanted = wanted_sha256(desired, contracts)

    def confirm(seen: Survey) -> bool:
        if planned is not None:
            planned.expect_still_true(wanted, seen)
            return True
        return yes or _ask(seen)

    deletes = _Deletes(delete or (), planned.undeclared if planned else None, ask=allow_delete)
    printer = _Printer(verbose=verbose, silent=as_json)
    applied = carry_out(settings, desired, contracts, printer.line, confirm, deletes.allowed)
    if applied is None:
        sys.stdout.write("nothing was changed\n")
        raise typer.Exit(1)
    applied = replace(applied, notes=(*applied.notes, *held_back))

    def again() -> Topology:
        return without_used_names(settings, with_approved(settings, loaded.topology), declared)[0]

    catch_up(settings, again, desired, declared)
    deletes.expect_all_met(applied.lines)
    sys.stdout.write(_as_json(applied) if as_json else printer.summary(applied))


def load(settings: Settings, path: Path) -> tuple[Loaded, Mapping[str, Contract]]:
    """Return topology and contracts.

    Raises: ConfigError with the problems of both, ContractError when only contracts have any.
    """
    from exchange import topology
    from exchange.errors import ConfigError, ContractError
    from exchange.files.contracts import load_contracts

    try:
        contracts = load_contracts(settings.contracts)
    except ContractError as contract_error:
        try:
            topology.read(path, None, topology.today())
        except ConfigError as error:
            msg = f"{contract_error}\n{error}"
            raise ConfigError(msg, [*contract_error.problems, *error.problems]) from None
        raise
    return topology.read(path, contracts, topology.today()), contracts


def _listed(error: ExchangeError) -> list[dict[str, Any]]:
    """Return the problems one by one; of an error that speaks of no file, its text."""
    if not error.problems:
        return [{"file": None, "line": None, "column": None, "message": str(error)}]
    return [
        {
            "file": problem.file,
            "line": problem.line or None,
            "column": problem.column or None,
            "message": problem.message,
        }
        for problem in error.problems
    ]


def answer(document: dict[str, Any]) -> None:
    """Write the one JSON object that a command answers with."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")


def warn(loaded: Loaded) -> None:
    """Tell what the owner of a valid topology should know all the same."""
    if loaded.warnings:
        sys.stderr.write(f"warning: {loaded.warnings}\n")


def _counts(loaded: Loaded, contracts: Mapping[str, Contract]) -> dict[str, int]:
    topology = loaded.topology
    sections = ("departments", "systems", "resources", "views", "subscribers", "grants")
    return {"contracts": len(contracts)} | {name: len(getattr(topology, name)) for name in sections}


def _ask(seen: Survey) -> bool:
    for line in [*seen.changes, *seen.views]:
        sys.stdout.write(f"  {line}\n")
    if seen.problems:
        sys.stdout.write(
            f"{counted(len(seen.problems), 'problem')} in the way; only what begins with - would be done\n"
        )
        if not any(stage.changes for stage in seen.withdrawals):
            return True
    return typer.confirm(f"{counted(len(seen.changes), 'change')} to make. Go ahead?")


class _Deletes:
    """Which of the objects that are no longer declared may be deleted: those named, or typed when asked."""

    def __init__(self, named: Iterable[str], planned: Collection[Line] | None, *, ask: bool) -> None:
        """planned: all that may be asked about, where a plan is carried out."""
        self._named = set(named)
        self._planned = planned
        self._asks = ask

    def allowed(self, line: Line) -> bool:
        if self._planned is not None and line not in self._planned:
            return False
        if line.name in self._named:
            return True
        if not self._asks:
            return False
        typed = typer.prompt(f"{line}\n  type its name to delete it; anything else keeps it", default="-")
        return str(typed).strip() == line.name

    def expect_all_met(self, lines: Iterable[Line]) -> None:
        """Raise ConfigError when something was named that was not there to be deleted."""
        from exchange.apply.steps import Mark
        from exchange.errors import ConfigError

        met = {line.name for line in lines if line.mark == Mark.UNDECLARED}
        if unmet := sorted(self._named - met):
            msg = (
                f"--delete: nothing of this name was deleted: {', '.join(unmet)}. `exchange plan` shows what "
                "can be: it was made by apply, and is no longer declared; all else was done as asked"
            )
            raise ConfigError(msg)


class _Printer:
    """Writes what was done; unchanged objects are counted, or shown one by one."""

    def __init__(self, *, verbose: bool, silent: bool) -> None:
        self._verbose = verbose
        self._silent = silent
        self._unchanged: Counter[str] = Counter()

    def line(self, line: Line, took_s: float) -> None:
        from exchange.apply.steps import Mark

        is_done = line.mark != Mark.UNCHANGED
        if not is_done:
            self._unchanged[line.kind] += 1
        if not self._silent and (self._verbose or is_done):
            sys.stdout.write(f"{line}" + (f" (done, {took_s:.1f} s)\n" if is_done else "\n"))
            sys.stdout.flush()

    def summary(self, applied: Applied) -> str:
        from exchange.apply.steps import Mark

        for note in applied.notes:
            sys.stderr.write(f"note: {note}\n")
        text = ""
        if self._unchanged and not self._verbose:
            kinds = ", ".join(counted(count, _noun(kind)) for kind, count in self._unchanged.items())
            text = f"= unchanged: {kinds}\n"
        changes = sum(line.mark != Mark.UNCHANGED for line in applied.lines)
        done = f"{counted(changes, 'change')} made" if changes else "nothing to change"
        if applied.kept:
            kept = "".join(f"  {line}\n" for line in applied.kept)
            text += f"kept, though no longer declared; --allow-delete asks for their names:\n{kept}"
        return f"{text}{done}; plan version {applied.plan_version} is in force\n"


def _noun(kind: str) -> str:
    """Return what one object of a kind is called where objects are counted."""
    return {"access": "access list", "quotas": "quota list"}.get(kind, kind)


def _as_json(applied: Applied) -> str:
    document: dict[str, Any] = {
        "changed": applied.changed,
        "plan_version": applied.plan_version,
        "objects": [
            {"mark": line.mark.value, "kind": line.kind, "name": line.name, "detail": line.detail}
            for line in applied.lines
        ],
        "kept": [{"kind": line.kind, "name": line.name, "detail": line.detail} for line in applied.kept],
        "notes": list(applied.notes),
    }
    return json.dumps(document, ensure_ascii=False) + "\n"
