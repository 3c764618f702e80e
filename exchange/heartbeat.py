"""Heartbeats of connectors and workers in Redis: who is alive, in which state, with which figures.

JSON under `exchange:heartbeat:<stage>:<writer>`, gone 15 s after the last one. For eyes only: no decision
hangs on them, and without Redis the data flows on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from exchange import log
from exchange.settings import REDIS_PASSWORD, Settings

TTL_S: Final = 15
PULL: Final = "pull"
"""What the writers of all servers of pull begin with, each going on with its own machine and port."""
_PREFIX: Final = "exchange:heartbeat:"
_TIMEOUT_S: Final = 0.5

_log = log.get(__name__)
_away = False
"""Whether the last heartbeat found no Redis; says it once, not every second."""


def connect(settings: Settings) -> redis.Redis:
    """Return a client that gives up quickly; it connects on first use."""
    password = settings.secrets.find(REDIS_PASSWORD)
    return redis.Redis.from_url(
        settings.endpoints().redis,
        password=None if password is None else password.get_secret_value(),
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def publish(
    client: redis.Redis,
    stage: str,
    writer: str,
    state: str,
    figures: Mapping[str, Any],
    halted: Sequence[Mapping[str, Any]],
    alarms: Sequence[str] = (),
) -> None:
    """Write one heartbeat; a Redis that does not answer is no error.

    stage: "capture", "process" or "deliver"; writer: transactional.id, or the server of pull; halted: topic,
    partition, offset and reason of what cannot go on; alarms: what goes on, but not for long unless a person
    acts.
    """
    global _away
    beat = {
        "stage": stage,
        "writer": writer,
        "state": state,
        "at_ms": int(time.time() * 1000),
        "figures": dict(figures),
        "halted": [dict(halt) for halt in halted],
        "alarms": list(alarms),
    }
    try:
        client.set(f"{_PREFIX}{stage}:{writer}", json.dumps(beat, ensure_ascii=False), ex=TTL_S)
    except redis.RedisError as error:
        if not _away:
            _log.warning("heartbeats_unseen", part="redis", error=log.describe(error))
        _away = True
    else:
        _away = False


def read_all(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the heartbeats of those alive, by stage and writer.

    Raises: redis.RedisError when Redis does not answer.
    """
    keys = sorted(client.scan_iter(f"{_PREFIX}*", count=1000))
    values = client.mget(keys) if keys else []
    return [json.loads(value) for value in values if value is not None]


def last_of(settings: Settings, stage: str, writer: str) -> dict[str, Any]:
    """Return what one said of itself last; empty where it is silent, or Redis does not answer."""
    with connect(settings) as client:
        try:
            value = client.get(f"{_PREFIX}{stage}:{writer}")
        except redis.RedisError:
            return {}
    return {} if value is None else dict(json.loads(value))
