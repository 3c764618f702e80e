"""`exchange adopt`: a topology for a cluster that runs already."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.commands.topology import answer
from exchange.counting import counted

if TYPE_CHECKING:
    from exchange.adopt.found import Draft
    from exchange.adopt.proof import Proof

_DIFFERENCES: Final = 2


def adopt(
    folder: Annotated[Path, typer.Argument(help="Folder for topology.yaml and avro/; made if absent.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Write topology.yaml and contracts for the cluster that the settings name; nothing there is changed.

    Taken up is what the plan in force says, if the bus runs there; topics that a Debezium writes in Avro,
    with the registry's schemas; Kafka's SCRAM users as subscribers, with quotas, and access to views as
    grants. Users whose password is not here are declared as `existing`, and stay as they are. Then a plan
    against the files is made, and every line of it told with its reason.

    Exit codes: 0 a plan against the files is empty, 2 it is not, 1 nothing could be written or planned.

    Examples:
      exchange adopt adopted
      exchange adopt adopted --json
    """
    from exchange.adopt.debezium import adopt_debezium
    from exchange.adopt.document import write_files
    from exchange.adopt.found import Draft, look
    from exchange.adopt.plan import adopt_plan
    from exchange.adopt.proof import prove
    from exchange.adopt.users import adopt_users
    from exchange.settings import Settings

    settings = Settings()
    found, draft = look(settings), Draft()
    adopt_plan(found, draft)
    adopt_debezium(found, draft)
    adopt_users(found, draft)
    files = write_files(folder, draft)
    proof = prove(settings, folder)
    if as_json:
        answer(_as_json(files, draft, proof))
    else:
        sys.stdout.write(_as_text(files, draft, proof))
    if not proof.is_empty:
        raise typer.Exit(_DIFFERENCES)


def _as_json(files: list[Path], draft: Draft, proof: Proof) -> dict[str, object]:
    return {
        "files": [str(path) for path in files],
        "outside": draft.outside,
        "plan_is_empty": proof.is_empty,
        "only_adds": proof.only_adds,
        "lines": [
            {"mark": line.mark.value, "kind": line.kind, "name": line.name, "detail": line.detail, "why": why}
            for line, why in proof.lines
        ],
        "problems": list(proof.problems),
    }


def _as_text(files: list[Path], draft: Draft, proof: Proof) -> str:
    parts = [f"wrote {path}" for path in files]
    if draft.outside:
        parts += ["left outside, as it is", *(f"  {line}" for line in draft.outside)]
    if proof.problems:
        parts += ["needed before `exchange apply`", *(f"  {problem}" for problem in proof.problems)]
    if proof.lines:
        parts += ["a plan against these files", *(f"  {line}  ({why})" for line, why in proof.lines)]
    if proof.is_empty:
        parts.append("proof: a plan against these files is empty")
    elif proof.only_adds:
        told = counted(len(proof.lines), "line")
        parts.append(f"proof: {told} of a plan remain, all of them additions; what is there stays as it is")
    else:
        parts.append("proof: a plan against these files would also change or remove; look at ~, - and x")
    return "\n".join(parts) + "\n"
