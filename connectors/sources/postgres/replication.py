"""The replication connection: slot, stream of WAL messages, and the feedback that lets the server forget.

Source: PostgreSQL documentation, "Streaming Replication Protocol".
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg import pq
from pydantic import SecretStr

from connectors.sources.postgres.copydata import filler
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.libpq import (
    NOT_IN_PREREQUISITE_STATE,
    UNDEFINED_OBJECT,
    Connection,
    QueryError,
    identifier,
    lsn_number,
    lsn_text,
)
from exchange.errors import GapError, TransientError

_WAL_HEAD_BYTES: Final = 25
_KEEPALIVE: Final = struct.Struct(">cQqB")
_FEEDBACK: Final = struct.Struct(">cQQQqB")
_EPOCH_2000_US: Final = 946_684_800_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Which database history this is."""

    system_identifier: str
    timeline: int


@dataclass(frozen=True, slots=True)
class NewSlot:
    """A slot just made: the stream begins at `consistent_point`, the snapshot shows what was before it."""

    consistent_point: int
    snapshot: str


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server has sent all that was decoded up to `wal_end`; it may want an answer at once."""

    wal_end: int
    reply_wanted: bool


class Replication:
    """identify → create_slot (first time) → start → ((fill → unwrap*)* → acknowledge)* → close."""

    def __init__(self, system: str, dsn: SecretStr) -> None:
        self._connection = Connection(system, dsn, replication=True)
        self._fill = filler(self._connection.raw)
        self._system = system
        self._flushed = 0
        self._received = 0

    def identify(self) -> Identity:
        """Return the server's system identifier and timeline."""
        ((identifier_, timeline, *_),) = self._connection.query("IDENTIFY_SYSTEM")
        return Identity((identifier_ or b"").decode(), int(timeline or 0))

    def create_slot(self, slot: str) -> NewSlot:
        """Create the slot and export its snapshot, which lives until the next command here.

        Waits for the transactions that run at this moment to end.
        """
        command = f"CREATE_REPLICATION_SLOT {identifier(slot)} LOGICAL pgoutput EXPORT_SNAPSHOT"
        ((_, point, snapshot, _),) = self._connection.query(command)
        return NewSlot(lsn_number(point or b""), (snapshot or b"").decode())

    def drop_slot(self, slot: str) -> None:
        """Drop a slot that nobody reads."""
        self._connection.query(f"DROP_REPLICATION_SLOT {identifier(slot)}")

    def start(self, slot: str, publication: str, lsn: int) -> None:
        """Begin the stream with the first transaction whose commit record is at `lsn` or later.

        `lsn` is also what was acknowledged last: nothing later is reported until acknowledge().
        """
        quoted = identifier(publication).replace("'", "''")
        self._connection.query(
            f"START_REPLICATION SLOT {identifier(slot)} LOGICAL {lsn_text(lsn)} "
            f"(proto_version '1', publication_names '{quoted}')"
        )
        self._flushed = self._received = lsn

    def fill(self, frames: Frames) -> None:
        """Append the frames that have arrived, at most as many as are enough.

        Raises: TransientError when the connection is lost; GapError when the server cannot give changes.
        """
        if not self._fill(frames):
            raise self._ended()
        if self._connection.warnings:
            self._refuse_warnings()

    def unwrap(self, frame: bytes) -> bytes | Keepalive | None:
        """Return a frame's pgoutput message or keepalive; None for a frame that is neither."""
        if frame[:1] == b"w":
            return frame[_WAL_HEAD_BYTES:]
        if frame[:1] == b"k":
            _, wal_end, _clock, reply = _KEEPALIVE.unpack(frame)
            self._received = max(self._received, wal_end)
            return Keepalive(wal_end, bool(reply))
        return None

    def wait(self, timeout_s: float) -> bool:
        """Wait until something arrives, at most so long; False when nothing did."""
        return self._connection.readable(timeout_s)

    def acknowledge(self, lsn: int, *, now: bool = True) -> None:
        """Tell the server that everything before `lsn` is safe elsewhere; it may forget it.

        `now=False` only remembers, for the next status.
        """
        self._flushed = max(self._flushed, lsn)
        if now:
            self.send_status()

    def send_status(self) -> None:
        """Send the standby status: received, and flushed up to what was acknowledged."""
        clock_us = time.time_ns() // 1000 - _EPOCH_2000_US
        received = max(self._received, self._flushed)
        status = _FEEDBACK.pack(b"r", received, self._flushed, self._flushed, clock_us, 0)
        try:
            self._connection.raw.put_copy_data(status)
            self._connection.raw.flush()
        except psycopg.Error:
            raise self._connection.lost() from None

    def close(self) -> None:
        """Close the connection; the slot stays."""
        self._connection.close()

    def _ended(self) -> Exception:
        """Say why the server ended the stream."""
        error = self._failure()
        if not isinstance(error, QueryError):
            return error
        if error.sqlstate == UNDEFINED_OBJECT:
            return _publication_gap(self._system)
        if error.sqlstate == NOT_IN_PREREQUISITE_STATE:
            msg = (
                f"source {self._system}: the server can no longer give changes from the slot "
                "(its log was removed, or the slot invalidated), so changes are missing and nothing was "
                f"captured since; run `exchange resnapshot {self._system}` to read all tables anew"
            )
            return GapError(msg)
        return error

    def _failure(self) -> Exception:
        try:
            result = self._connection.raw.get_result()
        except psycopg.Error:
            return self._connection.lost()
        if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
            return TransientError(f"source {self._system}: PostgreSQL ended the stream")
        return self._connection.refused(result, "START_REPLICATION")

    def _refuse_warnings(self) -> None:
        """Treat a warning of this class as a gap: a publication was missing when changes were made.

        Source: PostgreSQL 18 pgoutput.c, LoadPublications: it warns and leaves the changes out.
        """
        if NOT_IN_PREREQUISITE_STATE in self._connection.warnings:
            raise _publication_gap(self._system)


def _publication_gap(system: str) -> GapError:
    msg = (
        f"source {system}: the publication did not exist when some changes were made, so they are missing "
        f"from the stream and nothing was captured since; run `exchange resnapshot {system}` to read all "
        "tables anew"
    )
    return GapError(msg)
