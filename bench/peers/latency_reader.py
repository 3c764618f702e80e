"""Reads a view as a subscriber does and notes how old each record is when it has it.

`python -m bench.peers.latency_reader <settings.json>`; settings: client, base ([topic, partition, offset] …),
records (how many come), skip (how many of the first do not count), out (file for the list of milliseconds),
since (produce: the position carries that time and the record's number; commit: the source's time of commit).
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
    since_commit = settings["since"] == "commit"
    seen, latencies_ms = 0, []
    while seen < settings["records"]:
        messages = consumer.consume(1_000, 0.005)
        now_ns = time.time_ns() if since_commit else time.monotonic_ns()
        for number, message in enumerate(messages, seen):
            if (error := message.error()) is not None:
                raise KafkaException(error)
            header = RecordHeader.unpack(bytes(dict(message.headers() or ())[HEADER]))  # type: ignore[arg-type]
            if header is None:
                continue
            if since_commit and number >= settings["skip"]:
                latencies_ms.append(now_ns / 1e6 - header.source_ms)
            elif not since_commit and header.position.index >= settings["skip"]:
                latencies_ms.append((now_ns - header.position.commit) / 1e6)
        seen += len(messages)
    consumer.close()
    Path(settings["out"]).write_text(json.dumps(latencies_ms))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
