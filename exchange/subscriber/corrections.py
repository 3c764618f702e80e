"""The markers of a view, asked of the monitor: as the person of EXCHANGE_TOKEN, else as this machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx

from exchange.errors import ConfigError, TransientError
from exchange.settings import TOKEN, Settings, machine_headers

_PAGE: Final = 1000
_TIMEOUT_S: Final = 30.0


def corrections_of(settings: Settings, view: str) -> list[dict[str, Any]]:
    """Return the markers of a view's resource, oldest first: partition, wrong, corrected, at.

    Raises: ConfigError when the monitor lets the caller see none; TransientError when it does not answer.
    """
    return list(reversed(list(_newest_first(settings, view))))


def _newest_first(settings: Settings, view: str) -> Iterator[dict[str, Any]]:
    url = httpx.URL(settings.endpoints().api).join("/api/corrections")
    with httpx.Client(headers=_headers(settings), timeout=_TIMEOUT_S, trust_env=False) as client:
        taken, total = 0, 1
        while taken < total:
            try:
                answer = client.get(url, params={"view": view, "offset": taken, "limit": _PAGE})
                _expect_let_in(answer.status_code)
                page = answer.raise_for_status().json()
                total, found = page["total"], page["corrections"]
            except (httpx.HTTPError, ValueError, KeyError) as error:
                msg = f"monitor: no corrections of {view} ({type(error).__name__}); see `exchange status`"
                raise TransientError(msg) from None
            yield from found
            taken += len(found) or total


def _headers(settings: Settings) -> dict[str, str]:
    token = settings.secrets.find(TOKEN)
    if token is None:
        return machine_headers(settings)
    return {"Authorization": f"Bearer {token.get_secret_value()}"}


def _expect_let_in(status: int) -> None:
    if status in (401, 403):
        msg = (
            f"monitor: it answers {status}; --corrections wants a token in EXCHANGE_TOKEN, of a requester of "
            "the subscriber's department, or is run where the monitor keeps its secrets"
        )
        raise ConfigError(msg)
