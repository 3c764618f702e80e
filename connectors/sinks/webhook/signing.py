"""New keys that sign webhooks; what a signature is stands in exchange/signing.py."""

from __future__ import annotations

from connectors.http.keys import put_in_force
from exchange.settings import Secrets
from exchange.signing import KEPT, SigningKey, new_key, read_keys, signature_header

__all__ = ["SigningKey", "make_key", "read_keys", "signature_header"]


def make_key(secrets: Secrets, name: str, signature: str, *, only: bool) -> str:
    """Return what the receiver needs of a new key, which signs beside the newest before, or alone.

    Raises: ConfigError when the secret cannot be read or written.
    """
    before = [] if only or secrets.find(name) is None else read_keys(secrets, name, signature)
    key = new_key(signature)
    put_in_force(secrets, name, [one.as_secret() for one in [key, *before][:KEPT]])
    return key.for_the_receiver()
