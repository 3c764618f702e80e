"""The cursor: how far a subscriber has read a view, kept by the subscriber, made and checked by the bus.

The server keeps nothing: the same cursor gives the same records again, as long as Kafka has them. A cursor is
compressed JSON with a MAC over it, its subscriber and its view, so that it opens for these alone and nobody
can move it to another place.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

_VERSION: Final = 1
_MAC_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where to go on in one partition, and the positions seen there (exchange/subscriber/seen.py)."""

    offset: int
    marks: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in every partition of a view's topic.

    topic_id: Kafka's, another one for a topic that was deleted and made anew; turn: partition from which the
    next record is taken, so that all get their turn however few records are asked for.
    """

    topic_id: str
    turn: int
    places: Mapping[int, Place]


class CursorCodec:
    """Makes cursors and opens those that it made, under one secret of the installation."""

    def __init__(self, secret: SecretStr) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"exchange pull cursor v1")
        self._key = derived.derive(secret.get_secret_value().encode())

    def encode(self, cursor: Cursor, subscriber: str, view: str) -> str:
        """Return the cursor as text for a URL."""
        places = [[number, at.offset, at.marks] for number, at in sorted(cursor.places.items())]
        document = [_VERSION, cursor.topic_id, cursor.turn, places]
        packed = zlib.compress(json.dumps(document, separators=(",", ":")).encode())
        return base64.urlsafe_b64encode(self._mac(packed, subscriber, view) + packed).decode().rstrip("=")

    def decode(self, text: str, subscriber: str, view: str) -> Cursor:
        """Return the cursor.

        Raises: ValueError when it was not made here for this subscriber and view, or was altered.
        """
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _foreign() from None
        mac, packed = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(packed, subscriber, view)):
            raise _foreign()
        document: list[Any] = json.loads(zlib.decompress(packed))
        if document[0] != _VERSION:
            raise _foreign()
        _, topic_id, turn, places = document
        return Cursor(topic_id, turn, {number: Place(offset, marks) for number, offset, marks in places})

    def _mac(self, packed: bytes, subscriber: str, view: str) -> bytes:
        """Return the MAC; names hold no zero byte, so that no two triples give the same text."""
        signed = b"\0".join((subscriber.encode(), view.encode(), packed))
        return hmac.new(self._key, signed, sha256).digest()[:_MAC_BYTES]


def _foreign() -> ValueError:
    return ValueError("not a cursor that was given to this subscriber for this view")
