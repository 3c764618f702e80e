"""Admin connections to Kafka, kept: librdkafka aborts a process that lets one go at the wrong time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from confluent_kafka.admin import AdminClient

_KEPT: Final = 64
"""Far more logins than a process has; tests have many clusters one after the other."""


def admin_client(client: Mapping[str, Any]) -> AdminClient:
    """Return this process's admin connection with such properties; calls raise its errors, nothing is logged.

    It is made at the first call and not closed. An answer is handed over in librdkafka's own thread, and an
    error's traceback holds whoever asked: a connection that its user let go of at once could be ended in that
    thread, which librdkafka takes for a bug and aborts the process.
    Source: confluent-kafka-python pull request 2131.

    client: librdkafka properties.

    Raises: KafkaException when librdkafka does not take them.
    """
    quiet = {"log_level": 0, "error_cb": _ignore} | dict(client)
    return _shared(os.getpid(), tuple(sorted(quiet.items())))


@lru_cache(_KEPT)
def _shared(_process: int, properties: tuple[tuple[str, Any], ...]) -> AdminClient:
    return AdminClient(dict(properties))


def _ignore(_error: object) -> None:
    """Errors are raised by the calls."""
