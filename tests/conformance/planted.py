"""Connectors with a fault built in, which the judge of the stories must find.

Run as `python planted.py <fault> <arguments of exchange>`. Each fault happens at the third batch with changes
in it; then the connector hangs, to be killed just there.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from connectors import writer
from connectors.source import Batch
from connectors.sources.files.source import FilesSource
from connectors.sources.http.source import HttpSource
from exchange import cli
from tests.conformance import struck
from tests.faults import planted

PROGRAM = str(Path(__file__))
HAPPENED = "PLANTED: "


def acknowledge_first() -> None:
    """What was read is acknowledged before it is in Kafka: 202 is said, the file is put away."""
    for source in (HttpSource, FilesSource):
        patch.object(source, "read", _acknowledging(source.read)).start()


def _acknowledging(read: Callable[[Any], Batch]) -> Callable[[Any], Batch]:
    counter = itertools.count(1)

    def read_and_acknowledge(self: Any) -> Batch:
        batch = read(self)
        if batch.changes:
            self.acknowledge(batch.position)
            if next(counter) == 3:
                hang("acknowledged, not written")
        return batch

    return read_and_acknowledge


def write_receipts_apart() -> None:
    """Receipts, and with them the progress of files, go in a transaction after that of the records."""
    start, counter = writer.Writer.start, itertools.count(1)

    def start_without(self: Any, batch: Batch) -> None:
        if not batch.changes:
            start(self, batch)
            return
        start(self, replace(batch, receipts=()))
        self.finish()
        if next(counter) == 3:
            hang("records committed, receipts not")
        start(self, replace(batch, changes=()))

    patch.object(writer.Writer, "start", start_without).start()


def hang(what: str) -> None:
    sys.stderr.write(f"{HAPPENED}{what}\n")
    sys.stderr.flush()
    threading.Event().wait()


FAULTS: dict[str, Callable[[], None]] = {
    "position-first": planted.put_position_first,
    "acknowledge-first": acknowledge_first,
    "receipts-apart": write_receipts_apart,
}

if __name__ == "__main__":
    struck.take_small_steps()
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
