"""A connector that is killed, by itself and with signal 9, at a chosen point of a batch's way into Kafka.

Run as `python struck.py <point> <batch> <arguments of exchange>`; batches with changes count, from 1. At the
point `nowhere` it goes on, to be killed from outside. Snapshots are read in small chunks and a little slowly,
so that many deaths fit in one; batches are small too; dropped files are taken at once.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

from connectors import writer
from connectors.source import Batch
from connectors.sources.files.folder import Folder
from exchange import cli

POINTS = ("before-produce", "before-commit", "after-commit")
NOWHERE = "nowhere"
CHUNK_ROWS = 200
BATCH_CHANGES = 2000
PAUSE_S = 0.05
PROGRAM = str(Path(__file__))
UNHARMED = (PROGRAM, NOWHERE, "0")


def strike(point: str, number: int) -> None:
    """Build the fault in. before-commit: everything is produced, the transaction is still open."""
    start, finish, counter = writer.Writer.start, writer.Writer.finish, itertools.count(1)
    struck: list[bool] = []

    def start_it(self: Any, batch: Batch) -> None:
        is_it = bool(batch.changes) and next(counter) == number
        if is_it and point == "before-produce":
            die()
        if is_it and point == "before-commit":
            self._commits.submit = lambda *_: die(self._producer.flush(10))
        start(self, batch)
        struck.append(is_it)

    def finish_it(self: Any) -> Batch | None:
        batch = finish(self)
        if point == "after-commit" and struck and struck[-1]:
            die()
        if batch is not None and batch.position is not None and batch.position.snapshot:
            threading.Event().wait(PAUSE_S)  # a slower source, not a wait for anything
        return batch

    patch.object(writer.Writer, "start", start_it).start()
    patch.object(writer.Writer, "finish", finish_it).start()


def take_small_steps() -> None:
    """Small chunks of a snapshot, small batches of a stream, and no wait for files to settle."""
    patch("connectors.sources.chunks._MOST_ROWS", CHUNK_ROWS).start()
    patch("connectors.sources.postgres.stream._MOST_CHANGES", BATCH_CHANGES).start()
    patch("connectors.sources.mysql.stream._MOST_CHANGES", BATCH_CHANGES).start()
    patch.object(Folder.__init__, "__defaults__", (0.05,)).start()


def die(*_: object) -> None:
    """End as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    take_small_steps()
    strike(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["exchange", *sys.argv[3:]]
    cli.main()
