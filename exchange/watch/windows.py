"""Counts of sliding windows, and the last positions of groups, in Redis.

exchange:watch:count:<rule>:<subscriber>:<view>   hash: number of a slice of the window → its count
exchange:watch:seen                               JSON: when, and group, topic, partition → position
exchange:watch:told:<rule>:<subscriber>:<view>    there while the rule's alarm was told in this window

Nothing here has to last: without it a window begins anew, and what was read meanwhile is not counted.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

import redis

_PREFIX: Final = "exchange:watch:"
_SLICES: Final = 60
"""Slices of a window: what is counted leaves it that much late at most."""
_SEEN_S: Final = 86_400

Place = tuple[str, str, int]
"""Group, topic, partition."""


class Subject(NamedTuple):
    """Whom and what a rule counts; view: empty where it is about no view."""

    rule: str
    subscriber: str
    view: str

    def key(self, kind: str) -> str:
        """Return the key in Redis."""
        return f"{_PREFIX}{kind}:{self.rule}:{self.subscriber}:{self.view}"


class Windows:
    """Every call raises redis.RedisError when Redis does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def add(self, subject: Subject, amount: int, at: dt.datetime, window_s: int) -> int:
        """Count something and return the count of the window that ends with it."""
        slice_s = max(1, window_s // _SLICES)
        now = int(at.timestamp()) // slice_s
        key = subject.key("count")
        self._client.hincrby(key, str(now), amount)
        self._client.expire(key, window_s + slice_s)
        slices = {int(number): int(count) for number, count in self._client.hgetall(key).items()}
        old = [str(number) for number in slices if number <= now - window_s // slice_s]
        if old:
            self._client.hdel(key, *old)
        return sum(count for number, count in slices.items() if str(number) not in old)

    def is_told(self, subject: Subject) -> bool:
        """Return whether the alarm was told in this window."""
        return bool(self._client.exists(subject.key("told")))

    def told(self, subject: Subject, window_s: int) -> None:
        """Note that it was told; after a window it may be told again."""
        self._client.set(subject.key("told"), "1", ex=window_s)

    def forget(self, subject: Subject) -> None:
        """Begin a window anew: what was counted has had its consequence."""
        self._client.delete(subject.key("count"))

    def positions(self) -> tuple[float, dict[Place, int]]:
        """Return when positions were last seen, in seconds since 1970, and the positions; 0 where never."""
        found = self._client.get(f"{_PREFIX}seen")
        if found is None:
            return 0.0, {}
        at, places = json.loads(found)
        return at, {(group, topic, partition): offset for group, topic, partition, offset in places}

    def keep_positions(self, at: dt.datetime, positions: Mapping[Place, int]) -> None:
        """Keep positions for the next look."""
        places = [[*place, offset] for place, offset in positions.items()]
        self._client.set(f"{_PREFIX}seen", json.dumps([at.timestamp(), places]), ex=_SEEN_S)
