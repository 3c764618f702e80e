"""Receipts in Redis: a request sent again is answered at once, also while Kafka is away or being read.

Written after the commit only, under the id of the history that Kafka holds: what Redis lost, or kept of an
installation that is gone, is never taken for stored. Without Redis everything goes on; Kafka has the truth.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import redis

from connectors.receipts import KEPT_S, Receipt
from exchange import log

_AGAIN_AFTER_S: Final = 5.0
"""A Redis that failed is left alone so long: no commit waits for its timeouts."""

_log = log.get(__name__)


class Recent:
    """The receipts of one system in Redis."""

    def __init__(self, client: redis.Redis, system: str) -> None:
        self._client = client
        self._system = system
        self._history = ""
        self._away_until = 0.0

    def follow(self, history: str) -> None:
        """Begin or go on with the history of that id."""
        self._history = history

    def find(self, digest: bytes) -> Receipt | None:
        """Return a receipt; None when Redis has none, is away, or which history it is isn't known yet."""
        if not self._history or time.monotonic() < self._away_until:
            return None
        try:
            found = self._client.get(self._key(digest))
            return Receipt.decode(found) if isinstance(found, bytes) else None
        except (redis.RedisError, ValueError) as error:
            self._failed(error)
            return None

    def keep(self, stored: Sequence[tuple[bytes, Receipt]]) -> None:
        """Keep the receipts of what was committed."""
        if not self._history or time.monotonic() < self._away_until:
            return
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for digest, receipt in stored:
                    pipe.set(self._key(digest), receipt.encode(), ex=KEPT_S)
                pipe.execute()
        except redis.RedisError as error:
            self._failed(error)

    def _key(self, digest: bytes) -> str:
        return f"exchange:receipt:{self._system}:{self._history}:{digest.hex()}"

    def _failed(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AGAIN_AFTER_S
        _log.warning("receipts_unseen", part="redis", system=self._system, error=log.describe(error))
