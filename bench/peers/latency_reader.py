"""Reads a view as a subscriber does and notes how old each record is when it has it.

`python -m bench.peers.latency_reader <settings.json>`; settings: client, base ([topic, partition, offset] …),
records (how many come), skip (how many of the first sent do not count), out (file for the list of
milliseconds).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from exchange.change import HEADER, RecordHeader


def main(settings: dict[str, Any]) -> None:
    """Read until all have come; write the latencies of those that count."""
    consumer = Consumer(
        settings["client"]
        | {
            "group.id": "bench-latency",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(*place) for place in settings["base"]])
    seen, latencies_ms = 0, []
    while seen < settings["records"]:
        messages = consumer.consume(1_000, 0.005)
        now_ns = time.monotonic_ns()
        for message in messages:
            if (error := message.error()) is not None:
                raise KafkaException(error)
            header = RecordHeader.unpack(bytes(dict(message.headers() or ())[HEADER]))  # type: ignore[arg-type]
            if header is not None and header.position.index >= settings["skip"]:
                latencies_ms.append((now_ns - header.position.commit) / 1e6)
        seen += len(messages)
    consumer.close()
    Path(settings["out"]).write_text(json.dumps(latencies_ms))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
