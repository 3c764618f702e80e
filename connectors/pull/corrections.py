"""A page of the markers of a view's resource: which change was wrong, and which later one mends it.

A cursor is the MAC of the last marker that was handed out, for one subscriber and view: it tells nothing,
not even how many markers of other resources there are. One that fits none of the view's is told, never
passed over.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from connectors.http.problem import Problem
from connectors.pull.question import EARLIEST, LATEST, NDJSON, Question
from exchange.corrections import Placed, of_resources
from exchange.subscriber.plain import json_text


class Reader(NamedTuple):
    """Who asks, and of which view."""

    subscriber: str
    view: str


class CorrectionPages:
    """Makes pages and their cursors, under one secret of the installation."""

    def __init__(self, secret: SecretStr) -> None:
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"exchange pull corrections v1")
        self._key = derived.derive(secret.get_secret_value().encode())

    def body(self, known: Iterable[Placed], reader: Reader, wanted: Question) -> bytes:
        """Return the text of a page. known: the markers of all resources, in the order of their topic.

        Raises: Problem 410 when the cursor is behind no marker of the view.
        """
        own = of_resources(known, [reader.view.rpartition(".")[0]])
        begin = self._begin(own, reader, wanted.after)
        page = own[begin : begin + wanted.most]
        last = own[begin + len(page) - 1] if begin + len(page) else None
        rest = {
            "next": EARLIEST if last is None else self._cursor(last, reader),
            "more": begin + len(page) < len(own),
        }
        markers = [
            json_text(one.correction.model_dump(include={"partition", "wrong", "corrected", "at"}))
            for one in page
        ]
        if wanted.media == NDJSON:
            return "".join(f"{line}\n" for line in (*markers, json_text(rest))).encode()
        return f'{{"corrections":[{",".join(markers)}],{json_text(rest)[1:]}'.encode()

    def _begin(self, own: Sequence[Placed], reader: Reader, after: str) -> int:
        if after == EARLIEST:
            return 0
        if after == LATEST:
            return len(own)
        for index, one in enumerate(own):
            if hmac.compare_digest(self._cursor(one, reader).encode(), after.encode()):
                return index + 1
        raise Problem(
            410,
            "`after` is behind no correction of this view, as this subscriber was given them; leave it out "
            "to begin with the first one",
        )

    def _cursor(self, last: Placed, reader: Reader) -> str:
        """Return the cursor behind a marker; names hold no zero byte, so that no two give the same text."""
        place = f"{last.offset}\0{last.correction.objection}"
        signed = "\0".join((*reader, place)).encode()
        return base64.urlsafe_b64encode(hmac.new(self._key, signed, sha256).digest()).decode().rstrip("=")
