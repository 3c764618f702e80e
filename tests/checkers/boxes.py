"""Raw records that are sealed, opened anew: as docs/sealing.md says they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_MAGIC = b"\x01raw"


def version_of(record: Any) -> int:
    """Return the version of the key that a record is sealed under, 0 of one that is not."""
    value = record.value() or b""
    return int.from_bytes(value[4:6]) if value.startswith(_MAGIC) else 0


@dataclass(frozen=True, slots=True)
class Opened:
    """A message with its box opened; everything else is the message's."""

    message: Any
    parts: tuple[bytes | None, bytes | None]

    def key(self) -> bytes | None:
        return self.parts[0]

    def value(self) -> bytes | None:
        return self.parts[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)


def opened(message: Any, keys: Callable[[], str]) -> Any:
    """Return a message as it was before it was sealed; `keys` tells <version>:<hex> in lines."""
    if not version_of(message):
        return message
    assert message.key() is None
    box, by_version = message.value(), dict(line.split(":") for line in keys().split())
    info = b"exchange raw record\0" + message.topic().encode()
    derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=box[10:22], info=info)
    cipher = AESGCM(derive.derive(bytes.fromhex(by_version[str(version_of(message))])))
    place = message.partition().to_bytes(4) + dict(message.headers())["x-exchange"]
    plain = cipher.decrypt(bytes(4) + box[22:30], box[30:], place)
    sizes = [int.from_bytes(plain[at : at + 4], signed=True) for at in (0, 4)]
    middle = 8 + max(sizes[0], 0)
    key, value = plain[8:middle], plain[middle:]
    assert [len(key), len(value)] == [max(size, 0) for size in sizes]
    return Opened(message, (None if sizes[0] < 0 else key, None if sizes[1] < 0 else value))
