"""The whole of processing on one screen: a batch of raw records in, records to write and accounts out.

Every record ends in exactly one of four ways: delivered or filtered per view, refused, foreign, or left where
it is because it cannot be judged now. Pure: the caller writes the outcome in one transaction with the offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exchange.account import Account
from exchange.block import ReadBlock, Record, WriteBlock
from exchange.change import Reason, RecordHeader, Rejected
from exchange.encoding.wire import schema_id
from exchange.engine.desk import Desk
from exchange.engine.programs import Programs
from exchange.errors import ExchangeError
from exchange.keys import Sealer
from exchange.plan import PlannedResource
from exchange.reference import ViewOutput

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
    *,
    writer: str,
    plan_version: int,
    now_ms: int,
) -> Processed:
    """Return what to write for records of one raw topic partition, in offset order.

    Raises: SealError when a refused record cannot be sealed: then nothing is delivered, or refused in clear.
    """
    desk = Desk(topic, partition, resource, sealer, writer, plan_version, now_ms)
    done = Processed(next_offset=batch.offset(0) if batch else 0, outgoing=desk.outgoing)
    for record in batch:
        header = RecordHeader.unpack(record.header)
        if header is None:
            desk.foreign(record)
        else:
            outcome = _judge(record, header, programs)
            if isinstance(outcome, Halt):
                done.halt = outcome
                break
            desk.file(record, header, outcome)
        done.next_offset = record.offset + 1
    done.accounts = list(desk.accounts.values())
    return done


def _judge(
    record: Record, header: RecordHeader, programs: Programs
) -> tuple[list[ViewOutput], ...] | Rejected | Halt:
    key, value = record.key, record.value
    value_id = schema_id(value or b"")
    key_id = None if key is None else schema_id(key)
    if value_id is None or (key is not None and key_id is None):
        return Rejected(Reason.MALFORMED)
    try:
        program = programs.get(value_id, key_id)
    except ExchangeError as error:
        return Halt(record.offset, str(error))
    return program.apply(header, key, value)
