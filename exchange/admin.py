"""Admin connections to Kafka, kept: librdkafka aborts a process that lets one go in the wrong thread."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from confluent_kafka.admin import AdminClient

_kept: list[AdminClient] = []
_lock: Final = Lock()
_OURS: Final = 3
"""References to a connection that nobody else holds: of the list, of the loop's variable, of the call."""


def admin_client(client: Mapping[str, Any]) -> AdminClient:
    """Return a new admin connection with such properties; calls raise its errors, nothing is logged.

    It is held here until nobody else holds it. An answer is handed over in librdkafka's own thread, and an
    error's traceback holds whoever asked: a connection that its user let go of at once could end in that
    thread, which librdkafka takes for a bug and aborts the process.
    Source: confluent-kafka-python pull request 2131.

    client: librdkafka properties.

    Raises: KafkaException when librdkafka does not take them.
    """
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": _ignore}
    made = AdminClient(quiet | dict(client))
    with _lock:
        over = [one for one in _kept if sys.getrefcount(one) <= _OURS]
        for one in over:
            _kept.remove(one)
        _kept.append(made)
    return made


def _ignore(_error: object) -> None:
    """Errors are raised by the calls."""
