"""How far a file is in Kafka: one record a file in the topic of positions, in the transaction of its rows.

Known by its content, not its name: the same file twice loads once. Compacted, so it is remembered for good.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from connectors.receipts import Digests
from exchange.compacted import CompactedTopic
from exchange.encoding import singleobject
from exchange.errors import PartError
from exchange.plan import POSITIONS_TOPIC

_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "FileProgress",
    "namespace": "exchange",
    "fields": [
        {"name": "rows", "type": "long", "doc": "in Kafka, from the first"},
        {"name": "complete", "type": "boolean"},
        {"name": "at_ms", "type": "long"},
    ],
}
_CODEC: Final = singleobject.Codec(_SCHEMA)
_CHUNK_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Progress:
    """How many rows of a file are in Kafka, and whether that is all."""

    rows: int = 0
    complete: bool = False


class ProgressStore:
    """Reads and writes the progress of one system's files."""

    def __init__(self, client: dict[str, Any], system: str, digests: Digests) -> None:
        """client: librdkafka properties of a principal that may read the positions."""
        self._client = client
        self._beginning = f"file/{system}/".encode()
        self._digests = digests

    def key(self, resource: str, path: Path, mapping: dict[str, str | None]) -> bytes:
        """Return the key of a file for a resource: by its bytes, its kind, and how its columns are read."""
        content = sha256()
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                content.update(chunk)
        read_as = repr(sorted(mapping.items())).encode()
        return self._beginning + self._digests.of(
            resource.encode(), path.suffix.lower().encode(), read_as, content.digest()
        )

    def read(self, key: bytes) -> Progress:
        """Return how far a file is; true once no other writer of this system is left.

        Raises: TransientError or PartError when Kafka does not answer.
        """
        with CompactedTopic(self._client, POSITIONS_TOPIC) as topic:
            encoded = topic.read().get(key)
        if encoded is None:
            return Progress()
        try:
            found = _CODEC.decode(encoded)
        except ValueError:
            msg = f"{POSITIONS_TOPIC}: the progress of a file was not written by this version"
            raise PartError(msg) from None
        return Progress(found["rows"], found["complete"])

    def record(self, key: bytes, progress: Progress) -> tuple[str, bytes, bytes]:
        """Return topic, key and value of the record."""
        at_ms = time.time_ns() // 1_000_000
        value = _CODEC.encode({"rows": progress.rows, "complete": progress.complete, "at_ms": at_ms})
        return POSITIONS_TOPIC, key, value
