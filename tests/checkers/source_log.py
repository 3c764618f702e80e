"""What a PostgreSQL source committed, read through a slot of its own: the truth for all judging."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import psycopg

Row = dict[str, str | None]
"""Column → PostgreSQL's text of the value."""


@dataclass(frozen=True, slots=True)
class Committed:
    """One change of a committed transaction; `index` counts the transaction's changes from 0."""

    table: str
    op: str
    commit: int
    index: int
    before: Row | None = None
    after: Row | None = None


@dataclass(slots=True)
class _Relation:
    name: str
    columns: list[str]


@dataclass(slots=True)
class Decoder:
    """Turns pgoutput messages (protocol version 1) into changes; one per read of the slot.

    Source: PostgreSQL documentation, "Logical Replication Message Formats".
    """

    relations: dict[int, _Relation] = field(default_factory=dict)
    commit: int = 0
    end: int = 0
    index: int = 0

    def decode(self, message: bytes) -> Iterator[Committed]:
        """Yield the changes of one message; `end` is the end of the last transaction seen whole."""
        kind, body = message[:1], _Bytes(message[1:])
        if kind == b"B":
            self.commit, self.index = body.number(">Q"), 0
        elif kind == b"C":
            body.number(">b")
            body.number(">Q")
            self.end = body.number(">Q")
        elif kind == b"R":
            oid = body.number(">I")
            name = f"{body.text()}.{body.text()}"
            body.number(">b")
            self.relations[oid] = _Relation(name, [body.column() for _ in range(body.number(">h"))])
        elif kind in (b"I", b"U", b"D"):
            yield self._row(kind.decode(), body)
        elif kind == b"T":
            count = body.number(">I")
            body.number(">b")
            for oid in [body.number(">I") for _ in range(count)]:
                yield self._change(self.relations[oid].name, "t", None, None)

    def _row(self, kind: str, body: _Bytes) -> Committed:
        relation = self.relations[body.number(">I")]
        before: Row | None = None
        after: Row | None = None
        while (mark := body.take(1)) != b"":
            values = body.values()
            row = dict(zip(relation.columns, values, strict=True))
            if mark == b"N":
                after = {name: _told(value, name, before) for name, value in row.items()}
            else:
                before = {name: _told(value, name, None) for name, value in row.items()}
        return self._change(relation.name, {"I": "c", "U": "u", "D": "d"}[kind], before, after)

    def _change(self, table: str, op: str, before: Row | None, after: Row | None) -> Committed:
        change = Committed(table, op, self.commit, self.index, before, after)
        self.index += 1
        return change


_UNCHANGED = object()


def _told(value: Any, column: str, before: Row | None) -> str | None:
    """An unchanged large value is told by the before-image or not at all."""
    if value is not _UNCHANGED:
        return value  # type: ignore[no-any-return]
    if before is None:
        msg = f"column {column}: unchanged large value without a before-image; use REPLICA IDENTITY FULL"
        raise ValueError(msg)
    return before[column]


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._next : self._next + size]
        self._next += size
        return taken

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def text(self) -> str:
        end = self._data.index(b"\0", self._next)
        return self.take(end - self._next + 1)[:-1].decode()

    def column(self) -> str:
        self.number(">b")
        name = self.text()
        self.take(8)
        return name

    def values(self) -> list[Any]:
        return [self._value() for _ in range(self.number(">h"))]

    def _value(self) -> Any:
        kind = self.take(1)
        if kind == b"n":
            return None
        if kind == b"u":
            return _UNCHANGED
        return self.take(self.number(">I")).decode()


class SourceLog:
    """Reads a publication through a slot of its own; survives restarts of the server between two reads."""

    def __init__(self, dsn: str, publication: str, slot: str) -> None:
        self._dsn = dsn
        self._publication = publication
        self._slot = slot
        self._seen_commit = 0

    def create(self) -> None:
        """Create the slot; changes committed from now on are told. The publication must exist."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self._slot])

    def drop(self) -> None:
        """Give the slot up, so that the server keeps no log for it."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [self._slot])

    def read(self) -> list[Committed]:
        """Return the changes of all transactions committed since the last read, in commit order."""
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            messages = connection.execute(
                "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,"
                " 'proto_version', '1', 'publication_names', %s)",
                [self._slot, self._publication],
                binary=True,
            ).fetchall()
            decoder = Decoder()
            changes = self._new(decoder, (bytes(message) for (message,) in messages))
            if decoder.end:
                connection.execute(
                    "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", [self._slot, _lsn(decoder.end)]
                )
        return changes

    def stream(self, system: str) -> int:
        """Return the id that positions of this source carry."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(
                "SELECT system_identifier::text, timeline_id"
                " FROM pg_control_system(), pg_control_checkpoint()"
            ).fetchone()
        assert row is not None
        digest = sha256(f"{system}\0{row[0]}\0{row[1]}".encode()).digest()
        return int.from_bytes(digest[:8], "big")

    def _new(self, decoder: Decoder, messages: Iterable[bytes]) -> list[Committed]:
        """After a crash the slot may tell a transaction again; it is told once only."""
        changes = [change for message in messages for change in decoder.decode(message)]
        fresh = [change for change in changes if change.commit > self._seen_commit]
        self._seen_commit = max([self._seen_commit, *(change.commit for change in fresh)])
        return fresh


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFF_FFFF:X}"
