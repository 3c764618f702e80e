"""Certificates: a JSON object, signed so that a changed byte is found out.

The signature (Ed25519) is over the object without it, written in one way: names in order, no spaces, UTF-8.
Source: RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from exchange import strictjson
from exchange.errors import ConfigError, SealError
from exchange.settings import Secrets

KEY_SECRET: Final = "EXCHANGE_CERTIFICATE_KEY"  # noqa: S105 - a secret's name
_KEY_BYTES: Final = 32
_SIGNATURE: Final = "signature"


class Signer:
    """Signs with this installation's key, which never prints itself."""

    def __init__(self, secrets: Secrets, *, make: bool = False) -> None:
        """make: a key is made where there is none.

        Raises: ConfigError when it is missing, or the secret holds something else.
        """
        if make and secrets.find(KEY_SECRET) is None:
            secrets.put(KEY_SECRET, _base64(Ed25519PrivateKey.generate().private_bytes_raw()))
        raw = read_key(secrets.get(KEY_SECRET).get_secret_value(), f"secret {KEY_SECRET}")
        self._key = Ed25519PrivateKey.from_private_bytes(raw)

    @property
    def public_key(self) -> str:
        """What checks its signatures, base64."""
        return _base64(self._key.public_key().public_bytes_raw())

    def sign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with the public key and the signature."""
        told = {**document, "public_key": self.public_key}
        return told | {_SIGNATURE: _base64(self._key.sign(_canonical(told)))}


def as_text(certificate: Mapping[str, Any]) -> str:
    """Return a certificate as its file holds it, byte for byte."""
    return json.dumps(certificate, indent=1, ensure_ascii=False) + "\n"


def verify(text: str, public_key: str, what: str) -> dict[str, Any]:
    """Return a certificate's content. public_key: of the one who must have signed it, base64.

    Raises: SealError when it is no certificate, was changed, or is signed by somebody else; ConfigError when
    the key is none.
    """
    key = read_key(public_key, "public key")
    try:
        told = strictjson.loads(text)
        signature = base64.b64decode(told.pop(_SIGNATURE), validate=True)
        content = _canonical(told)
        as_written = as_text(told | {_SIGNATURE: _base64(signature)})
    except (ValueError, KeyError, TypeError, AttributeError):
        msg = f"{what}: wanted is a certificate: one signed JSON object, as `exchange revoke` wrote it"
        raise SealError(msg) from None
    if told.get("public_key") != public_key.strip():
        msg = f"{what}: signed with another key than the one it is checked with; it proves nothing here"
        raise SealError(msg)
    try:
        if as_written != text:
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(key).verify(signature, content)
    except InvalidSignature:
        msg = f"{what}: the signature does not fit: the certificate was changed after it was signed"
        raise SealError(msg) from None
    return dict(told)


def read_key(text: str, what: str) -> bytes:
    """Return the 32 bytes of an Ed25519 key.

    Raises: ConfigError when it is not base64 of 32 bytes.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        msg = f"{what}: wanted is an Ed25519 key, base64 of {_KEY_BYTES} bytes"
        raise ConfigError(msg)
    return key


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
