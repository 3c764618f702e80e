"""How often somebody may try to log in, counted in Redis before the password is looked at.

A password is guessed at slowly whoever tries: by one address for one name, by one address for many names,
by many addresses for one name. Where Redis does not answer, nobody logs in by a password.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import redis

from exchange.errors import TransientError

WINDOW_S: Final = 900
PER_NAME_AND_ADDRESS: Final = 10
PER_ADDRESS: Final = 100
PER_NAME: Final = 100
_PREFIX: Final = "exchange:login:"


@dataclass(frozen=True, slots=True)
class Wait:
    """Too many attempts: how long to wait for the next."""

    retry_after_s: int


class Attempts:
    """Counts attempts; a login that succeeds forgets those of its own name and address."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def take(self, name: str, address: str) -> Wait | None:
        """Count an attempt; return how long to wait when it is one too many.

        Raises: TransientError when Redis does not answer.
        """
        limits = {
            _key("pair", name, address): PER_NAME_AND_ADDRESS,
            _key("address", address): PER_ADDRESS,
            _key("name", name): PER_NAME,
        }
        try:
            with self._redis.pipeline() as pipeline:
                for key in limits:
                    pipeline.set(key, 0, ex=WINDOW_S, nx=True)
                    pipeline.incr(key)
                    pipeline.ttl(key)
                answers = pipeline.execute()
        except redis.RedisError as error:
            raise _away(error) from None
        waits = [
            int(ttl)
            for count, ttl, limit in zip(answers[1::3], answers[2::3], limits.values(), strict=True)
            if count > limit
        ]
        return Wait(max([1, *waits])) if waits else None

    def forget(self, name: str, address: str) -> None:
        """Forget the attempts for a name from an address. Raises: TransientError when Redis is away."""
        try:
            self._redis.delete(_key("pair", name, address))
        except redis.RedisError as error:
            raise _away(error) from None


def _key(*words: str) -> str:
    """Return a key without the words: somebody may have typed a password for a name."""
    return _PREFIX + sha256("\0".join(words).encode()).hexdigest()


def _away(error: redis.RedisError) -> TransientError:
    return TransientError(f"attempts to log in cannot be counted: Redis, {type(error).__name__}; try again")
