"""`exchange bench revoke`: from the command to the last byte that the subscriber gets.

Each trial has a subscriber of its own with a live reader on a view's topic, into which a writer writes at a
steady rate. Once the reader keeps up, its grant is revoked, in this process. The clock

- starts before the call;
- stops at the last record that the reader was given.

The reader must be refused in the end, and have no record at or behind the bound that the certificate names.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Producer, TopicPartition

from bench.figures import percentile
from bench.ground import PARTITIONS, Ground, Table, ground
from bench.machine import machine
from bench.progress import say
from bench.verify import WrongOutputError
from exchange.apply.revoke import Wish, revoke
from exchange.cluster import Acl
from exchange.errors import PartError
from exchange.librdkafka import quiet_logger

TABLE: Final = Table("person_revoke")
TRIALS: Final = 100
RECORDS_PER_S: Final = 20_000
_PORTION: Final = 200
_RECORD: Final = bytes(300)
_KEEPS_UP_AFTER: Final = 2_000
"""Records that a reader has had by when it is certain to be at full speed."""
_PATIENCE_S: Final = 30.0
_TELL_EVERY: Final = 10


def run(trials: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, trials)


def on(parts: Ground, trials: int) -> dict[str, Any]:
    """Measure on running parts; return the JSON object.

    Raises: WrongOutputError when a reader was not cut, or got a record written after that.
    """
    parts.declare([TABLE])
    took_s, load = [], [os.getloadavg()[0]]
    with _Writer(parts):
        for at in range(trials):
            took_s.append(_trial(parts, f"revoked-{at}"))
            load.append(os.getloadavg()[0])
            if (at + 1) % _TELL_EVERY == 0:
                say(f"{at + 1} of {trials} grants revoked, the slowest in {max(took_s):.3f} s")
    return answer(took_s, load)


def answer(took_s: list[float], load: list[float]) -> dict[str, Any]:
    """Return the JSON object. load: the machine's load averages meanwhile."""
    ordered = sorted(took_s)
    figures = {
        "p50": round(percentile(ordered, 0.5), 4),
        "p99": round(percentile(ordered, 0.99), 4),
        "max": round(ordered[-1], 4),
    }
    return {
        "benchmark": "revoke",
        "given": {"trials": len(ordered), "records_per_s": RECORDS_PER_S},
        "machine": machine() | {"load_1m": [round(min(load), 1), round(max(load), 1)]},
        "revoke_s": figures | {"trials": len(ordered)},
        "rounds": {"revoke_s": [round(one, 4) for one in took_s]},
        "table": {
            "head": ["from the command to the last byte", "s"],
            "rows": [
                *([name, f"{figure:.3f}"] for name, figure in figures.items()),
                ["trials", str(len(ordered))],
                ["load of the machine meanwhile", f"{min(load):.1f} to {max(load):.1f}"],
            ],
        },
    }


def _trial(parts: Ground, subscriber: str) -> float:
    """Return how long one revocation took. Raises: as `on`."""
    topic = TABLE.view(0)
    parts.cluster.ensure_scram_user(subscriber)
    parts.cluster.ensure_acls([Acl(subscriber, "topic", topic, "literal", "read")])
    reader = _Reader(parts.settings.kafka_client(subscriber), topic)
    try:
        reader.wait_until_it_keeps_up()
        began_s = time.monotonic()
        certificate = revoke(parts.settings, Wish(subscriber, topic.removeprefix("share."), "bench", "trial"))
        reader.wait_until_refused()
    finally:
        reader.stop()
    judge(reader.got, certificate)
    return max(0.0, reader.last_at_s - began_s)


def judge(got: dict[int, int], certificate: dict[str, Any]) -> None:
    """Raise WrongOutputError when a reader got what a certificate says that it cannot have.

    got: partition → the highest offset that it was given.
    """
    bounds = {one["partition"]: one["in_flight_bound"] for one in certificate["partitions"]}
    beyond = [partition for partition, offset in got.items() if offset >= bounds[partition]]
    if beyond:
        msg = (
            f"a revoked reader got records of partitions {beyond} that were written after its access was gone"
        )
        raise WrongOutputError(msg)


@dataclass
class _Reader:
    """A live reader in a thread of its own."""

    client: dict[str, Any]
    topic: str
    got: dict[int, int] = field(default_factory=dict)
    records: int = 0
    last_at_s: float = 0.0

    def __post_init__(self) -> None:
        self._refused = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def wait_until_it_keeps_up(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self.records < _KEEPS_UP_AFTER:
            if time.monotonic() > deadline:
                msg = (
                    f"the reader got {self.records} records within {_PATIENCE_S:.0f} s; Kafka is not in order"
                )
                raise PartError(msg)
            time.sleep(0.01)

    def wait_until_refused(self) -> None:
        if not self._refused.wait(_PATIENCE_S):
            msg = f"a revoked reader was not refused within {_PATIENCE_S:.0f} s"
            raise WrongOutputError(msg)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        given = {"group.id": f"{self.client['sasl.username']}.bench", "enable.auto.commit": False}
        consumer = Consumer(self.client | given, logger=quiet_logger())
        consumer.assign([TopicPartition(self.topic, at, OFFSET_END) for at in range(PARTITIONS)])
        while not self._stopping.is_set():
            for message in consumer.consume(500, 0.05):
                error = message.error()
                if error is None:
                    self.got[int(message.partition() or 0)] = int(message.offset() or 0)
                    self.records += 1
                    self.last_at_s = time.monotonic()
                elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    self._refused.set()
        consumer.close()


class _Writer:
    """Writes records at a steady rate, in a thread of its own, until the end of the block."""

    def __init__(self, parts: Ground) -> None:
        self._producer = Producer(parts.client | {"linger.ms": 5}, logger=quiet_logger())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> _Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(30)

    def _run(self) -> None:
        topic, due = TABLE.view(0), time.monotonic()
        while not self._stopping.is_set():
            for at in range(_PORTION):
                self._producer.produce(topic, _RECORD, partition=at % PARTITIONS)
            self._producer.poll(0)
            due += _PORTION / RECORDS_PER_S
            self._stopping.wait(max(0.0, due - time.monotonic()))
