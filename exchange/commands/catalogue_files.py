"""`exchange catalogue export` and `import`: the catalogue as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.catalogue_opened import Actor, Json, json_line, now, opened, relayed
from exchange.counting import counted

if TYPE_CHECKING:
    from exchange.catalogue.exchanged import Judged


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; for odcs a folder.")],
    format_: Annotated[str, typer.Option("--format", help="csv, xlsx, odcs or dcat.")] = "csv",
    resource: Annotated[
        list[str] | None, typer.Option("--resource", help="Only this one; may be given again.")
    ] = None,
) -> None:
    """Write the catalogue as CSV, Excel, Open Data Contract Standard 3.1 or DCAT-AP (published alone).

    Examples:
      exchange catalogue export --format xlsx -o catalogue.xlsx
      exchange catalogue export --format odcs -o contracts --resource population.person
    """
    from exchange.catalogue import formats
    from exchange.governance import authority

    with opened() as at:
        for name in resource or ():
            authority.expect_known(at.topology, resource=name)
        shelf = [sheet for sheet in at.desk.shelf() if not resource or sheet.name in resource]
    formats.write(format_, out, shelf)
    sys.stderr.write(f"{counted(len(shelf), 'resource')} in {out}\n")


def import_entries(
    file: Annotated[
        Path, typer.Argument(help=".csv, .xlsx, .jsonld, .yaml (ODCS), a folder or .zip of .yaml.")
    ],
    actor: Actor,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would do; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take entries in as drafts, all of a file or, where one row is refused, none.

    What topology and contract say must be the same in the file, or not be in it. Exit code 1 where a row is
    refused, each with its line and reason; also with --dry-run.

    Examples:
      exchange catalogue import catalogue.xlsx --as wang-wei --dry-run
      exchange catalogue import contracts --as wang-wei
    """
    from exchange.catalogue import formats

    rows = formats.read(file)
    with opened(actor) as at, relayed(at, needed=not dry_run):
        judged = at.desk.take_in(actor, rows, now(), dry_run=dry_run)
    refused = sum(bool(one.refused) for one in judged)
    if as_json:
        told = [_judged(one) for one in judged]
        sys.stdout.write(json_line({"written": not (dry_run or refused), "refused": refused, "rows": told}))
    else:
        _tell(judged, refused, dry_run=dry_run)
    if refused:
        raise typer.Exit(1)


def _tell(judged: list[Judged], refused: int, *, dry_run: bool) -> None:
    for one in judged:
        name = one.row.resource[:80]
        if one.refused:
            sys.stdout.write("".join(f"refused: {one.row.where}: {reason}\n" for reason in one.refused))
        elif one.is_new or one.changed:
            word = "new" if one.is_new else "changed"
            sys.stdout.write(f"{word}: {name}: {', '.join(one.changed) or 'empty'}\n")
        else:
            sys.stdout.write(f"unchanged: {name}\n")
    done = "nothing was written" if refused or dry_run else "all were taken in as drafts"
    sys.stdout.write(f"{counted(len(judged), 'row')}, {refused} refused; {done}\n")


def _judged(one: Judged) -> dict[str, Any]:
    return {
        "where": one.row.where,
        "resource": one.row.resource,
        "new": one.is_new,
        "changed": one.changed,
        "refused": one.refused,
    }
