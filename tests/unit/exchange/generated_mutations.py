"""Valid bytes made hostile: what a broken writer, a broken disk or an attacker could put on a raw topic."""

from __future__ import annotations

import random
from typing import Any, Final

from exchange.block import Record
from tests.unit.exchange.generated_sorts import long_

_PIECES: Final = (
    b"\x80\0",  # zero in two bytes
    b"\x82\0",
    b"\x80" * 9 + b"\x01",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 9 + b"\x02",
    b"\xff" * 10,
    b"\xfe" + b"\xff" * 8 + b"\x01",  # the greatest length
    long_(-1),
    long_(1 << 31),
    long_(1 << 40),
    long_(-(1 << 63)),
    b"\0",
    b"\x01",
    b"\x02",
    b"\x04",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe4\xb8",
    b"\xff",
)


def mutated(r: random.Random, record: Record, other: Record) -> Record:
    """Return a record with faults in its key, value or header; parts of another may be in it."""
    for _ in range(r.choice((1, 1, 1, 2, 5))):
        part = r.choice(("value", "value", "value", "value", "key", "header"))
        content = getattr(record, part) or b""
        # Mostly behind the schema id: without it nothing is read at all.
        first = 5 if part != "header" and r.random() < 0.95 else 0
        spoilt: dict[str, Any] = {part: _spoilt(r, content, getattr(other, part) or b"", first)}
        record = record._replace(**spoilt)
    return record


def _spoilt(r: random.Random, content: bytes, other: bytes, first: int) -> bytes:
    at = r.randint(min(first, len(content)), len(content))
    match r.randrange(9):
        case 0:
            return content[:at] + bytes([r.randrange(256)]) + content[at + 1 :]
        case 1 if at < len(content):
            return content[:at] + bytes([content[at] ^ (1 << r.randrange(8))]) + content[at + 1 :]
        case 2:
            return content[:at] + r.randbytes(r.randint(1, 4)) + content[at:]
        case 3:
            return content[:at] + content[at + r.randint(1, 8) :]
        case 4:
            return content[:at]
        case 5:
            return content[:at] + other[r.randint(0, len(other)) :]
        case 6:
            piece = r.choice(_PIECES)
            return content[:at] + piece + content[at + r.choice((0, 1, len(piece))) :]
        case 7:
            return content + r.choice((b"\0", r.randbytes(3)))
        case _:
            return (
                content[:at] + long_(r.choice((1, 2, -1, 63, 64, len(content), 1 << 20))) + content[at + 1 :]
            )
