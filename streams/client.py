"""What all Kafka clients of a worker have in common: their troubles go to our log, in our form."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaError

from exchange import log

_PASSING: Final = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE})  # noqa: SLF001 - librdkafka's local codes

_log = log.get(__name__)


def _tell(error: KafkaError) -> None:
    """Log an error by its name; a lost connection is tried again by itself, many times a second."""
    tell = _log.debug if error.code() in _PASSING else _log.warning
    tell("kafka_client_error", error=error.name())


QUIET: Final[dict[str, Any]] = {"log_level": 2, "error_cb": _tell}
"""librdkafka writes to stderr past our log; below `critical` it says nothing that `_tell` does not."""
