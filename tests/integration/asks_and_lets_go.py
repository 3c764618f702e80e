"""Asks what Kafka refuses, and lets go of the connection while librdkafka's thread has the answer.

argv: "kept" for a connection of exchange/admin.py, "own" for one of its own; stdin: the client's properties.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from exchange.admin import admin_client

patched: Any = AdminClient
hand_over = patched._make_resource_result


def slowly(answer: Any, futures: Any) -> None:
    hand_over(answer, futures)
    time.sleep(1)  # librdkafka's thread lets go after the main one has: what is seen once in a thousand


def ask(properties: dict[str, Any]) -> None:
    make: Any = admin_client if sys.argv[1] == "kept" else AdminClient
    admin = make(properties)
    asked = ConfigResource(ResourceType.TOPIC, "there-is-none")
    try:
        admin.describe_configs([asked], request_timeout=30)[asked].result(30)
    except KafkaException as error:
        sys.stdout.write(error.args[0].name())


patched._make_resource_result = staticmethod(slowly)
ask(json.load(sys.stdin))
time.sleep(2)  # for the abort that may come: nothing tells that none will
