"""Has Kafka answer the fetches that it holds back until there is more to read.

Kafka asks who may read when a fetch comes in, not when it answers, and a client may have it wait for long:
what is written meanwhile goes to a reader whose access is gone. A record in each partition ends these waits
at once. It is in a transaction that is aborted, so that no reader of what is committed gets it.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AdminClient,
    OffsetSpec,
)

from exchange.errors import PartError
from exchange.librdkafka import quiet_logger

RECORD_BYTES: Final = 100_000
"""A fetch that wants no more than this (fetch.min.bytes; the default is 1) is ended."""
_TIMEOUT_S: Final = 30.0
_OPEN_TRANSACTION_S: Final = 40.0
_POLL_S: Final = 0.02


class Flush:
    """One flush of one topic: it gets ready in the background, as that takes a while; `run` once."""

    def __init__(self, client: dict[str, Any], topic: str) -> None:
        """`client`: librdkafka properties of the cluster's admin."""
        self._topic = topic
        self._offsets: dict[int, int] = {}
        self._failed = ""
        given = {"transactional.id": f"revoke-{uuid.uuid4()}", "linger.ms": 0, "compression.type": "none"}
        self._producer = Producer(client | given, logger=quiet_logger())
        self._ready = threading.Thread(target=self._get_ready, name="flush", daemon=True)
        self._ready.start()

    def run(self, admin: AdminClient, partitions: int) -> None:
        """Return once every fetch that was held when this was called has been answered.

        Raises: PartError when Kafka refuses, or another transaction stays open.
        """
        self._ready.join()
        if not self._failed:
            self._write(partitions)
        if self._failed or len(self._offsets) != partitions:
            msg = f"topic {self._topic}: waiting readers could not be ended ({self._failed or 'no answer'})"
            raise PartError(msg)
        deadline = time.monotonic() + _OPEN_TRANSACTION_S
        while not self._has_passed(admin):
            if time.monotonic() > deadline:
                msg = f"topic {self._topic}: a transaction stays open, so waiting readers are not ended yet"
                raise PartError(msg)
            time.sleep(_POLL_S)

    def _get_ready(self) -> None:
        try:
            self._producer.init_transactions(_TIMEOUT_S)
        except KafkaException as error:
            self._failed = error.args[0].name()

    def _write(self, partitions: int) -> None:
        try:
            self._producer.begin_transaction()
            for partition in range(partitions):
                self._producer.produce(
                    self._topic, bytes(RECORD_BYTES), partition=partition, on_delivery=self._note
                )
            self._producer.flush(_TIMEOUT_S)
            self._producer.abort_transaction(_TIMEOUT_S)
        except KafkaException as error:
            self._failed = error.args[0].name()

    def _note(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed = error.name()
        else:
            self._offsets[int(message.partition() or 0)] = int(message.offset() or 0)

    def _has_passed(self, admin: AdminClient) -> bool:
        """Whether readers of what is committed are past our records: open transactions held them up."""
        asked = {TopicPartition(self._topic, at): OffsetSpec.latest() for at in self._offsets}  # type: ignore[no-untyped-call]
        found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        try:
            return all(
                answer.result(_TIMEOUT_S).offset > self._offsets[at.partition] for at, answer in found.items()
            )
        except (KafkaException, TimeoutError) as error:
            msg = f"topic {self._topic}: Kafka does not tell its ends ({type(error).__name__}); run it again"
            raise PartError(msg) from None
