"""The whole of processing on one screen: a batch of raw records in, records to write and accounts out.

Every record ends in exactly one of four ways: delivered or filtered per view, refused, foreign, or left where
it is because it cannot be judged now. Pure: the caller writes the outcome in one transaction with the offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from exchange.account import Account
from exchange.block import ReadBlock, Record, WriteBlock
from exchange.boxes import BoxOpener, is_box
from exchange.change import Reason, RecordHeader, Rejected, view_number
from exchange.encoding.wire import schema_id
from exchange.engine.desk import Desk
from exchange.engine.oneview import run_for_view
from exchange.engine.programs import Engine, Programs
from exchange.errors import ExchangeError
from exchange.kernel import Kernel
from exchange.keys import Sealer
from exchange.plan import PlannedResource
from exchange.reference import ViewOutput

_PORTION: Final = 200
"""Records that the kernel takes in one go, about 1 ms: so long does another thread wait for Python."""

__all__ = ["Halt", "Processed", "Programs", "Sealer", "process_batch"]


@dataclass(frozen=True, slots=True)
class Halt:
    """The record at `offset` cannot be judged now; it and all after it stay unread."""

    offset: int
    reason: str


@dataclass(slots=True)
class Processed:
    """What became of a batch. accounts: one per source minute; next_offset: where reading goes on."""

    next_offset: int
    outgoing: WriteBlock = field(default_factory=WriteBlock)
    accounts: list[Account] = field(default_factory=list)
    halt: Halt | None = None


def process_batch(
    batch: ReadBlock,
    topic: str,
    partition: int,
    resource: PlannedResource,
    programs: Programs,
    sealer: Sealer,
    opener: BoxOpener | None = None,
    *,
    writer: str,
    plan_version: int,
    now_ms: int,
    outgoing: WriteBlock | None = None,
) -> Processed:
    """Return what to write for records of one raw topic partition, in offset order.

    opener: opens what is sealed; without one that is left where it is. outgoing: an empty block whose room
    is used for it.

    Raises: SealError when a refused record cannot be sealed: then nothing is delivered, or refused in clear.
    """
    room = WriteBlock() if outgoing is None else outgoing  # an empty block is false
    desk = Desk(batch, topic, partition, resource, sealer, writer, plan_version, now_ms, room)
    done = Processed(next_offset=batch.offset(0) if batch else 0, outgoing=desk.outgoing)
    boxes = opener or BoxOpener()
    kernel: Kernel | None = None
    number = opened = 0
    while True:
        number = _run(kernel, batch, number, desk)
        if number == batch.count:
            break
        record = batch.record(number)
        header = RecordHeader.unpack(record.header)
        if header is None:
            desk.foreign(record)
            number += 1
            continue
        if is_box(record.value) and number >= opened:
            batch, opened = boxes.open_block(batch, number, topic, partition)
            if opened > number:
                continue
            done.halt = Halt(record.offset, boxes.missing(record.value))
            break
        if header.only_view is not None and header.plan_version > plan_version:
            done.halt = Halt(record.offset, _too_early(header, plan_version))
            break
        engine = _engine(record, programs)
        if isinstance(engine, Engine) and engine.kernel not in (None, kernel):
            kernel = engine.kernel
            continue
        if isinstance(engine, Halt):
            done.halt = engine
            break
        if header.only_view is not None and kernel is not None and isinstance(engine, Engine):
            last = min(number + _PORTION, batch.count)
            if (reached := run_for_view(kernel, batch, number, last, header, desk)) > number:
                number = reached
                continue
        judged = engine if isinstance(engine, Rejected) else _judge(record, header, engine, resource)
        desk.file(number, record, header, judged)
        number += 1
    done.next_offset = batch.offset(number - 1) + 1 if number else done.next_offset
    done.accounts = list(desk.accounts.values())
    return done


def _run(kernel: Kernel | None, batch: ReadBlock, first: int, desk: Desk) -> int:
    """Have the kernel deliver all that it can; return the first record that it leaves to the reference."""
    if kernel is None:
        return first
    while first < batch.count:
        last = min(first + _PORTION, batch.count)
        written = (desk.outgoing.count, desk.filtered.count)
        number = kernel.run(
            batch, first, last, desk.outgoing, desk.filtered, desk.partition, desk.plan_version
        )
        desk.book(first, number, written)
        first = number
        if number < last:
            break
    return first


def _engine(record: Record, programs: Programs) -> Engine | Rejected | Halt:
    value_id = schema_id(record.value or b"")
    key_id = None if record.key is None else schema_id(record.key)
    if value_id is None or (record.key is not None and key_id is None):
        return Rejected(Reason.UNREADABLE if is_box(record.value) else Reason.MALFORMED)
    try:
        return programs.get(value_id, key_id)
    except ExchangeError as error:
        return Halt(record.offset, str(error))


def _judge(
    record: Record, header: RecordHeader, engine: Engine, resource: PlannedResource
) -> tuple[list[ViewOutput], ...] | Rejected:
    """Return each view's records; what is for one view is filtered for every other one.

    Without a key it is the mark that such rows begin, which is for nobody: it has done its work by then.
    """
    if header.only_view is None:
        return engine.reference.apply(header, record.key, record.value)
    if record.key is None:
        return tuple([] for _ in resource.views)
    outcome = engine.reference.apply(header, record.key, record.value)
    if isinstance(outcome, Rejected):
        return outcome
    return tuple(
        outputs if view_number(view.name) == header.only_view else []
        for view, outputs in zip(resource.views, outcome, strict=True)
    )


def _too_early(header: RecordHeader, plan_version: int) -> str:
    return (
        f"rows for one view of plan version {header.plan_version} begin here; this worker has plan version "
        f"{plan_version} and waits for the later one"
    )
