"""The outbox into the topic `_exchange.decisions`: each decision once, in the order of their numbers.

Nothing in the store says how far it is: the topic itself does, by the number of its last committed record.

1. take over the transactional id, which ends what another relay left open;
2. read the last committed number;
3. write what is behind it in one transaction.

A crash at any point leaves either nothing or all of a transaction, and the next relay goes on from there.
"""

from __future__ import annotations

import random
import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from exchange.errors import TransientError
from exchange.governance.store import Decision, Store
from exchange.librdkafka import FENCED, PARTITION_EOF, explain, quiet_logger
from exchange.plan import DECISIONS_TOPIC

_ID: Final = "governance-decisions"
_ANSWER_S: Final = 20.0
_BATCH: Final = 500
_LOOK_BACK: Final = 100
_TURNS: Final = 6
_MOMENT_S: Final = (0.2, 1.5)


def relay(store: Store, client: dict[str, Any]) -> int:
    """Write all decisions that are not in Kafka yet; return how many.

    Where all are there nobody is taken over from; who is taken over from looks again a moment later.

    client: librdkafka properties of the cluster's admin.

    Raises: TransientError when Kafka does not answer, PartError when it refuses.
    """
    for turn in range(_TURNS):
        try:
            return _relay(store, client) if _after(store, last_sequence(client), 1) else 0
        except KafkaException as error:
            if error.args[0].code() not in FENCED or turn == _TURNS - 1:
                raise explain(DECISIONS_TOPIC, error.args[0]) from None
        time.sleep(random.uniform(*_MOMENT_S))  # noqa: S311 - so that two do not meet again
    raise AssertionError


def _relay(store: Store, client: dict[str, Any]) -> int:
    producer = Producer(client | {"transactional.id": _ID, "acks": "all"}, logger=quiet_logger())
    producer.init_transactions(_ANSWER_S)
    written, last = 0, last_sequence(client)
    while batch := _after(store, last, _BATCH):
        _write(producer, batch)
        written, last = written + len(batch), batch[-1].sequence
    return written


def _after(store: Store, last: int, limit: int) -> list[Decision]:
    with store.change() as change:
        return change.decisions(last, limit)


def _write(producer: Producer, batch: list[Decision]) -> None:
    producer.begin_transaction()
    for decision in batch:
        producer.produce(
            DECISIONS_TOPIC,
            key=(decision.about or str(decision.request)).encode(),
            value=decision.model_dump_json().encode(),
            partition=0,
        )
    producer.commit_transaction(_ANSWER_S)


def last_sequence(client: dict[str, Any]) -> int:
    """Return the number of the last committed decision in Kafka, 0 when there is none.

    Records of transactions that were given up stand in between: it looks back twice as far until it finds.
    """
    properties = {
        "group.id": _ID,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }
    consumer = Consumer(client | properties, logger=quiet_logger())
    try:
        first, end = consumer.get_watermark_offsets(TopicPartition(DECISIONS_TOPIC, 0), timeout=_ANSWER_S)
        back = _LOOK_BACK
        while True:
            start = max(first, end - back)
            found = _last_from(consumer, start)
            if found or start == first:
                return found
            back *= 2
    finally:
        consumer.close()


def _last_from(consumer: Consumer, start: int) -> int:
    consumer.assign([TopicPartition(DECISIONS_TOPIC, 0, start)])
    last = 0
    while True:
        message = consumer.poll(_ANSWER_S)
        if message is None:
            msg = f"{DECISIONS_TOPIC}: Kafka gave no answer within {_ANSWER_S:.0f} s"
            raise TransientError(msg)
        error = message.error()
        if error is None:
            last = Decision.model_validate_json(message.value() or b"").sequence
        elif error.code() == PARTITION_EOF:
            return last
        else:
            raise explain(DECISIONS_TOPIC, error)
