"""The limit of a Python process with Kafka's C client: records go from topic to topic as they are.

`python -m bench.peers.passthrough <settings.json>`; settings: client (librdkafka properties), source, and
targets, each of which gets every record. Not transactional, no header, nothing decoded; runs until stopped.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer


def main(settings: dict[str, Any]) -> None:
    """Copy `source` to the same partitions of each of `targets`."""
    failures: list[KafkaError] = []
    consumer = Consumer(
        settings["client"]
        | {
            "group.id": f"passthrough-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 131_072,
        }
    )
    producer = Producer(
        settings["client"]
        | {
            "linger.ms": 5,
            "batch.size": 262_144,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: failures.append(error),
        }
    )
    consumer.subscribe([settings["source"]])
    targets, produce = settings["targets"], producer.produce
    while not failures:
        for message in consumer.consume(10_000, 0.05):
            key, value, partition = message.key(), message.value(), message.partition()
            for target in targets:
                while True:
                    try:
                        produce(target, value, key, partition)  # type: ignore[arg-type]
                        break
                    except BufferError:
                        producer.poll(0.05)
        producer.poll(0)
    raise KafkaException(failures[0])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
