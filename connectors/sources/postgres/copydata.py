"""Fills frames from a connection in COPY mode: natively, or frame by frame through psycopg.

psycopg gives each frame as a memoryview of an object of its own; natively a frame costs a copy. What is
compiled calls the very libpq that psycopg has loaded, on psycopg's connection.
Source: psycopg 3 documentation, psycopg.pq, PGconn.pgconn_ptr, which is there for that.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final, Protocol

import psycopg
from psycopg import pq

from connectors.sources.postgres.frames import ENOUGH_BYTES, Frames
from exchange.settings import read_settings

try:
    from connectors.sources.postgres import _libpq
except ImportError:  # not compiled
    _libpq = None  # type: ignore[assignment]


class Fill(Protocol):
    """Appends what has arrived; False when the stream has ended."""

    def __call__(self, frames: Frames) -> bool:
        """Append frames until there are enough or nothing more has arrived."""


def filler(connection: pq.abc.PGconn) -> Fill:
    """Return the fastest way there is to fill frames from a connection."""
    addresses = _addresses()
    if addresses is None or not hasattr(connection, "pgconn_ptr"):
        return OneByOne(connection)
    return Natively(connection, addresses)


class OneByOne:
    """Fills frames through psycopg."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection

    def __call__(self, frames: Frames) -> bool:
        """Append frames until there are enough or nothing more has arrived."""
        get_copy_data = self._connection.get_copy_data
        try:
            while not frames.full:
                size, view = get_copy_data(1)
                if size == 0:
                    self._connection.consume_input()
                    size, view = get_copy_data(1)
                if size <= 0:
                    return size == 0
                frames.add(view)
        except psycopg.Error:
            return False
        return True


class Natively:
    """Fills frames through libpq itself."""

    def __init__(self, connection: pq.abc.PGconn, addresses: tuple[int, int, int]) -> None:
        self._connection = connection
        self._addresses = addresses

    def __call__(self, frames: Frames) -> bool:
        """Append frames until there are enough or nothing more has arrived."""
        pointer: int | None = getattr(self._connection, "pgconn_ptr")  # noqa: B009 - not in psycopg's protocol
        if pointer is None:  # closed
            return False
        return int(_libpq.fill(frames, pointer, *self._addresses, ENOUGH_BYTES)) == 0


_FUNCTIONS: Final = ("PQgetCopyData", "PQconsumeInput", "PQfreemem")


def _addresses() -> tuple[int, int, int] | None:
    """Return where the functions of psycopg's own libpq are; None where that cannot be told for certain.

    Looked up in psycopg's extension module, a symbol is found in the libraries that this one was linked with.
    """
    if _libpq is None or pq.__impl__ not in ("binary", "c") or not read_settings().native:
        return None
    try:
        library = ctypes.CDLL(sys.modules[pq.PGconn.__module__].__file__)
        get, consume, free = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _FUNCTIONS
        )
    except (OSError, AttributeError, KeyError):
        return None
    return (get, consume, free) if get and consume and free else None
