"""Decoder of pgoutput, protocol version 1: the bytes of one replication message → one dataclass.

Values stay the text PostgreSQL sent, as bytes; None is NULL and UNCHANGED a large value that was not sent.

Source: PostgreSQL documentation, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from exchange.errors import SourceError


class Unchanged(Enum):
    """The type of UNCHANGED: a TOAST value that an update left alone and the server did not send."""

    UNCHANGED = "u"


UNCHANGED: Final = Unchanged.UNCHANGED

Cell = bytes | None | Unchanged
Row = tuple[Cell, ...]

_EPOCH_2000_US: Final = 946_684_800_000_000
"""PostgreSQL counts microseconds from 2000-01-01 UTC; this is that instant since 1970."""

_U16: Final = struct.Struct(">H").unpack_from
_U32: Final = struct.Struct(">I").unpack_from
_I32: Final = struct.Struct(">i").unpack_from
_BEGIN: Final = struct.Struct(">QqI").unpack_from
_COMMIT: Final = struct.Struct(">BQQq").unpack_from


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction's changes follow. `commit_lsn` is where its commit record starts; time is since 1970."""

    commit_lsn: int
    commit_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction is complete; `end_lsn` is the first byte after it."""

    commit_lsn: int
    end_lsn: int
    commit_us: int


@dataclass(frozen=True, slots=True)
class Column:
    """One published column; `identity` when it is part of the replica identity."""

    name: str
    type_oid: int
    typmod: int
    identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table's shape from here on. `replica_identity`: d default, n nothing, f full, i index."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Type:
    """Name of a type that is not built in."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row."""

    relation: int
    new: Row


@dataclass(frozen=True, slots=True)
class Update:
    """A changed row; `old` as sent: None, the old key alone (`full` false), or the whole old row."""

    relation: int
    old: Row | None
    full: bool
    new: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that went; `old` holds its key alone (others NULL) unless `full`."""

    relation: int
    old: Row
    full: bool


@dataclass(frozen=True, slots=True)
class Truncate:
    """All rows of these tables went."""

    relations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """The transaction was replicated into this database from elsewhere."""

    commit_lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """What pg_logical_emit_message() wrote."""

    transactional: bool
    lsn: int
    prefix: str
    content: bytes


Decoded = Begin | Commit | Relation | Type | Insert | Update | Delete | Truncate | Origin | LogicalMessage


def decode(message: bytes) -> Decoded:
    """Return one decoded message.

    Raises: SourceError when the bytes are not a message of protocol version 1.
    """
    kind = message[:1]
    decoder = _DECODERS.get(kind)
    if decoder is None:
        found = f"0x{kind.hex()}" if kind else "an empty message"
        msg = f"pgoutput: message type {found} is not in protocol version 1 ({_KNOWN})"
        raise SourceError(msg)
    try:
        decoded, end = decoder(message)
    except (struct.error, IndexError, ValueError) as error:
        msg = f"pgoutput: message {kind.decode()} of {len(message)} bytes is cut short or malformed"
        raise SourceError(msg) from error
    if end != len(message):
        msg = f"pgoutput: message {kind.decode()} has {len(message)} bytes, its content ends at {end}"
        raise SourceError(msg)
    return decoded


def _begin(message: bytes) -> tuple[Begin, int]:
    commit_lsn, commit_us, xid = _BEGIN(message, 1)
    return Begin(commit_lsn, commit_us + _EPOCH_2000_US, xid), 21


def _commit(message: bytes) -> tuple[Commit, int]:
    _flags, commit_lsn, end_lsn, commit_us = _COMMIT(message, 1)
    return Commit(commit_lsn, end_lsn, commit_us + _EPOCH_2000_US), 26


def _relation(message: bytes) -> tuple[Relation, int]:
    (oid,) = _U32(message, 1)
    schema, at = _text(message, 5)
    table, at = _text(message, at)
    replica_identity = chr(message[at])
    (count,) = _U16(message, at + 1)
    at += 3
    columns = []
    for _ in range(count):
        flags = message[at]
        name, at = _text(message, at + 1)
        (type_oid,) = _U32(message, at)
        (typmod,) = _I32(message, at + 4)
        columns.append(Column(name, type_oid, typmod, bool(flags & 1)))
        at += 8
    # An empty schema name stands for pg_catalog.
    return Relation(oid, schema or "pg_catalog", table, replica_identity, tuple(columns)), at


def _type(message: bytes) -> tuple[Type, int]:
    (oid,) = _U32(message, 1)
    schema, at = _text(message, 5)
    name, at = _text(message, at)
    return Type(oid, schema or "pg_catalog", name), at


def _insert(message: bytes) -> tuple[Insert, int]:
    (relation,) = _U32(message, 1)
    _expect(message, 5, b"N")
    new, at = _row(message, 6)
    return Insert(relation, new), at


def _update(message: bytes) -> tuple[Update, int]:
    (relation,) = _U32(message, 1)
    old: Row | None = None
    at = 5
    kind = message[5:6]
    if kind in (b"K", b"O"):
        old, at = _row(message, 6)
    _expect(message, at, b"N")
    new, at = _row(message, at + 1)
    return Update(relation, old, kind == b"O", new), at


def _delete(message: bytes) -> tuple[Delete, int]:
    (relation,) = _U32(message, 1)
    kind = message[5:6]
    if kind not in (b"K", b"O"):
        raise ValueError
    old, at = _row(message, 6)
    return Delete(relation, old, kind == b"O"), at


def _truncate(message: bytes) -> tuple[Truncate, int]:
    (count,) = _U32(message, 1)
    at = 6  # one byte of options, CASCADE and RESTART IDENTITY, says nothing about the rows
    relations = struct.unpack_from(f">{count}I", message, at)
    return Truncate(relations), at + 4 * count


def _origin(message: bytes) -> tuple[Origin, int]:
    (commit_lsn,) = struct.unpack_from(">Q", message, 1)
    name, at = _text(message, 9)
    return Origin(commit_lsn, name), at


def _logical_message(message: bytes) -> tuple[LogicalMessage, int]:
    flags, lsn = struct.unpack_from(">BQ", message, 1)
    prefix, at = _text(message, 10)
    (size,) = _U32(message, at)
    content = _take(message, at + 4, size)
    return LogicalMessage(bool(flags & 1), lsn, prefix, content), at + 4 + size


_DECODERS: Final[dict[bytes, Callable[[bytes], tuple[Decoded, int]]]] = {
    b"B": _begin,
    b"C": _commit,
    b"R": _relation,
    b"Y": _type,
    b"I": _insert,
    b"U": _update,
    b"D": _delete,
    b"T": _truncate,
    b"O": _origin,
    b"M": _logical_message,
}
_KNOWN: Final = b" ".join(_DECODERS).decode()


def _row(message: bytes, at: int) -> tuple[Row, int]:
    """Return TupleData: a count, then per column n (NULL), u (unchanged) or t with length and text."""
    (count,) = _U16(message, at)
    at += 2
    cells: list[Cell] = []
    for _ in range(count):
        kind = message[at]
        if kind == 0x74:  # t
            (size,) = _U32(message, at + 1)
            at += 5
            cells.append(message[at : at + size])
            at += size
        elif kind == 0x6E:  # n
            cells.append(None)
            at += 1
        elif kind == 0x75:  # u
            cells.append(UNCHANGED)
            at += 1
        else:
            raise ValueError
    return tuple(cells), at  # a cut last cell leaves `at` beyond the message, which decode() refuses


def _text(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(b"\0", at)
    return message[at:end].decode(), end + 1


def _take(message: bytes, at: int, size: int) -> bytes:
    if at + size > len(message):
        raise ValueError
    return message[at : at + size]


def _expect(message: bytes, at: int, marker: bytes) -> None:
    if message[at : at + 1] != marker:
        raise ValueError
