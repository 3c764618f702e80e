"""Decisions and refused attempts, all of them, for auditors."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Final

from exchange.governance.store import Decision, Store

_COLUMNS: Final = (
    "sequence", "at", "actor", "event", "request", "version", "outcome", "state", "subscriber", "view",
    "about", "by", "reason",
)  # fmt: skip
_PAGE: Final = 500


def decisions_after(store: Store, after: int, *, newest_first: bool = False) -> Iterator[Decision]:
    """Yield the decisions behind a number, in the order in which they happened.

    newest_first: in the other order those before it; 0 for all.
    """
    while True:
        with store.change() as change:
            ask = change.newest_decisions if newest_first else change.decisions
            batch = ask(after, _PAGE)
        if not batch:
            return
        yield from batch
        after = batch[-1].sequence


def csv_lines(found: Iterable[Decision]) -> Iterator[str]:
    """Yield decisions as lines of CSV, the names of the columns first."""
    yield _line(list(_COLUMNS))
    for one in found:
        yield _line([harmless(str(getattr(one, name))) for name in _COLUMNS])


def harmless(word: str) -> str:
    """Return a cell that no spreadsheet takes for a formula. Source: OWASP, CSV injection."""
    return f"'{word}" if word.startswith(("=", "+", "-", "@", "\t", "\r")) else word


def _line(words: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(words)
    return out.getvalue()
