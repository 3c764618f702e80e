"""Where outcomes are filed: records get their topic, partition and header, and the batch its accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from exchange.account import Account, content_hash, minute_of
from exchange.change import Op, Position, Reason, RecordHeader, Rejected
from exchange.keys import QuarantineRecord, Sealer
from exchange.plan import PlannedResource
from exchange.reference import ViewOutput


class RawRecord(Protocol):
    """What is needed of a consumed record; `confluent_kafka.Message` is one."""

    def key(self) -> bytes | None:
        """Return the key's bytes."""

    def value(self) -> bytes | None:
        """Return the value's bytes."""

    def offset(self) -> int:
        """Return the offset in the partition."""

    def headers(self) -> Sequence[tuple[str, bytes | None]] | None:
        """Return the headers, in order; one name may occur more than once."""

    def timestamp(self) -> tuple[int, int]:
        """Return (kind, ms since 1970-01-01 UTC); kind 0: there is none."""


class Outgoing(NamedTuple):
    """One record to write; header is the packed value of `x-exchange`."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    header: bytes


@dataclass(slots=True)
class Desk:
    """Addresses what is to be written and keeps the books of one batch."""

    topic: str
    partition: int
    resource: PlannedResource
    sealer: Sealer
    writer: str
    plan_version: int
    now_ms: int
    accounts: dict[int, Account] = field(default_factory=dict)

    def file(
        self, record: RawRecord, header: RecordHeader, outcome: tuple[list[ViewOutput], ...] | Rejected
    ) -> list[Outgoing]:
        """Account for one change and return its records."""
        account = self._account(record, header.source_ms)
        position_hash = header.position.hash64()
        account.came_in(position_hash, content_hash(header.position, record.key(), record.value()))
        account.took(self.now_ms - header.source_ms)
        if isinstance(outcome, Rejected):
            account.was_refused(outcome.reason, outcome.field, position_hash)
            return [self._quarantined(record, header, outcome)]
        outgoing: list[Outgoing] = []
        for view, outputs in zip(self.resource.views, outcome, strict=True):
            if not outputs:
                account.was_filtered(view.topic, position_hash)
                continue
            hashes = [content_hash(header.position, output.key, output.value) for output in outputs]
            account.was_delivered(view.topic, position_hash, hashes)
            outgoing += [self._addressed(view.topic, header, output) for output in outputs]
        return outgoing

    def foreign(self, record: RawRecord) -> Outgoing:
        """Account for a record that this bus did not write, and return it as refused."""
        kind, written_ms = record.timestamp()
        source_ms = written_ms if kind and written_ms > 0 else self.now_ms
        header = RecordHeader(Position(0, record.offset(), self.partition), Op.READ, source_ms)
        self._account(record, source_ms).was_foreign()
        return self._quarantined(record, header, Rejected(Reason.FOREIGN))

    def _account(self, record: RawRecord, source_ms: int) -> Account:
        minute, offset = minute_of(source_ms), record.offset()
        if minute not in self.accounts:
            self.accounts[minute] = Account(
                stage="process",
                writer=self.writer,
                resource=self.resource.name,
                topic=self.topic,
                minute=minute,
                partition=self.partition,
                first_offset=offset,
                plan_version=self.plan_version,
                made_at_ms=self.now_ms,
            )
        self.accounts[minute].last_offset = offset
        return self.accounts[minute]

    def _addressed(self, topic: str, header: RecordHeader, output: ViewOutput) -> Outgoing:
        stamped = replace(header, op=output.op, plan_version=self.plan_version, tombstone=output.tombstone)
        return Outgoing(topic, self.partition, output.key, output.value, stamped.pack())

    def _quarantined(self, record: RawRecord, header: RecordHeader, refusal: Rejected) -> Outgoing:
        """Seal key and value together: the raw key is often an ID number, and all else is in clear."""
        key, value, packed = record.key(), record.value(), header.pack()
        entry = QuarantineRecord(
            resource=self.resource.name,
            stage="process",
            topic=self.topic,
            partition=self.partition,
            offset=record.offset(),
            header=packed,
            reason=refusal.reason,
            field=refusal.field,
            plan_version=self.plan_version,
            at_ms=self.now_ms,
            payload_bytes=len(key or b"") + len(value or b""),
            sealed=self.sealer.seal(self.resource.name, packed, key, value),
        )
        stamped = replace(header, plan_version=self.plan_version).pack()
        return Outgoing(self.resource.quarantine_topic, self.partition, stamped, entry.encode(), stamped)
