"""Events of the binary log, read by a thread of their own into a bounded backlog.

python-mysql-replication reads in blocking mode only (without it, it ends at the log's end); the server's
heartbeats wake it every second, so that it can be stopped. Its own reconnect is not used: it would go on
from the middle of a transaction.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import FormatDescriptionEvent

from exchange.binlog.address import Address, connection_settings, server_id
from exchange.binlog.session import explained
from exchange.errors import ExchangeError, GapError, SourceError, TransientError

_HEARTBEAT_S: Final = 1
_READ_TIMEOUT_S: Final = 10
_MOST_BYTES: Final = 16_000_000
"""So much is read ahead at most, but for one event that is larger."""
_CANNOT_READ_LOG: Final = 1236
_SAME_SERVER_ID: Final = 4052
_CONNECTIONS: Final = 2
"""The library makes one for the log and one for questions; a third would be its silent reconnect."""


class Binlog:
    """start → take* → close."""

    def __init__(self, system: str, where: Address, file: str, place: int, tables: Iterable[str]) -> None:
        """Prepare to read from a place in a file; row events of other tables are left out."""
        self._system = system
        self._at = f"source {system}: {where.at}"
        self._begins = f"{file}:{place}"
        self._backlog: deque[Any] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: ExchangeError | None = None
        self._connections: list[Any] = []
        names = [name.split(".") for name in tables]
        logging.getLogger("pymysqlreplication").setLevel(logging.CRITICAL)  # it says what we raise
        self._reader = BinLogStreamReader(
            connection_settings=connection_settings(system, where) | {"read_timeout": _READ_TIMEOUT_S},
            server_id=server_id(system),
            log_file=file,
            log_pos=place,
            resume_stream=True,
            blocking=True,
            slave_heartbeat=_HEARTBEAT_S,
            filter_non_implemented_events=False,
            only_schemas=[schema for schema, _ in names],
            only_tables=[table for _, table in names],
            pymysql_wrapper=self._connect,
            enable_logging=False,
        )
        self._thread = threading.Thread(target=self._run, name=f"binlog-{system}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self, timeout_s: float) -> Any | None:
        """Return the next event, None when there is none within the time.

        Raises: GapError when the server no longer has the log from there; SourceError; TransientError.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._backlog or self._error, timeout_s):
                return None
            if not self._backlog:
                raise self._error or TransientError(self._at)
            event = self._backlog.popleft()
            self._bytes -= event.packet.event_size
            self._changed.notify_all()
            return event

    def created_s(self) -> int:
        """Return when the file was begun, by the server's clock; take no event before."""
        ends_at = time.monotonic() + _READ_TIMEOUT_S
        while time.monotonic() < ends_at:
            event = self.take(_READ_TIMEOUT_S)
            if isinstance(event, FormatDescriptionEvent):
                return int(event.timestamp)
        msg = f"{self._at} did not begin to send its log in time"
        raise TransientError(msg)

    def close(self) -> None:
        """Stop the thread, and let go of the connections."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for connection in self._connections:  # wakes the thread; close() alone would wait for a heartbeat
            with suppress(OSError, AttributeError):
                connection._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - PyMySQL has no other way
        if self._thread.is_alive():
            self._thread.join(_READ_TIMEOUT_S + 1)

    # -- the thread

    def _run(self) -> None:
        error: ExchangeError
        try:
            while not self._closed:
                event = self._reader.fetchone()
                if event is None:
                    msg = f"{self._at} ended the log"
                    raise TransientError(msg)
                self._put(event)
            return
        except ExchangeError as told:
            error = told
        except pymysql.Error as refused:
            error = self._explained(refused)
        except Exception as failure:
            at = f"{self._reader.log_file}:{self._reader.log_pos}"
            error = SourceError(
                f"{self._at}: what follows {at} in the log is not understood ({type(failure).__name__})"
            )
        finally:
            self._close_reader()
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _put(self, event: Any) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < _MOST_BYTES or self._closed)
            self._backlog.append(event)
            self._bytes += event.packet.event_size
            self._changed.notify_all()

    def _connect(self, **settings: Any) -> Any:
        if len(self._connections) == _CONNECTIONS:
            msg = f"{self._at}: the connection that reads the log was lost"
            raise TransientError(msg)
        database = settings.pop("db", None)  # the old name, which PyMySQL warns of
        self._connections.append(pymysql.connect(**settings, database=database))
        return self._connections[-1]

    def _close_reader(self) -> None:
        try:
            self._reader.close()
        except pymysql.Error:  # it is gone, which is what was asked for
            return

    def _explained(self, error: pymysql.Error) -> ExchangeError:
        code, text = (*error.args, 0, "")[:2]
        if code == _SAME_SERVER_ID or (code == _CANNOT_READ_LOG and "same server" in str(text)):
            return SourceError(
                f"{self._at} has another reader with server id {server_id(self._system)}, ours; "
                "one of the two must end, so this one does"
            )
        if code == _CANNOT_READ_LOG:
            return GapError(
                f"{self._at} cannot give its log from {self._begins} on: purged, reset or damaged. "
                f"Changes may be missing; run `exchange resnapshot {self._system}` to read all tables anew"
            )
        return explained(self._at, error, "its log")
