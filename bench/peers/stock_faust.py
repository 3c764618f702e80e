"""Faust with the driver it comes with (aiokafka), doing what the bus's worker does to a record.

`python -m bench.peers.stock_faust <settings.json>`; settings: client (librdkafka properties), schema (file),
source, target. At least once. Runs until it is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

import faust
from faust.types.auth import SASLMechanism

from bench.peers.masks import masker


def build(settings: dict[str, Any]) -> faust.App:
    """Return the app that masks `source` into `target`."""
    client = settings["client"]
    app = faust.App(
        f"faust-{uuid.uuid4()}",
        broker=f"kafka://{client['bootstrap.servers']}",
        broker_credentials=faust.SASLCredentials(
            username=client["sasl.username"],
            password=client["sasl.password"],
            mechanism=SASLMechanism.SCRAM_SHA_512,
        ),
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        consumer_auto_offset_reset="earliest",
        producer_max_batch_size=262_144,
        stream_buffer_maxsize=4096,
    )
    mask = masker(settings["schema"])
    source = app.topic(settings["source"], key_serializer="raw", value_serializer="raw")
    target = app.topic(settings["target"], key_serializer="raw", value_serializer="raw")

    @app.agent(source)
    async def masking(records: AsyncIterable[Any]) -> None:
        async for event in records.events():  # type: ignore[attr-defined]
            await target.send(key=event.key, value=mask(event.value))

    return app


async def main(settings: dict[str, Any]) -> None:
    """Work until cancelled."""
    app = build(settings)
    app.finalize()
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
