"""Connectors that are struck while a table is read beside the stream, or whose window has a fault.

Run as `python snapshot_planted.py <fault> <arguments of exchange>`; DIE in the environment names the point to
die at, CHUNK which chunk's.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from connectors import writer
from connectors.source import Batch
from connectors.sources.postgres.chunkread import ChunkReader
from connectors.sources.postgres.window import Window
from exchange import cli

POINTS = ("before-read", "before-mark", "after-mark", "before-commit", "after-commit")
_CHUNK = int(os.environ.get("CHUNK", "1"))


def race() -> None:
    """Have the transaction that stands in the source's table `race` commit between a chunk and its mark."""
    mark, read = ChunkReader._mark, ChunkReader.read
    reads: list[bool] = []

    def read_rows(self: Any, *arguments: Any) -> None:
        reads.append(True)
        read(self, *arguments)

    def mark_late(self: Any, connection: Any) -> Any:
        if reads:
            for (sql,) in connection.query("DELETE FROM race RETURNING sql"):
                connection.query(sql.decode())
        reads.clear()
        return mark(self, connection)

    patch.object(ChunkReader, "read", read_rows).start()
    patch.object(ChunkReader, "_mark", mark_late).start()


def race_without_window() -> None:
    """The same, and what the stream told meanwhile is forgotten: a stale row wins."""
    race()
    patch.object(Window, "stale", lambda *_: set()).start()


def do_not_wait() -> None:
    """Begin although transactions are open that may have been told already, and are not to be seen yet."""
    mark = ChunkReader._mark
    patch.object(ChunkReader, "_mark", lambda self, connection: (mark(self, connection)[0], 0)).start()


def die_at_a_point() -> None:
    """End as by `kill -9` at a point of a chunk's way."""
    point = os.environ["DIE"]
    counter = itertools.count(1)
    read, mark, start, finish = ChunkReader.read, ChunkReader._mark, writer.Writer.start, writer.Writer.finish
    reads: list[int] = []
    struck: list[bool] = []

    def read_rows(self: Any, *arguments: Any) -> None:
        reads.append(next(counter))
        if point == "before-read" and reads[-1] == _CHUNK:
            die()
        read(self, *arguments)

    def make_mark(self: Any, connection: Any) -> Any:
        is_it = reads[-1:] == [_CHUNK]
        if is_it and point == "before-mark":
            die()
        made = mark(self, connection)
        if is_it and point == "after-mark":
            die()
        return made

    def start_it(self: Any, batch: Batch) -> None:
        is_it = reads[-1:] == [_CHUNK] and any(getattr(c, "op", None) == "r" for c in batch.changes)
        if is_it and point == "before-commit":
            self._commits.submit = lambda *_: die(self._producer.flush(10))
        start(self, batch)
        struck.append(is_it)

    def finish_it(self: Any) -> Batch | None:
        batch = finish(self)
        if point == "after-commit" and struck[-1:] == [True]:
            die()
        return batch

    patch.object(ChunkReader, "read", read_rows).start()
    patch.object(ChunkReader, "_mark", make_mark).start()
    patch.object(writer.Writer, "start", start_it).start()
    patch.object(writer.Writer, "finish", finish_it).start()


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, Callable[[], None]] = {
    "race": race,
    "race-without-window": race_without_window,
    "impatient": do_not_wait,
    "die": die_at_a_point,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
