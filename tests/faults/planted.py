"""Workers and connectors with a fault built in: the judge and the canary search must fail on them.

Run as `python planted.py <fault> <arguments of exchange>`, e.g. `python planted.py skip stream`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from confluent_kafka import TopicPartition
from faust.types import TP

from connectors import writer
from connectors.source import Batch
from connectors.sources.postgres.transaction import Transactions
from exchange import cli, masking
from exchange.block import ReadBlock
from exchange.blockio import BlockConsumer, Reading
from exchange.engine import codes, flat
from exchange.masking import Partial, Redact
from streams import poller

EARLY = "PLANTED: offsets committed, outputs not written"
AHEAD = "PLANTED: position committed, changes not written"


def skip_a_record() -> None:
    """Every twentieth record vanishes while it is read, native or not; its offset is passed all the same."""
    read, counter = BlockConsumer.read, itertools.count(1)

    def read_most(self: Any, into: Reading, *arguments: Any) -> None:
        found = Reading()
        read(self, found, *arguments)
        for at, block in found.blocks.items():
            kept = [record for record in block if next(counter) % 20]
            for record in kept:
                into.blocks.setdefault(at, ReadBlock()).add(record)
            into.records += len(kept)
        into.errors += found.errors

    patch.object(BlockConsumer, "read", read_most).start()


def alter_a_record() -> None:
    """The last byte of each value is another one when it is read."""
    read = BlockConsumer.read

    def read_altered(self: Any, into: Reading, *arguments: Any) -> None:
        found = Reading()
        read(self, found, *arguments)
        for at, block in found.blocks.items():
            for record in block:
                value = record.value and record.value[:-1] + bytes([record.value[-1] ^ 1])
                into.blocks.setdefault(at, ReadBlock()).add(record._replace(value=value))
                into.records += 1
        into.errors += found.errors

    patch.object(BlockConsumer, "read", read_altered).start()


def read_slowly() -> None:
    """The worker waits three seconds before it hands over what it has read."""
    hand_over = poller.Poller._hand_over

    def hand_over_late(self: Any, records: dict[TP, ReadBlock]) -> None:
        if records:
            threading.Event().wait(3)
        hand_over(self, records)

    patch.object(poller.Poller, "_hand_over", hand_over_late).start()


def capture_slowly() -> None:
    """The connector waits eight seconds before it writes what it has captured."""
    start = writer.Writer.start

    def start_late(self: Any, batch: Batch) -> None:
        if batch.changes:
            threading.Event().wait(8)
        start(self, batch)

    patch.object(writer.Writer, "start", start_late).start()


def commit_early() -> None:
    """Offsets go first, outside the transaction; at the third round the worker then hangs, to be killed."""
    hand_over, counter = poller.Poller._hand_over, itertools.count()

    def hand_over_late(self: Any, records: dict[TP, ReadBlock]) -> None:
        ends = [TopicPartition(*tp, block.offset(-1) + 1) for tp, block in records.items()]
        if ends:
            self._consumer.commit(offsets=ends, asynchronous=False)
            if next(counter) == 2:
                sys.stderr.write(EARLY + "\n")
                sys.stderr.flush()
                threading.Event().wait()
        hand_over(self, records)

    patch.object(poller.Poller, "_hand_over", hand_over_late).start()


def put_position_first() -> None:
    """The position goes in a transaction before that of its changes; between the third two it hangs."""
    start, counter = writer.Writer.start, itertools.count(1)

    def start_with_position(self: Any, batch: Batch) -> None:
        if not batch.changes:
            start(self, batch)
            return
        start(self, Batch((), batch.position))
        self.finish()
        if next(counter) == 3:
            sys.stderr.write(AHEAD + "\n")
            sys.stderr.flush()
            threading.Event().wait()
        start(self, Batch(batch.changes, None))

    patch.object(writer.Writer, "start", start_with_position).start()


def take_masks_off() -> None:
    """`partial` and `redact` show what they were given."""
    compile_mask = masking.compile_mask

    def compile_nothing(mask: Any, *arguments: Any) -> Any:
        if isinstance(mask, Partial | Redact):
            return lambda value: value
        return compile_mask(mask, *arguments)

    patch("exchange.engine.render.compile_mask", compile_nothing).start()
    row_of = flat.Compiler.op

    def copy(self: Any, shown: Any, view: Any, mask: Any) -> list[int]:
        row = row_of(self, shown, view, mask)
        return [codes.COPY, *row[1:]] if row[0] in (codes.PARTIAL, codes.CONSTANT) else row

    patch.object(flat.Compiler, "op", copy).start()


def take_masks_and_gate_off() -> None:
    """The leak gate sees nothing either."""
    take_masks_off()
    patch("exchange.reference.find_leak", lambda *_: None).start()
    patch.object(flat.Compiler, "watch", lambda *_: 0).start()


def hear_no_keepalive() -> None:
    """The connector does not heed how far the server is: an idle source's slot stays where it was."""
    patch.object(Transactions, "reached", lambda *_: None).start()


def take_any_table() -> None:
    """A table that was dropped and made anew, or was out of the publication, is taken for the one before."""
    patch("connectors.sources.postgres.marks.Marks._change", lambda *_: "").start()
    patch("connectors.sources.postgres.marks.Marks.strangers", lambda *_: iter(())).start()


def take_whole_transactions() -> None:
    """The connector gathers without end: a batch is as large as what the source sends at a stretch."""
    for limit in ("_MOST_CHANGES", "_MOST_BYTES", "_LONGEST_S"):
        patch(
            f"connectors.sources.postgres.stream.{limit}", 10**6 if limit == "_LONGEST_S" else 10**12
        ).start()


FAULTS: dict[str, Callable[[], None]] = {
    "skip": skip_a_record,
    "alter": alter_a_record,
    "slow-worker": read_slowly,
    "slow-connector": capture_slowly,
    "early-commit": commit_early,
    "position-first": put_position_first,
    "deaf": hear_no_keepalive,
    "any-table": take_any_table,
    "boundless": take_whole_transactions,
    "masks-off": take_masks_and_gate_off,
    "masks-off-gate-on": take_masks_off,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv = ["exchange", *sys.argv[2:]]
    cli.main()
