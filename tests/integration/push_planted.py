"""Push with a fault built in, which the comparison of sets must find.

Run as `python push_planted.py <fault> <arguments of exchange>`. Each fault happens at the third batch with
requests in it, and then hangs, to be killed just there.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from connectors import writer
from connectors.source import Batch
from connectors.sources.http import source
from exchange import cli

HAPPENED = "PLANTED: it has happened"


def answer_before_the_commit() -> None:
    """202 is said as soon as a batch is read."""
    read, counter = source.HttpSource.read, itertools.count(1)

    def read_and_answer(self: Any) -> Batch:
        batch = read(self)
        if batch.changes:
            self.acknowledge(batch.position)
            if next(counter) == 3:
                hang()
        return batch

    patch.object(source.HttpSource, "read", read_and_answer).start()


def write_receipts_apart() -> None:
    """Receipts go in a transaction after that of the records and their position."""
    start, counter = writer.Writer.start, itertools.count(1)

    def start_without(self: Any, batch: Batch) -> None:
        if not batch.changes:
            start(self, batch)
            return
        start(self, replace(batch, receipts=()))
        self.finish()
        if next(counter) == 3:
            hang()
        start(self, replace(batch, changes=()))

    patch.object(writer.Writer, "start", start_without).start()


def hang_between_two_steps_of_a_file() -> None:
    """The second transaction of a file never begins."""
    start, counter = writer.Writer.start, itertools.count(1)

    def start_or_hang(self: Any, batch: Batch) -> None:
        if batch.changes and next(counter) == 2:
            self.finish()
            hang()
        start(self, batch)

    patch.object(writer.Writer, "start", start_or_hang).start()


def hang() -> None:
    sys.stderr.write(HAPPENED + "\n")
    sys.stderr.flush()
    threading.Event().wait()


FAULTS: dict[str, Callable[[], None]] = {
    "answer-early": answer_before_the_commit,
    "receipts-apart": write_receipts_apart,
    "file-hangs": hang_between_two_steps_of_a_file,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
