"""Keys: token keys per view, stewards' key pairs, and the sealing of refused payloads.

A refused payload is sealed for the source's steward: the bus can write it and cannot read it back. Source:
RFC 7748 (X25519), RFC 5869 (HKDF), NIST SP 800-38D (AES-GCM).
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exchange.change import Reason
from exchange.encoding import singleobject
from exchange.errors import ConfigError, SealError

KEY_BYTES: Final = 32
MAX_SEALED_PAYLOAD_BYTES: Final = 900_000
"""A larger payload is refused by reference: sealed and wrapped it might not fit a topic's 1,048,576 bytes."""

_SEAL_VERSION: Final = b"\x01"
_NONCE: Final = bytes(12)
"""Always zero: every payload has its own ephemeral key, so no nonce is used twice under one key."""


class TokenKey(NamedTuple):
    """The key of one view's tokens, with the version that its tokens carry."""

    version: int
    key: bytes


@dataclass(frozen=True, slots=True)
class ViewKeys:
    """Token keys of all views, derived from the master masking key."""

    master: bytes

    def __post_init__(self) -> None:
        if len(self.master) != KEY_BYTES:
            msg = (
                f"EXCHANGE_MASK_KEY: expected {KEY_BYTES} bytes (64 hex digits), got {len(self.master)} bytes"
            )
            raise SealError(msg)

    @classmethod
    def from_hex(cls, text: str) -> ViewKeys:
        """Return the keys of a master key written as 64 hex digits.

        Raises: SealError when it is anything else.
        """
        try:
            return cls(bytes.fromhex(text.strip()))
        except ValueError:
            msg = "EXCHANGE_MASK_KEY: expected 64 hex digits"
            raise SealError(msg) from None

    def token_key(self, view_topic: str, version: int = 1) -> TokenKey:
        """Return the key of a view; keys of two views or versions have nothing in common."""
        purpose = b"exchange token key\0" + view_topic.encode() + b"\0" + str(version).encode()
        return TokenKey(version, _derive(self.master, b"", purpose))

    def __repr__(self) -> str:
        return "ViewKeys(master=***)"


def generate_steward_keys() -> tuple[str, str]:
    """Return a new (private, public) X25519 key pair, each as base64."""
    private = X25519PrivateKey.generate()
    return _base64(private.private_bytes_raw()), _base64(private.public_key().public_bytes_raw())


def read_key(text: str, what: str) -> bytes:
    """Return the 32 bytes of a base64 key; `what` names it in the error.

    Raises: ConfigError when it is not base64 of 32 bytes.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        msg = (
            f"{what}: expected an X25519 key, base64 of {KEY_BYTES} bytes; "
            "`exchange keys create` makes a pair"
        )
        raise ConfigError(msg)
    return key


def seal(public_key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Return version (1 byte), ephemeral public key (32), ciphertext with tag; `context` is authenticated.

    Raises: SealError when the public key cannot be used.
    """
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        msg = "the steward's public key is not a usable X25519 key; make a pair with `exchange keys create`"
        raise SealError(msg) from None
    cipher = AESGCM(_seal_key(shared, ephemeral_public, public_key))
    return _SEAL_VERSION + ephemeral_public + cipher.encrypt(_NONCE, plaintext, context)


def open_sealed(private_key: bytes, sealed: bytes, context: bytes) -> bytes:
    """Return the plaintext of `seal`.

    Raises: SealError when the key is another's, the context differs, or a bit was changed.
    """
    head = len(_SEAL_VERSION) + KEY_BYTES
    if sealed[:1] != _SEAL_VERSION or len(sealed) <= head:
        msg = "not a sealed payload of this version"
        raise SealError(msg)
    ephemeral_public, ciphertext = sealed[1:head], sealed[head:]
    try:
        private = X25519PrivateKey.from_private_bytes(private_key)
        shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral_public))
        key = _seal_key(shared, ephemeral_public, private.public_key().public_bytes_raw())
        return AESGCM(key).decrypt(_NONCE, ciphertext, context)
    except (ValueError, InvalidTag):
        msg = "the sealed payload does not open: another steward's key, or the record was altered"
        raise SealError(msg) from None


def _seal_key(shared: bytes, ephemeral_public: bytes, public_key: bytes) -> bytes:
    return _derive(shared, ephemeral_public + public_key, b"exchange quarantine payload")


def _derive(secret: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt or None, info=purpose).derive(secret)


def _base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


Stage = Literal["capture", "process"]

_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "QuarantineRecord",
    "namespace": "exchange",
    "fields": [
        {"name": "resource", "type": "string"},
        {
            "name": "stage",
            "type": {"type": "enum", "name": "QuarantineStage", "symbols": ["capture", "process"]},
        },
        {"name": "topic", "type": "string", "doc": "raw topic of the record"},
        {"name": "partition", "type": "int", "doc": "of the raw topic; -1 where it never got there"},
        {"name": "offset", "type": "long", "doc": "in the raw topic; -1 where it never got there"},
        {"name": "header", "type": "bytes", "doc": "packed x-exchange header, as it came or as synthesised"},
        {"name": "reason", "type": "string"},
        {"name": "field", "type": "string", "doc": "dotted path, or empty"},
        {"name": "plan_version", "type": "long"},
        {"name": "at_ms", "type": "long", "doc": "when it was refused"},
        {"name": "payload_bytes", "type": "long", "doc": "size of key and value together"},
        {"name": "sealed", "type": "bytes", "doc": "empty: refused by reference, too large to be kept"},
    ],
}
_CODEC: Final = singleobject.Codec(_SCHEMA)
_LENGTH: Final = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """The value of a record in `quarantine.<resource>`: everything but the payload is in clear."""

    resource: str
    stage: Stage
    topic: str
    partition: int
    offset: int
    header: bytes
    reason: Reason
    field: str
    plan_version: int
    at_ms: int
    payload_bytes: int
    sealed: bytes

    def encode(self) -> bytes:
        """Return Avro single-object bytes."""
        return _CODEC.encode({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def decode(cls, encoded: bytes) -> QuarantineRecord:
        """Return the record held in single-object bytes.

        Raises: ValueError when the bytes are not a quarantine record.
        """
        seen = _CODEC.decode(encoded)
        return cls(**(seen | {"reason": Reason(seen["reason"])}))

    def open(self, private_key: bytes) -> tuple[bytes | None, bytes | None]:
        """Return the refused record's key and value.

        Raises: SealError when it was kept by reference only, or does not open with this key.
        """
        if not self.sealed:
            place = f"{self.topic}[{self.partition}]@{self.offset}"
            msg = f"{place}: kept by reference only, its payload was too large"
            raise SealError(msg)
        return unpack_payload(open_sealed(private_key, self.sealed, seal_context(self.resource, self.header)))


def seal_payload(
    public_key: bytes, resource: str, header: bytes, key: bytes | None, value: bytes | None
) -> bytes:
    """Return the `sealed` bytes of a QuarantineRecord; empty when the payload is too large to be kept.

    Raises: SealError when the public key cannot be used.
    """
    payload = pack_payload(key, value)
    if len(payload) > MAX_SEALED_PAYLOAD_BYTES:
        return b""
    return seal(public_key, payload, seal_context(resource, header))


def seal_context(resource: str, header: bytes) -> bytes:
    """Return what a sealed payload is bound to: it opens only beside its own resource and header."""
    return resource.encode() + b"\0" + header


def pack_payload(key: bytes | None, value: bytes | None) -> bytes:
    """Return key and value, each after its length as 4 bytes big-endian; -1 stands for none."""
    return b"".join(
        _LENGTH.pack(-1) if part is None else _LENGTH.pack(len(part)) + part for part in (key, value)
    )


def unpack_payload(packed: bytes) -> tuple[bytes | None, bytes | None]:
    """Return key and value of `pack_payload`.

    Raises: SealError when the lengths do not add up.
    """
    parts: list[bytes | None] = []
    at = 0
    for _ in range(2):
        if len(packed) < at + _LENGTH.size:
            break
        length = _LENGTH.unpack_from(packed, at)[0]
        at += _LENGTH.size
        parts.append(None if length < 0 else packed[at : at + length])
        at += max(length, 0)
    if len(parts) != 2 or at != len(packed):
        msg = "the opened payload is not a key and a value"
        raise SealError(msg)
    return parts[0], parts[1]


class Sealer:
    """Seals refused records, each for the steward of its resource."""

    def __init__(self, public_keys: Mapping[str, str]) -> None:
        """Take resource → public key as base64.

        Raises: ConfigError when one is not an X25519 key.
        """
        self.public_keys = {
            resource: read_key(text, f"{resource}: steward's public key")
            for resource, text in public_keys.items()
        }

    def seal(self, resource: str, header: bytes, key: bytes | None, value: bytes | None) -> bytes:
        """Return the sealed payload (see `seal_payload`).

        Raises: SealError when the resource has no steward key, or it cannot be used.
        """
        if resource not in self.public_keys:
            msg = f"{resource}: no steward's public key is known, so nothing may be refused or processed"
            raise SealError(msg)
        return seal_payload(self.public_keys[resource], resource, header, key, value)
