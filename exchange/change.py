"""What travels with every record: its position, its operation, and the reason when it is refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

HEADER: Final = "x-exchange"
"""Name of the one Kafka header that records on the bus carry."""

_LAYOUT: Final = struct.Struct(">BcBxIQQIHHQ")
HEADER_BYTES: Final = _LAYOUT.size
_LAYOUT_VERSION: Final = 1
_FLAG_TOMBSTONE: Final = 0x01
_FLAG_REDRIVEN: Final = 0x02
_FLAG_ONE_VIEW: Final = 0x04
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF


class Op(StrEnum):
    """Debezium's operation codes. Source: Debezium connector docs, "change event values", `op`."""

    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    READ = "r"
    TRUNCATE = "t"


class Reason(StrEnum):
    """Why a record was refused. Closed: the same word in code, docs, metric label and dashboard."""

    MALFORMED = "malformed"
    """The bytes are not a record of the schema they claim (truncated, trailing, random)."""
    UNREADABLE = "unreadable"
    """A sealed raw record that does not open: altered, cut off, or moved from another place."""
    FOREIGN = "foreign"
    """No valid x-exchange header: the record was not written by this bus."""
    TOO_LARGE = "too_large"
    """Larger than the topic accepts; refused by reference, without its payload."""
    UNREPRESENTABLE = "unrepresentable"
    """The source holds a value the contract's type cannot hold exactly (infinity, NaN, year 10000)."""
    UNCHANGED_TOAST = "unchanged_toast"
    """PostgreSQL did not send an unchanged large value and the table has no full replica identity."""
    TYPE = "type"
    REQUIRED = "required"
    LENGTH = "length"
    RANGE = "range"
    PATTERN = "pattern"
    CODE = "code"
    """Not in the contract's code list, or not a symbol of its enum."""
    NOT_FUTURE = "not_future"
    CN_ID_NUMBER = "cn_id_number"
    CN_MOBILE = "cn_mobile"
    CN_CREDIT_CODE = "cn_credit_code"
    EMAIL = "email"
    MASK = "mask"
    """A mask could not be applied; the record is withheld rather than shown."""
    LEAK = "leak"
    """The finished output still held a sensitive value that this view may not show."""
    UNDELIVERABLE = "undeliverable"
    """A subscriber's own store cannot hold the record; its place and the reason are kept there."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused record: the reason, and the dotted path of the field; never a value."""

    reason: Reason
    field: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a change stands in its source's log; unique per raw topic and increasing per key.

    stream: `stream_id(...)` of the source; commit: commit LSN (PostgreSQL) as an unsigned 64-bit number;
    index: the change's number within its transaction, from 0; part: number of the piece when one change
    makes several records (key change: 0 delete of the old key, 1 create of the new; truncate: partition).
    """

    stream: int
    commit: int
    index: int
    part: int = 0

    def hash64(self) -> int:
        """Return a well-mixed unsigned 64-bit hash; accounts sum it to find loss and duplicates."""
        mixed = mix64(self.stream ^ mix64(self.commit))
        return mix64(mixed ^ (self.index << 16) ^ self.part)


def mix64(value: int) -> int:
    """Return the splitmix64 finaliser of an unsigned 64-bit number.

    Source: S. Vigna, splitmix64.c (public domain), the output function.
    """
    value = (value + 0x9E37_79B9_7F4A_7C15) & _U64
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _U64
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _U64
    return value ^ (value >> 31)


def stream_id(system: str, system_identifier: str, timeline: int) -> int:
    """Return the unsigned 64-bit id of one source's log.

    A restored or promoted database has another timeline or identifier and so another id: positions of two
    histories are never compared.
    """
    digest = sha256(f"{system}\0{system_identifier}\0{timeline}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The value of the `x-exchange` header: 40 bytes, big-endian.

    | bytes | meaning                                                              |
    | ----- | -------------------------------------------------------------------- |
    | 0     | layout version, 1                                                    |
    | 1     | operation: ASCII c, u, d, r or t                                     |
    | 2     | flags: 1 tombstone (follows the delete it belongs to), 2 re-driven,  |
    |       | 4 for one view alone (on raw topics)                                 |
    | 3     | zero                                                                 |
    | 4-7   | plan version that made the record; on raw topics 0, or with flag 4   |
    |       | the first plan version that has the view                             |
    | 8-15  | stream id                                                            |
    | 16-23 | commit position (LSN)                                                |
    | 24-27 | index within the transaction                                         |
    | 28-29 | part                                                                 |
    | 30-31 | with flag 4 the view, as `view_number` has it; else zero             |
    | 32-39 | source commit time, milliseconds since 1970-01-01 UTC                |
    """

    position: Position
    op: Op
    source_ms: int
    plan_version: int = 0
    tombstone: bool = False
    redriven: bool = False
    only_view: int | None = None

    def pack(self) -> bytes:
        """Return the 40 bytes."""
        flags = (_FLAG_TOMBSTONE if self.tombstone else 0) | (_FLAG_REDRIVEN if self.redriven else 0)
        flags |= 0 if self.only_view is None else _FLAG_ONE_VIEW
        at = self.position
        return _LAYOUT.pack(
            _LAYOUT_VERSION, self.op.encode(), flags, self.plan_version,
            at.stream, at.commit, at.index, at.part, self.only_view or 0, self.source_ms,
        )  # fmt: skip

    @classmethod
    def unpack(cls, packed: bytes | None) -> RecordHeader | None:
        """Return the header, or None when the bytes are missing or not of this layout."""
        if packed is None or len(packed) != _LAYOUT.size:
            return None
        version, op, flags, plan_version, stream, commit, index, part, view, source_ms = _LAYOUT.unpack(
            packed
        )
        known_flags = _FLAG_TOMBSTONE | _FLAG_REDRIVEN | _FLAG_ONE_VIEW
        if version != _LAYOUT_VERSION or flags & ~known_flags or op not in _OPS:
            return None
        return cls(
            position=Position(stream, commit, index, part),
            op=_OPS[op],
            source_ms=source_ms,
            plan_version=plan_version,
            tombstone=bool(flags & _FLAG_TOMBSTONE),
            redriven=bool(flags & _FLAG_REDRIVEN),
            only_view=view if flags & _FLAG_ONE_VIEW else None,
        )


def view_number(view: str) -> int:
    """Return the 16 bits that stand for a view of a resource in a header; two views may share a number."""
    return zlib.crc32(view.encode()) & 0xFFFF


_OPS: Final = {op.value.encode(): op for op in Op}
