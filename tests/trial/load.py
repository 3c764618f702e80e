"""Transactions in the background, for as long as a fault needs something to disturb."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import psycopg

from tests.trial.bus import TrialBus
from tests.trial.people import Writer


@contextmanager
def load(bus: TrialBus, seed: int, *, truncates: bool = False, source_may_go: bool = False) -> Iterator[None]:
    """Commit transactions until the body ends; `source_may_go`: or until the source does."""
    stop = threading.Event()
    writer = Writer(bus.dsn, seed, truncates=truncates)

    def write() -> None:
        passing = suppress(psycopg.OperationalError) if source_may_go else nullcontext()
        with passing, psycopg.connect(bus.dsn) as connection:
            connection.execute("TRUNCATE public.person")
            connection.commit()
            while not stop.wait(0.004):
                writer.transaction(connection)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
