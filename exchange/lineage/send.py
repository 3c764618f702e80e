"""Events to an OpenLineage address, one request each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from exchange.errors import ConfigError, TransientError
from exchange.settings import Settings

API_KEY: Final = "EXCHANGE_OPENLINEAGE_API_KEY"
_PATH: Final = "/api/v1/lineage"
_TIMEOUT_S: Final = 10.0
_REFUSALS: Final = range(400, 500)


def send(settings: Settings, url: str, events: Iterable[dict[str, Any]]) -> int:
    """Post events to `<url>/api/v1/lineage`; return how many. A key, where there is one, goes as Bearer.

    Raises: TransientError when it does not answer; ConfigError when it refuses.
    """
    key = settings.secrets.find(API_KEY)
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
    sent = 0
    with httpx.Client(headers=headers, timeout=_TIMEOUT_S, trust_env=False) as client:
        for event in events:
            _post(client, url.rstrip("/") + _PATH, event)
            sent += 1
    return sent


def _post(client: httpx.Client, url: str, event: dict[str, Any]) -> None:
    where = f"OpenLineage at {urlsplit(url).hostname}"
    try:
        status = client.post(url, json=event).status_code
    except httpx.HTTPError as error:
        msg = f"{where}: no answer ({type(error).__name__}); events may be sent again as often as you like"
        raise TransientError(msg) from None
    if status in _REFUSALS:
        msg = f"{where}: it refuses an event with {status}; see the address and secret {API_KEY}"
        raise ConfigError(msg)
    if not 200 <= status < 300:
        msg = f"{where}: it answers {status}, 2xx is wanted; events may be sent again as often as you like"
        raise TransientError(msg)
