"""Stand-ins for the edges of the transaction stage: an outbox that only remembers, records without Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from faust.types import TP

from exchange.account import Account
from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.change import Reason
from exchange.process import Halt, Processed
from streams.rounds import Batch, Round
from streams.transaction import Outbox

A0, A1, B0 = TP("raw.a", 0), TP("raw.a", 1), TP("raw.b", 0)


def a_round(after: Round | None = None, **spans: Any) -> Round:
    """Return a round; A0=range(3, 6) gives partition A0 the offsets 3, 4, 5."""
    names = {"A0": A0, "A1": A1, "B0": B0}
    records = {names[name]: block(span) for name, span in spans.items()}
    return Round(records, "member 1", after)


def block(offsets: Iterable[int]) -> ReadBlock:
    """Return empty records with these offsets."""
    records = ReadBlock()
    for offset in offsets:
        records.add(Record(offset, NONE, None, None, None))
    return records


class FakeOutbox:
    """Remembers what was asked of it; raises what `fails` names for a step, once."""

    def __init__(self, **fails: Exception) -> None:
        self.steps: list[Any] = []
        self.is_open = False
        self._fails = fails

    def _step(self, name: str, *details: Any) -> None:
        self.steps.append((name, *details))
        if name in self._fails:
            raise self._fails.pop(name)

    def begin(self) -> None:
        self._step("begin")
        self.is_open = True

    def write(self, block: WriteBlock) -> None:
        self._step("write", len(block))

    def write_accounts(self, accounts: Iterable[Account]) -> None:
        self._step("accounts", *(account.changes for account in accounts))

    def send_offsets(self, offsets: dict[TP, int], group_metadata: Any) -> None:
        self._step("offsets", dict(offsets), group_metadata)

    def commit(self) -> None:
        self._step("commit")
        self.is_open = False

    def abort(self) -> None:
        if self.is_open:
            self._step("abort")
        self.is_open = False

    def names(self) -> list[str]:
        return [step[0] for step in self.steps]

    def as_outbox(self) -> Outbox:
        return cast(Outbox, self)


class FakePipeline:
    """One output a record; halts, refuses or raises at an offset when told to."""

    def __init__(self, plan_version: int = 1) -> None:
        self.plan_version = plan_version
        self.halt_at: int | None = None
        self.raise_at: int | None = None
        self.refuse = False
        self.seen: list[tuple[TP, int]] = []
        self.rooms: list[WriteBlock] = []
        """The block that each call was given."""

    def process(self, batch: Batch, outgoing: WriteBlock) -> Processed:
        self.rooms.append(outgoing)
        done = Processed(batch.first_offset, outgoing)
        account = Account("process", "stream-0", "a", batch.tp.topic, 0)
        for record in batch.records:
            offset = record.offset
            if offset == self.raise_at:
                raise RuntimeError
            if offset == self.halt_at:
                done.halt = Halt(offset, "cannot be judged")
                break
            account.came_in(1, 1)
            if self.refuse:
                account.was_refused(Reason.TYPE, "f", 1)
            done.outgoing.add(Outgoing("share.a.v", 0, None, b"", b""))
            done.next_offset = offset + 1
        self.seen.append((batch.tp, done.next_offset))
        done.accounts = [account] if account.changes else []
        return done
