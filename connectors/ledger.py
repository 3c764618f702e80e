"""Kafka's side of a delivery: the group's places and the accounts, in one transaction.

One view of one subscriber has one ledger: the transactional.id names both, so a new process fences the one
before it. A batch's account is in Kafka exactly once, with the places that say so: after a crash between the
target's write and this, the records are read again, found in the target, and accounted then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from connectors.sink import Parked
from exchange.account import Account, Stage, minute_of
from exchange.change import Op, Reason, RecordHeader
from exchange.errors import FencedError, RestartError
from exchange.librdkafka import AUTHENTICATION, DENIED, FENCED, explain, quiet_logger, why_ended
from exchange.plan import ACCOUNTS_TOPIC, PARKED_TOPIC
from exchange.subscriber.batches import DeniedError, Place

_TRANSACTION_TIMEOUT_MS: Final = 30_000
_CALL_S: Final = 10.0


def ledger_id(subscriber: str, view: str) -> str:
    """Return the transactional.id of a delivery, which is also the writer of its accounts."""
    return f"deliver-{subscriber}.{view}"


class Ledger:
    """begin → keep* → close. After any error the ledger is thrown away: its state is unknown."""

    def __init__(self, client: dict[str, Any], writer_id: str, topic: str) -> None:
        self._id = writer_id
        self._topic = topic
        self._refusal: KafkaError | None = None
        self._producer = Producer(
            client
            | {
                "transactional.id": writer_id,
                "transaction.timeout.ms": _TRANSACTION_TIMEOUT_MS,
                "linger.ms": 2,
                "delivery.report.only.error": True,
                "error_cb": self._note_error,
            },
            logger=quiet_logger(),
        )

    def begin(self) -> None:
        """Fence every earlier process of this delivery, and end what it left open."""
        self._call(lambda: self._producer.init_transactions(_CALL_S))

    def keep(
        self,
        places: Mapping[int, Place],
        accounts: Iterable[Account],
        group: Any,
        parked: Mapping[bytes, bytes | None] = MappingProxyType({}),
    ) -> None:
        """Write accounts, places and what changes on the parked list, whole or not at all.

        group: the reader's group_metadata; parked: key → value, None takes an entry off.
        """
        positions = [
            TopicPartition(self._topic, partition, place.offset, metadata=place.marks)
            for partition, place in places.items()
        ]
        self._call(self._producer.begin_transaction)
        for account in accounts:
            encoded = account.encode()
            self._call(partial(self._producer.produce, ACCOUNTS_TOPIC, encoded, partition=0))
        for key, value in parked.items():
            self._call(partial(self._producer.produce, PARKED_TOPIC, value, key, partition=0))
        if positions:
            self._call(lambda: self._producer.send_offsets_to_transaction(positions, group, _CALL_S))
        self._call(lambda: self._producer.commit_transaction(_CALL_S))

    def close(self) -> None:
        """Let go of the producer; what it had not committed is ended by Kafka or by the next `begin`.

        Its own close() would wait for Kafka without limit; dropped, it ends at once.
        """
        self._producer.purge()
        del self._producer

    def _call(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except KafkaException as error:
            raise self._outcome(why_ended(self._producer, error.args[0])) from None

    def _outcome(self, problem: KafkaError) -> Exception:
        if problem.code() in FENCED:
            msg = (
                f"{self._id}: another process delivers to this store and has taken over; stop either of them"
            )
            return FencedError(msg)
        if problem.code() in DENIED:
            return DeniedError(
                f"{self._topic}: Kafka denies it to {self._id} ({problem.name()}): there is no grant any "
                "more. Grants stand in topology.yaml and take effect with `exchange apply`"
            )
        if problem.fatal():
            return RestartError(f"{self._id}: Kafka's client cannot go on ({problem.name()})")
        return explain(self._id, self._refusal or problem)

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._refusal = error


class Handed(Protocol):
    """A record that left the bus: what its account needs of it."""

    @property
    def partition(self) -> int:
        """Of the view's topic."""

    @property
    def offset(self) -> int:
        """In that partition."""

    @property
    def header(self) -> RecordHeader | None:
        """None where this bus did not write the record."""


def accounts_of(
    stage: Stage,
    writer_id: str,
    resource: str,
    topic: str,
    plan_version: int,
    records: Iterable[Handed],
    parked: Parked,
) -> list[Account]:
    """Return one account for each partition and source minute of some records of a view's topic.

    A delete and its tombstone are one change. Records that this bus did not write have no position.
    """
    made_at_ms = time.time_ns() // 1_000_000
    accounts: dict[tuple[int, int], Account] = {}
    for record in records:
        header, minute = record.header, minute_of(record.header.source_ms if record.header else made_at_ms)
        account = accounts.get((record.partition, minute))
        if account is None:
            account = Account(stage, writer_id, resource, topic, minute, record.partition)
            account.first_offset, account.plan_version = record.offset, plan_version
            account.made_at_ms = made_at_ms
            accounts[record.partition, minute] = account
        account.last_offset = record.offset
        if header is None:
            account.was_foreign()
            continue
        if header.tombstone:
            continue
        position_hash = header.position.hash64()
        account.came_in(position_hash, 0)
        if (record.partition, record.offset) in parked:
            account.was_refused(Reason.UNDELIVERABLE, "", position_hash)
        else:
            account.was_delivered(topic, position_hash, [])
        if header.op is not Op.READ:  # a snapshot's row has no time of commit to be late against
            account.took(max(0, made_at_ms - header.source_ms))
    return list(accounts.values())
