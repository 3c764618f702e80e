"""A notice as a POST request, signed as deliveries to subscribers are."""

from __future__ import annotations

import json
import ssl
import time
from urllib.parse import urlsplit

import httpx

from exchange.alerting.rules import WebhookChannel
from exchange.alerting.store import Notice
from exchange.errors import ConfigError, TransientError
from exchange.settings import Secrets
from exchange.signing import read_keys, signature_header

_TIMEOUT_S = 10.0


def send(channel: WebhookChannel, notice: Notice, secrets: Secrets) -> None:
    """Send a notice; it is taken when this returns.

    Raises: TransientError when it is to be sent again; ConfigError when keys or CA are not as they should be.
    """
    alert = notice.alert.model_dump(mode="json", exclude={"key"})
    document = {"type": f"exchange.alert.{notice.event}", "data": alert}
    body = json.dumps(document, ensure_ascii=False).encode()
    timestamp_s = int(time.time())
    keys = read_keys(secrets, channel.keys_env, channel.signature)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "exchange-bus",
        "webhook-id": notice.id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature_header(keys, notice.id, timestamp_s, body),
    }
    try:
        with (
            httpx.Client(
                verify=_context(channel.ca_file), timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False
            ) as client,
            client.stream("POST", channel.url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as error:
        msg = f"{urlsplit(channel.url).hostname}: no answer ({type(error).__name__}); it is sent again"
        raise TransientError(msg) from None
    if not 200 <= status < 300:
        msg = f"{urlsplit(channel.url).hostname}: it answers {status}, 2xx is wanted; it is sent again"
        raise TransientError(msg)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        msg = f"ca_file {ca_file} cannot be used ({type(error).__name__}); wanted is a CA in PEM"
        raise ConfigError(msg) from None
