"""Sends raw records at a fixed rate; each carries in its position when produce() was called.

`python -m bench.peers.latency_sender <settings.json>`; settings: client, topic, rows (file of
RawRecords.save), rate (records a second), records (how many), source_ms.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from bench.raw import flush, packed, send, timed_position
from exchange.change import HEADER

_TICK_S: Final = 0.001


def main(settings: dict[str, Any]) -> None:
    """Send what is due each millisecond; a delay is made up for, so that the rate holds over the whole."""
    rows = pickle.loads(Path(settings["rows"]).read_bytes())  # noqa: S301 - written by the bench itself
    failures: list[KafkaError] = []
    producer = Producer(
        settings["client"]
        | {
            "compression.type": "lz4",
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: failures.append(error),
        }
    )
    producer.list_topics(settings["topic"], 30)  # connected before the first record is timed
    began, sent = time.monotonic(), 0
    while sent < settings["records"] and not failures:
        due = min(settings["records"], int((time.monotonic() - began) * settings["rate"]))
        for number in range(sent, due):
            header = packed(timed_position(time.monotonic_ns(), number), settings["source_ms"])
            send(producer, settings["topic"], rows[number % len(rows)], [(HEADER, header)])
        sent = due
        producer.poll(0)
        time.sleep(_TICK_S)
    flush(producer)
    if failures:
        raise KafkaException(failures[0])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
