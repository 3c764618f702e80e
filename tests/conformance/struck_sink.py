"""A delivery that is killed, by itself and with signal 9, at a chosen point; or that has a fault built in.

Run as `python struck_sink.py <fault> <batch> <arguments of exchange>`; batches with records count, from 1.

before-write       nothing of the batch is in the target
within-write       part of it is in the target, or all of it and not yet committed
after-write        it is in the target, Kafka has not heard of it
after-keep         Kafka has heard of it
places-first       planted: the target's places go before the rows, and it dies between the two
behind             it opens the PostgreSQL target, and goes on when another process has written there again
swallow            planted: a webhook that was not accepted is taken for accepted

The following count transactions that change what is parked, from 1:

before-parked      what was parked or sent again is not in Kafka
after-parked       it is
overtake           planted: later records of a parked key are sent
unlisted           planted: what is parked is not put on the list
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import Any
from unittest.mock import patch

from connectors import ledger, redrive, viewdelivery
from connectors.parked import ParkedView
from connectors.sinks import SINKS
from connectors.sinks.clickhouse.sink import ClickhouseSink
from connectors.sinks.files.content import content_of
from connectors.sinks.files.sink import FilesSink
from connectors.sinks.postgres.sink import PostgresSink
from connectors.sinks.webhook import post
from connectors.sinks.webhook.sink import WebhookSink
from exchange import cli
from exchange.errors import ExchangeError
from exchange.subscriber.batches import Batch
from tests.conformance.struck import die
from tests.stack import wait_for

POINTS = ("before-write", "within-write", "after-write", "after-keep")


def strike(fault: str, number: int, kind: str) -> None:
    """Build the fault in."""
    sink: Any = SINKS[kind]
    write, keep, counter = sink.write, ledger.Ledger.keep, itertools.count(1)
    struck: list[bool] = []

    def write_it(self: Any, batch: Batch) -> Any:
        is_it = bool(batch.records) and next(counter) == number
        struck.append(is_it)
        if is_it and fault == "before-write":
            die()
        if is_it and fault == "within-write":
            hook_within(self)
        if is_it and fault == "places-first":
            if isinstance(self, WebhookSink):
                return ()  # Kafka keeps its places: it hears of the batch next
            put_places_first(self, batch, write)
            die()
        parked = write(self, batch)
        if is_it and fault == "after-write":
            die()
        return parked

    def keep_it(self: Any, *arguments: Any) -> None:
        keep(self, *arguments)
        if struck and struck[-1] and fault in ("after-keep", "places-first"):
            die()

    patch.object(sink, "write", write_it).start()
    patch.object(ledger.Ledger, "keep", keep_it).start()
    if fault == "behind":
        fall_behind()
    elif fault == "swallow":
        swallow_refusals()
    elif fault == "overtake":
        patch.object(ParkedView, "holds", lambda *_: False).start()
    elif fault in ("before-parked", "after-parked", "unlisted"):
        hook_parked(fault, number)


def hook_within(sink: Any) -> None:
    """Die where the target has been given everything and has been told to keep nothing."""
    if isinstance(sink, PostgresSink):
        keep = sink._keep

        def keep_and_die(places: Any) -> None:
            keep(places)
            die()

        sink._keep = keep_and_die  # type: ignore[method-assign]
    elif isinstance(sink, ClickhouseSink):
        sink._write_changes = die  # type: ignore[method-assign,assignment]
    elif isinstance(sink, FilesSink):
        written = sink._write_file

        def write_and_die(*arguments: Any) -> None:
            written(*arguments)
            die()

        sink._write_file = write_and_die  # type: ignore[method-assign,assignment]
    elif isinstance(sink, WebhookSink):
        assert sink._receiver is not None
        post_it = sink._receiver.post

        def post_and_die(message_id: str, body: bytes) -> None:
            post_it(message_id, body)
            die()

        sink._receiver.post = post_and_die  # type: ignore[method-assign]


def fall_behind() -> None:
    """Go on with the places from before another process's last batch, the first time."""
    open_it, times = PostgresSink.open, itertools.count(1)

    def open_and_wait(self: Any) -> Any:
        places = open_it(self)
        if next(times) == 1:
            sys.stderr.write("has opened\n")
            wait_for(lambda: held(self) != self._places, "a batch of the other process", 120)
        return places

    def held(sink: Any) -> dict[int, int]:
        with sink._open.transaction():
            found: dict[int, int] = sink._held()
            return found

    patch.object(PostgresSink, "open", open_and_wait).start()


def swallow_refusals() -> None:
    post_it = post.Receiver.post

    def post_and_forget(self: Any, message_id: str, body: bytes) -> None:
        with contextlib.suppress(ExchangeError):
            post_it(self, message_id, body)

    patch.object(post.Receiver, "post", post_and_forget).start()


def hook_parked(fault: str, number: int) -> None:
    """Die at a transaction that changes what is parked, or leave that out."""
    keep, counter = ledger.Ledger.keep, itertools.count(1)

    def keep_it(self: Any, places: Any, accounts: Any, group: Any, parked: Any = ()) -> None:
        is_it = bool(parked) and next(counter) == number
        if is_it and fault == "before-parked":
            die()
        keep(self, places, accounts, group, {} if fault == "unlisted" else dict(parked))
        if is_it and fault == "after-parked":
            die()

    patch.object(ledger.Ledger, "keep", keep_it).start()


def put_places_first(sink: Any, batch: Batch, write: Any) -> None:
    """Have the target say that it has the batch: by its places, its changes or its files' names."""
    if isinstance(sink, PostgresSink):
        write(sink, Batch((), batch.places))
    elif isinstance(sink, ClickhouseSink):
        values = {(one.partition, one.offset): sink._cells.values(one) for one in batch.records}
        sink._write_changes(batch.records, values)
    elif isinstance(sink, FilesSink):
        make = content_of(sink._form, sink._view)
        sink._content = lambda _records: make([])
        write(sink, batch)


if __name__ == "__main__":
    viewdelivery.HALTED_WAIT_S = 1.0  # type: ignore[misc]
    redrive._MOST_AT_ONCE = 3  # type: ignore[misc]
    FilesSink.linger_s = 0.5
    strike(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sys.argv = ["exchange", *sys.argv[4:]]
    cli.main()
