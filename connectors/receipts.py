"""Receipts: which pushed requests are in Kafka, written in the transaction that moves their records.

One record a request in the topic `_exchange.receipts`, key `<system>/<digest>`, Avro single-object encoding.
They are the truth about what was stored; the sender's own texts are in them as keyed digests only, because a
department may well use an ID number as its idempotency key.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from exchange.compacted import CompactedTopic
from exchange.encoding import singleobject
from exchange.plan import RECEIPTS_TOPIC

KEPT_S: Final = 24 * 3600
"""How long a request is remembered; the topic keeps its segments twice as long (exchange/cluster.py)."""

_DIGEST_BYTES: Final = 16
_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Receipt",
    "namespace": "exchange",
    "fields": [
        {"name": "fingerprint", "type": "bytes", "doc": "keyed digest of what was sent"},
        {"name": "commit", "type": "long", "doc": "position of its records"},
        {"name": "records", "type": "long", "doc": "how many it had"},
        {"name": "at_ms", "type": "long"},
    ],
}
_CODEC: Final = singleobject.Codec(_SCHEMA)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one request: its records' commit position, how many there are, when it came."""

    fingerprint: bytes
    commit: int
    records: int
    at_ms: int

    def encode(self) -> bytes:
        """Return the record's bytes."""
        return _CODEC.encode(
            {
                "fingerprint": self.fingerprint,
                "commit": self.commit,
                "records": self.records,
                "at_ms": self.at_ms,
            }
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Receipt:
        """Return the receipt. Raises: ValueError when the bytes are none."""
        return cls(**_CODEC.decode(encoded))


class Digests:
    """Keyed digests of what a sender says, so that its texts are nowhere but in the raw records."""

    def __init__(self, system: str, secret: SecretStr) -> None:
        info = f"exchange receipt v1 {system}".encode()
        self._key = HKDF(SHA256(), 32, None, info).derive(secret.get_secret_value().encode())

    def of(self, *parts: bytes) -> bytes:
        """Return the digest of a sequence of texts; two sequences have one only when they are alike."""
        digest = hmac.new(self._key, digestmod="sha256")
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()[:_DIGEST_BYTES]


class Receipts:
    """The receipts of one system that are remembered, oldest first; some 300 bytes each."""

    def __init__(self, system: str) -> None:
        self._beginning = f"{system}/".encode()
        self._known: OrderedDict[bytes, Receipt] = OrderedDict()

    def load(self, client: dict[str, Any], now_ms: int) -> None:
        """Read what Kafka holds; complete once no other writer of this system is left.

        client: librdkafka properties of a principal that may read the topic.

        Raises: TransientError or PartError when it cannot be read; ValueError when a record is no receipt.
        """
        with CompactedTopic(client, RECEIPTS_TOPIC) as topic:
            held = topic.read()
        found = (
            (key.removeprefix(self._beginning), Receipt.decode(value))
            for key, value in held.items()
            if key.startswith(self._beginning)
        )
        self._known = OrderedDict(sorted(found, key=lambda one: one[1].at_ms))
        self._forget(now_ms)

    def find(self, digest: bytes) -> Receipt | None:
        """Return the receipt of a request, None when none is remembered."""
        return self._known.get(digest)

    def add(self, digest: bytes, receipt: Receipt) -> None:
        """Remember a request that was committed."""
        self._known[digest] = receipt
        self._forget(receipt.at_ms)

    def record(self, digest: bytes, receipt: Receipt) -> tuple[str, bytes, bytes]:
        """Return topic, key and value of the record."""
        return RECEIPTS_TOPIC, self._beginning + digest, receipt.encode()

    def _forget(self, now_ms: int) -> None:
        while self._known:
            digest, receipt = next(iter(self._known.items()))
            if receipt.at_ms > now_ms - KEPT_S * 1000:
                return
            del self._known[digest]
