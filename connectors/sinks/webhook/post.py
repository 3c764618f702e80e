"""One webhook request, and what its answer means. No answer's body is looked at, whatever it may hold.

| answer | means |
| --- | --- |
| 2xx | accepted |
| 408, 425, 429, 5xx, none | sent again later, by Retry-After where it is given |
| 410 | the receiver wants nothing more: the view halts for good |
| any other | a person must act: the view halts, and is tried again each minute, or until it is parked |
"""

from __future__ import annotations

import contextlib
import email.utils
import ssl
import time
from typing import Final
from urllib.parse import urlsplit

import httpx

from connectors.sink import GoneError, RefusedError
from connectors.sinks.webhook.signing import SigningKey, read_keys, signature_header
from exchange.errors import ConfigError, SinkError, TransientError
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets

_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_REST_S: Final = 5.0
_MOST_REST_BYTES: Final = 65_536
_LATER: Final = frozenset({408, 425, 429})
_LONGEST_RETRY_AFTER_S: Final = 3600.0


class Receiver:
    """A subscriber's receiver of webhooks."""

    def __init__(self, delivery: PlannedDelivery, secrets: Secrets) -> None:
        """Make ready to send; nothing connects yet.

        Raises: ConfigError when the keys or the CA are not as they should be.
        """
        parts = urlsplit(delivery.url)
        self._where = f"webhook of {delivery.subscriber} at {parts.hostname}"
        self._url = delivery.url
        self._delivery = delivery
        self._secrets = secrets
        self._keys()
        self._http = httpx.Client(
            verify=_context(delivery.ca_file),
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,  # a proxy of the environment is for other networks
            headers={"User-Agent": "exchange-bus"},
        )

    def post(self, message_id: str, body: bytes) -> None:
        """Send one message, signed with the keys in force; it is accepted when this returns.

        Raises: TransientError when it is to be sent again; GoneError when nothing more is wanted;
        RefusedError when the receiver refuses it.
        """
        timestamp_s = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature_header(self._keys(), message_id, timestamp_s, body),
        }
        try:
            with self._http.stream("POST", self._url, content=body, headers=headers) as answer:
                status, retry_after = answer.status_code, answer.headers.get("Retry-After", "")
                _pass_over(answer)
        except httpx.HTTPError as error:
            msg = f"{self._where}: no answer ({type(error).__name__}); it is sent again"
            raise TransientError(msg) from None
        if not 200 <= status < 300:
            raise self._refusal(status, retry_after)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _keys(self) -> list[SigningKey]:
        return read_keys(self._secrets, self._delivery.keys_env, self._delivery.signature)

    def _refusal(self, status: int, retry_after: str) -> TransientError | SinkError:
        if status in _LATER or status >= 500:
            msg = f"{self._where}: it answers {status}; the same is sent again"
            return TransientError(msg, _retry_after_s(retry_after))
        if status == httpx.codes.GONE:
            return GoneError(
                f"{self._where}: it answers 410, that it wants nothing more. Take `delivery` out of "
                "topology.yaml, or have the receiver mended and start `exchange deliver` again"
            )
        if 300 <= status < 400:
            msg = (
                f"{self._where}: it answers {status}; redirects are not followed, as the records would go "
                "where nobody has granted them: put the address itself into `url` in topology.yaml"
            )
            return RefusedError(msg, status)
        park_after_s = self._delivery.park_after_s
        later = f"; what it refuses for {park_after_s} s is parked" if park_after_s else ""
        msg = (
            f"{self._where}: it refuses the request with {status}. Nothing is left out: the view waits at "
            f"this request, which is sent again each minute, until the receiver accepts it with 2xx{later}"
        )
        return RefusedError(msg, status)


def _pass_over(answer: httpx.Response) -> None:
    """Take in the rest of a short answer, so that the connection can be used again; a long one is left."""
    until, size_bytes = time.monotonic() + _REST_S, 0
    with contextlib.suppress(httpx.HTTPError):
        for piece in answer.iter_raw():
            size_bytes += len(piece)
            if size_bytes > _MOST_REST_BYTES or time.monotonic() > until:
                return


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        msg = f"webhook: ca_file {ca_file} cannot be used ({type(error).__name__}); wanted is a CA in PEM"
        raise ConfigError(msg) from None


def _retry_after_s(text: str) -> float:
    """Return the seconds that Retry-After asks for, within bounds. Source: RFC 9110, 10.2.3."""
    if text.isascii() and text.isdigit():
        asked_s = float(text)
    else:
        try:
            asked_s = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            asked_s = 0.0
    return min(max(1.0, asked_s), _LONGEST_RETRY_AFTER_S)
