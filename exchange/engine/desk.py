"""Where outcomes are filed: records get their topic, partition and header, and the batch its accounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from exchange.account import MS_PER_MINUTE, Account, content_hash, minute_of
from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.change import Op, Position, Reason, RecordHeader, Rejected
from exchange.keys import QuarantineRecord, Sealer
from exchange.plan import PlannedResource
from exchange.reference import ViewOutput
from exchange.tally import Sums, tally


@dataclass(slots=True)
class Desk:
    """Addresses what is to be written and keeps the books of one batch.

    arrived: the batch as it was read: sums are over the bytes that Kafka holds, of sealed records too.
    """

    arrived: ReadBlock
    topic: str
    partition: int
    resource: PlannedResource
    sealer: Sealer
    writer: str
    plan_version: int
    now_ms: int
    outgoing: WriteBlock = field(default_factory=WriteBlock)
    filtered: WriteBlock = field(default_factory=WriteBlock)
    """A header under the view's topic for each change that the kernel kept from it; not written to Kafka."""
    accounts: dict[int, Account] = field(default_factory=dict)
    """By source minute."""

    def file(
        self,
        number: int,
        record: Record,
        header: RecordHeader,
        outcome: tuple[list[ViewOutput], ...] | Rejected,
    ) -> None:
        """Account for one change, record `number` of the batch, and put its records into `outgoing`."""
        account = self.account(record.offset, header.source_ms)
        position_hash = header.position.hash64()
        key, value = self.arrived.key(number), self.arrived.value(number)
        account.came_in(position_hash, content_hash(header.position, key, value))
        account.took(self.now_ms - header.source_ms)
        if isinstance(outcome, Rejected):
            account.was_refused(outcome.reason, outcome.field, position_hash)
            self._quarantine(record, header, outcome)
            return
        for view, outputs in zip(self.resource.views, outcome, strict=True):
            if not outputs:
                account.was_filtered(view.topic, position_hash)
                continue
            hashes = [content_hash(header.position, output.key, output.value) for output in outputs]
            account.was_delivered(view.topic, position_hash, hashes)
            for output in outputs:
                self._address(view.topic, header, output)

    def book(self, first: int, last: int, written: tuple[int, int]) -> None:
        """Account for changes that the kernel delivered or filtered: records `first` to before `last`.

        written: how many records were in `outgoing` and in `filtered` before.
        """
        for (_, minute), sums in tally(self.arrived, first, last, self.now_ms).items():
            account = self.account(self.arrived.offset(sums.first), minute * MS_PER_MINUTE)
            account.last_offset = self.arrived.offset(sums.last)
            account.took_in(sums.changes, sums.position_sum, sums.content_sum, sums.delays)
        for (topic, minute), sums in self._sums(self.outgoing, written[0]):
            account = self.accounts[minute]
            account.delivered(topic, sums.changes, sums.position_sum, sums.records, sums.content_sum)
        for (topic, minute), sums in self._sums(self.filtered, written[1]):
            self.accounts[minute].filtered(topic, sums.changes, sums.position_sum)

    def _sums(self, block: WriteBlock, first: int) -> Iterator[tuple[tuple[str, int], Sums]]:
        for (topic, minute), sums in tally(block, first, block.count, self.now_ms).items():
            yield (block.topics[topic], minute), sums

    def foreign(self, record: Record) -> None:
        """Account for a record that this bus did not write, and put it into `outgoing` as refused."""
        source_ms = record.timestamp_ms if record.timestamp_ms not in (NONE, 0) else self.now_ms
        header = RecordHeader(Position(0, record.offset, self.partition), Op.READ, source_ms)
        self.account(record.offset, source_ms).was_foreign()
        self._quarantine(record, header, Rejected(Reason.FOREIGN))

    def account(self, offset: int, source_ms: int) -> Account:
        """Return the account of a change's source minute, new where there is none; it reaches to `offset`."""
        minute = minute_of(source_ms)
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

    def _address(self, topic: str, header: RecordHeader, output: ViewOutput) -> None:
        stamped = replace(
            header,
            op=output.op,
            plan_version=self.plan_version,
            tombstone=output.tombstone,
            only_view=None,
        )
        self.outgoing.add(Outgoing(topic, self.partition, output.key, output.value, stamped.pack()))

    def _quarantine(self, record: Record, header: RecordHeader, refusal: Rejected) -> None:
        """Seal key and value together: the raw key is often an ID number, and all else is in clear."""
        key, value, packed = record.key, record.value, header.pack()
        entry = QuarantineRecord(
            resource=self.resource.name,
            stage="process",
            topic=self.topic,
            partition=self.partition,
            offset=record.offset,
            header=packed,
            reason=refusal.reason,
            field=refusal.field,
            plan_version=self.plan_version,
            at_ms=self.now_ms,
            payload_bytes=len(key or b"") + len(value or b""),
            sealed=self.sealer.seal(self.resource.name, packed, key, value),
        )
        stamped = replace(header, plan_version=self.plan_version).pack()
        topic = self.resource.quarantine_topic
        self.outgoing.add(Outgoing(topic, self.partition, stamped, entry.encode(), stamped))
