"""`exchange load`: a file into a resource."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.counting import counted

if TYPE_CHECKING:
    from connectors.load import Outcome

_SHOW_AFTER_S: Final = 2.0
_SHOW_EVERY_S: Final = 1.0
_MOST_SHOWN: Final = 20


def load(
    file: Annotated[Path, typer.Argument(help=".csv, .tsv, .xlsx, .jsonl or .ndjson; UTF-8 or GB18030.")],
    resource: Annotated[str, typer.Option("--resource", help="Resource of a system of kind files.")],
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help='JSON: {"<column>": "<field>", "<to pass over>": null}.')
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge it only; nothing is written.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Load a file: all of it or, when a row breaks the contract, nothing.

    Every row is judged first; refusals are shown by line, field and rule, without values. A load that was
    cut off goes on where it was; the same file twice loads once. Exit codes: 0 loaded (or nothing to refuse),
    1 refused.

    Examples:
      exchange load people.csv --resource population.person --dry-run
      exchange load people.xlsx --resource population.person
    """
    from connectors.load import load as carry_out
    from exchange.settings import Settings

    outcome = carry_out(Settings(), file, resource, mapping, _Progress(), dry_run=dry_run)
    sys.stdout.write(_as_json(outcome) if as_json else _as_text(outcome, dry_run=dry_run))
    if outcome.judgement.refused:
        raise typer.Exit(1)


class _Progress:
    """Says on stderr how far it is, once a second, of what takes over two."""

    def __init__(self) -> None:
        self._began_s = self._said_s = time.monotonic()

    def __call__(self, stage: str, rows: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._began_s < _SHOW_AFTER_S or now_s - self._said_s < _SHOW_EVERY_S:
            return
        self._said_s = now_s
        of = f" of {total}" if total else ""
        sys.stderr.write(f"{stage}: {rows}{of} rows, {now_s - self._began_s:.0f} s\n")


def _as_json(outcome: Outcome) -> str:
    found = outcome.judgement
    document = {
        "rows": found.rows,
        "refused": found.refused,
        "loaded": outcome.loaded,
        "loaded_before": outcome.before,
        "refusals": [asdict(refusal) for refusal in found.refusals],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _as_text(outcome: Outcome, *, dry_run: bool) -> str:
    found = outcome.judgement
    lines = [
        f"line {refusal.line}: {refusal.field or 'the row'}: {refusal.rule}"
        for refusal in found.refusals[:_MOST_SHOWN]
    ]
    if len(found.refusals) > _MOST_SHOWN:
        lines.append(f"… more: --json has the first {len(found.refusals)}")
    if found.refused:
        lines.append(
            f"{found.refused} of {counted(found.rows, 'row')} break the contract; nothing was loaded"
        )
    elif dry_run:
        lines.append(f"{counted(found.rows, 'row')}, none refused; nothing was loaded (--dry-run)")
    else:
        before = f", {outcome.before} were loaded before" if outcome.before else ""
        lines.append(f"{counted(outcome.loaded, 'row')} loaded{before}")
    return "\n".join(lines) + "\n"
