"""Quix Streams doing what the bus's worker does to a record; at least once, which is its default.

`python -m bench.peers.quix <settings.json>`; settings: client (librdkafka properties), schema (file), source,
target. Runs until it is told to stop.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.kafka.configuration import ConnectionConfig

from bench.peers.masks import masker


def main(settings: dict[str, Any]) -> None:
    """Mask `source` into `target`."""
    app = Application(
        broker_address=ConnectionConfig.from_librdkafka_dict(settings["client"]),
        consumer_group=f"quix-{uuid.uuid4()}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        producer_extra_config={"linger.ms": 5, "batch.size": 262_144},
        loglevel="WARNING",
    )
    source = app.topic(settings["source"], key_deserializer="bytes", value_deserializer="bytes")
    target = app.topic(settings["target"], key_serializer="bytes", value_serializer="bytes")
    app.dataframe(source).apply(masker(settings["schema"])).to_topic(target)
    app.run()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
