"""Boxes: raw records sealed on Kafka's disks, key and value together, under keys of many versions.

A box opens only in the topic and partition that it was sealed for, and beside its own `x-exchange` header.

| bytes | meaning                                                                      |
| ----- | ---------------------------------------------------------------------------- |
| 0-3   | 01 72 61 77                                                                  |
| 4-5   | version of the key, big-endian                                               |
| 6-9   | id of the key: beginning of SHA-256 over 00 and the key                      |
| 10-21 | salt, drawn once by each writer                                              |
| 22-29 | number of the box since then, which is its nonce                             |
| 30-   | AES-256-GCM of the sizes of key and value (4 bytes each, -1: none) and both  |

Each writer and topic has a key of its own, derived from the versioned one and the salt: so a nonce is a
count, never drawn, and cannot come twice. Source: NIST SP 800-38D, 8.2.1; RFC 5869 (HKDF).
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeGuard

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from exchange.block import (
    COLUMNS,
    KEY_AT,
    KEY_SIZE,
    NONE,
    PARTITION,
    TOPIC,
    VALUE_AT,
    VALUE_SIZE,
    Block,
    ReadBlock,
    WriteBlock,
)
from exchange.errors import ConfigError

RAW_KEYS: Final = "EXCHANGE_RAW_KEYS"
"""Name of the secret that holds the keys."""
KEY_BYTES: Final = 32
_MAGIC: Final = b"\x01raw"
_HEAD: Final = struct.Struct(">4sH4s12sQ")
_KEY_AND_SALT: Final = slice(4, 22)
_NUMBER: Final = slice(22, 30)
_ID_BYTES: Final = 4
_SIZES: Final = struct.Struct(">ii")
_PLACE: Final = struct.Struct(">i")
_SALT_BYTES: Final = 12
_NONCE_LEAD: Final = bytes(4)
_MOST_VERSION: Final = 0xFFFF
_MOST_CIPHERS: Final = 1_000
"""Ciphers that an opener keeps: each start of a writer brings one for each of its topics."""


@dataclass(frozen=True, slots=True)
class RawKeys:
    """Keys by version: the newest one seals, all of them open."""

    by_version: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> RawKeys:
        """Return the keys of a text like `1:<64 hex digits> 2:<64 hex digits>`.

        Raises: ConfigError, without a digit of a key, when it is anything else.
        """
        found: dict[int, bytes] = {}
        for entry in text.split():
            version, _, digits = entry.partition(":")
            try:
                number, key = int(version), bytes.fromhex(digits)
            except ValueError:
                raise ConfigError(_WANTED) from None
            if not 1 <= number <= _MOST_VERSION or len(key) != KEY_BYTES or number in found:
                raise ConfigError(_WANTED)
            found[number] = key
        if not found:
            raise ConfigError(_WANTED)
        return cls(found)

    @property
    def newest(self) -> int:
        """Version of the key that seals."""
        return max(self.by_version)

    def with_next(self) -> RawKeys:
        """Return the keys and a newer one, drawn at random."""
        return RawKeys({**self.by_version, self.newest + 1: os.urandom(KEY_BYTES)})

    def without(self, version: int) -> RawKeys:
        """Return the keys but for one version; what was sealed under it opens no more."""
        return RawKeys({number: key for number, key in self.by_version.items() if number != version})

    def text(self) -> str:
        """Return them as `parse` takes them, oldest first, one a line."""
        return "\n".join(f"{number}:{key.hex()}" for number, key in sorted(self.by_version.items()))

    def id_of(self, version: int) -> bytes | None:
        """Return what tells a key from another one of its version; None when there is none."""
        key = self.by_version.get(version)
        return None if key is None else sha256(b"\0" + key).digest()[:_ID_BYTES]

    def cipher(self, version: int, salt: bytes, topic: str) -> AESGCM:
        """Return what one writer's boxes of a topic are sealed with; the version must be there."""
        purpose = b"exchange raw record\0" + topic.encode()
        derive = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=purpose)
        return AESGCM(derive.derive(self.by_version[version]))


def first_keys() -> RawKeys:
    """Return one key, drawn at random, as version 1."""
    return RawKeys({1: os.urandom(KEY_BYTES)})


def is_box(value: bytes | None) -> TypeGuard[bytes]:
    """Whether a raw record's value is, or claims to be, a box."""
    return value is not None and value.startswith(_MAGIC)


def sealed_under(value: bytes | None) -> tuple[int, bytes] | None:
    """Return version and id of the key that a raw record is sealed under; None of one in clear."""
    if not is_box(value) or len(value) < _HEAD.size:
        return None
    _, version, id_, _, _ = _HEAD.unpack_from(value)
    return version, id_


def key_name(version: int, id_: bytes | None) -> str:
    """Return how a key is told from others in texts, of which nobody learns the key."""
    return f"version {version} ({'' if id_ is None else id_.hex()})"


class BoxSealer:
    """Seals what one writer writes, under the newest key; each writer needs one of its own."""

    def __init__(self, keys: RawKeys) -> None:
        self._keys = keys
        self._version = keys.newest
        self._id = keys.id_of(keys.newest)
        self._salt = os.urandom(_SALT_BYTES)
        self._count = 0
        self._ciphers: dict[str, AESGCM] = {}

    def seal(
        self, topic: str, partition: int, header: bytes, key: bytes | None, value: bytes | None
    ) -> bytes:
        """Return the box of one record. Its record has no other key, and this header."""
        sizes = _SIZES.pack(*(NONE if part is None else len(part) for part in (key, value)))
        plain = sizes + (key or b"") + (value or b"")
        return self._box(self._cipher(topic), plain, _PLACE.pack(partition) + header)

    def seal_block(self, block: WriteBlock, topics: Container[str]) -> WriteBlock:
        """Return a block whose records of these topics are sealed, and the others as they are."""
        ciphers = [self._cipher(topic) if topic in topics else None for topic in block.topics]
        data, index = bytes(memoryview(block.data)[: block.used_bytes]), block.index[: block.count * COLUMNS]
        boxes, end = [data], len(data)
        for row in range(0, len(index), COLUMNS):
            cipher = ciphers[index[row + TOPIC]]
            if cipher is None:
                continue
            key_at, key_size, value_at, value_size, at, size = index[row + KEY_AT : row + COLUMNS]
            plain = _SIZES.pack(key_size, value_size)
            plain += data[key_at : key_at + max(key_size, 0)] + data[value_at : value_at + max(value_size, 0)]
            place = _PLACE.pack(index[row + PARTITION]) + data[at : at + max(size, 0)]
            boxes.append(self._box(cipher, plain, place))
            index[row + KEY_SIZE], index[row + VALUE_AT], index[row + VALUE_SIZE] = NONE, end, len(boxes[-1])
            end += len(boxes[-1])
        sealed = WriteBlock()
        _fill(sealed, boxes, index)
        for topic in block.topics:
            sealed.topic_number(topic)
        return sealed

    def _box(self, cipher: AESGCM, plain: bytes, place: bytes) -> bytes:
        number, self._count = self._count, self._count + 1
        head = _HEAD.pack(_MAGIC, self._version, self._id, self._salt, number)
        return head + cipher.encrypt(_NONCE_LEAD + head[-8:], plain, place)

    def _cipher(self, topic: str) -> AESGCM:
        if topic not in self._ciphers:
            self._ciphers[topic] = self._keys.cipher(self._version, self._salt, topic)
        return self._ciphers[topic]


class BoxOpener:
    """Opens boxes for one thread. A key that is not there is looked for again each time that it is wanted."""

    def __init__(self, load: Callable[[], RawKeys | None] = lambda: None) -> None:
        """`load` returns the keys there are now. Raises: ConfigError when they are unusable."""
        self._load = load
        self._keys = load()
        self._ciphers: dict[tuple[bytes, str], AESGCM] = {}

    def open(
        self, topic: str, partition: int, header: bytes, key: bytes | None, value: bytes | None
    ) -> tuple[bytes | None, bytes | None] | None:
        """Return key and value of a raw record; as they are where it is no box, None of one that opens not.

        Raises: ConfigError when its key is missing.
        """
        if not is_box(value):
            return key, value
        if len(value) <= _HEAD.size:
            return None
        cipher = self._cipher(value, topic)
        if cipher is None:
            raise ConfigError(self.missing(value))
        plain = _opened(cipher, value, _PLACE.pack(partition) + header)
        if plain is None:
            return None
        key_size, value_size = _SIZES.unpack_from(plain)
        middle = _SIZES.size + max(key_size, 0)
        return (
            None if key_size == NONE else plain[_SIZES.size : middle],
            None if value_size == NONE else plain[middle:],
        )

    def open_block(self, block: ReadBlock, first: int, topic: str, partition: int) -> tuple[ReadBlock, int]:
        """Return the block with its boxes from record `first` on opened, and how far they are.

        That is the first record whose key is missing, or the end. A box that does not open stays a box.
        """
        data, index = bytes(memoryview(block.data)[: block.used_bytes]), block.index[: block.count * COLUMNS]
        where, parts, end, reached = _PLACE.pack(partition), [data], len(data), block.count
        for row in range(first * COLUMNS, len(index), COLUMNS):
            value_at, value_size, at, size = index[row + VALUE_AT : row + COLUMNS]
            if value_size <= _HEAD.size or not data.startswith(_MAGIC, value_at):
                continue
            box = data[value_at : value_at + value_size]
            cipher = self._cipher(box, topic)
            if cipher is None:
                reached = row // COLUMNS
                break
            plain = _opened(cipher, box, where + data[at : at + max(size, 0)])
            if plain is None:
                continue
            key_size, value_size = _SIZES.unpack_from(plain)
            key_at = end + _SIZES.size
            index[row + KEY_AT], index[row + KEY_SIZE] = key_at, key_size
            index[row + VALUE_AT], index[row + VALUE_SIZE] = key_at + max(key_size, 0), value_size
            parts.append(plain)
            end += len(plain)
        opened = ReadBlock()
        _fill(opened, parts, index)
        return opened, reached

    def missing(self, box: bytes) -> str:
        """Return why a box cannot be opened now, and what to do."""
        _, version, id_, _, _ = _HEAD.unpack_from(box)
        known = self._keys
        names = [] if known is None else [key_name(one, known.id_of(one)) for one in sorted(known.by_version)]
        return (
            f"the record is sealed under {key_name(version, id_)} of {RAW_KEYS}; here is "
            f"{', '.join(names) or 'none'}. Put that key into <home>/secrets/{RAW_KEYS}, which is looked at "
            "again, or into the environment variable, and start anew"
        )

    def _cipher(self, box: bytes, topic: str) -> AESGCM | None:
        wanted = box[_KEY_AND_SALT], topic
        if wanted not in self._ciphers:
            _, version, id_, salt, _ = _HEAD.unpack_from(box)
            if self._keys is None or self._keys.id_of(version) != id_:
                self._keys = self._load()
            if self._keys is None or self._keys.id_of(version) != id_:
                return None
            if len(self._ciphers) >= _MOST_CIPHERS:
                self._ciphers.clear()
            self._ciphers[wanted] = self._keys.cipher(version, salt, topic)
        return self._ciphers[wanted]


def _opened(cipher: AESGCM, box: bytes, place: bytes) -> bytes | None:
    try:
        return cipher.decrypt(_NONCE_LEAD + box[_NUMBER], box[_HEAD.size :], place)
    except InvalidTag:
        return None


def _fill(block: Block, parts: list[bytes], index: array[int]) -> None:
    block.data, block.index = bytearray().join(parts), index
    block.count, block.used_bytes = len(index) // COLUMNS, len(block.data)


_WANTED: Final = (
    f"{RAW_KEYS}: expected keys like `1:<64 hex digits>`, each of another version from 1 to {_MOST_VERSION}, "
    "with blanks or line ends between; `exchange keys rotate` makes them"
)
