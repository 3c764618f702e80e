"""Connectors that heed orders with a fault. Run as `python orders_planted.py <fault> <words of exchange>`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from connectors.pausing import Pausing
from connectors.sources.postgres.source import PostgresSource
from connectors.writer import Writer
from exchange import cli


def hear_nothing() -> None:
    """Go on writing."""
    patch.object(Pausing, "wanted", lambda _: None).start()


def forget_the_pause() -> None:
    """Go on after a pause from where the source is then, as if that were the position."""
    opened, opens = PostgresSource.open, []

    def open_at_the_end(self: Any, stored: Any) -> None:
        opens.append(stored)
        if len(opens) > 1:
            stored = replace(stored, resume=self._catalog.lsn_now())
        opened(self, stored)

    patch.object(PostgresSource, "open", open_at_the_end).start()


def begin_again() -> None:
    """Give up a position without a word of it."""
    write = Writer.write

    def write_without(self: Any, batch: Any) -> None:
        batch.receipts = ()
        write(self, batch)

    patch.object(Writer, "write", write_without).start()


FAULTS: dict[str, Callable[[], None]] = {
    "deaf": hear_nothing,
    "forgets": forget_the_pause,
    "repeats": begin_again,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
