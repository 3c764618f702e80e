"""Signatures of webhooks, of deliveries and of alerts.

Source: Standard Webhooks 1.0, github.com/standard-webhooks/standard-webhooks.

The secret that `keys_env` names holds one or two keys, newest first, with a space between: `whsec_…` for
HMAC, `whsk_…` for Ed25519, each base64 of 32 bytes (HMAC: 24 to 64). A request is signed with each of
them, so that a receiver may change over from one to the next.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets as random_secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from exchange.errors import ConfigError
from exchange.settings import Secrets

_PREFIX: Final = {"hmac": "whsec_", "ed25519": "whsk_"}
_PUBLIC_PREFIX: Final = "whpk_"
_KEY_BYTES: Final = 32
_HMAC_KEY_BYTES: Final = range(24, 65)
KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, which never prints itself."""

    signature: str
    raw: bytes = field(repr=False)

    def sign(self, content: bytes) -> str:
        """Return a signature with its version before it."""
        if self.signature == "hmac":
            return "v1," + _base64(hmac.new(self.raw, content, sha256).digest())
        return "v1a," + _base64(Ed25519PrivateKey.from_private_bytes(self.raw).sign(content))

    def as_secret(self) -> str:
        """Return the word that the bus's own secret holds."""
        return _PREFIX[self.signature] + _base64(self.raw)

    def for_the_receiver(self) -> str:
        """Return what the receiver needs: the key itself for HMAC, the public one for Ed25519."""
        if self.signature == "hmac":
            return self.as_secret()
        public = Ed25519PrivateKey.from_private_bytes(self.raw).public_key()
        return _PUBLIC_PREFIX + _base64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def signature_header(keys: list[SigningKey], message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of `webhook-signature`: over id, time and body, one by each key."""
    content = f"{message_id}.{timestamp_s}.".encode() + body
    return " ".join(key.sign(content) for key in keys)


def read_keys(secrets: Secrets, name: str, signature: str) -> list[SigningKey]:
    """Return the keys in force, newest first. signature: hmac or ed25519.

    Raises: ConfigError when there is none, or the secret holds something else.
    """
    words = secrets.get(name).get_secret_value().split()
    raw = [_raw(word, _PREFIX[signature]) for word in words]
    keys = [SigningKey(signature, one) for one in raw if one is not None]
    if len(keys) != len(words) or not 1 <= len(keys) <= KEPT:
        msg = (
            f"secret {name}: wanted are one or two keys, {_PREFIX[signature]}<base64> each, with "
            "a space between; `exchange webhook-key` makes them"
        )
        raise ConfigError(msg)
    return keys


def new_key(signature: str) -> SigningKey:
    """Return a random key."""
    return SigningKey(signature, random_secrets.token_bytes(_KEY_BYTES))


def _raw(word: str, prefix: str) -> bytes | None:
    try:
        raw = base64.b64decode(word.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None
    fits = len(raw) == _KEY_BYTES or (prefix == _PREFIX["hmac"] and len(raw) in _HMAC_KEY_BYTES)
    return raw if fits and word.startswith(prefix) else None


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
