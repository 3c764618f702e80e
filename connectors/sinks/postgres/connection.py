"""One connection to a subscriber's PostgreSQL; errors in our own words, since the server's may quote rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from exchange.errors import ConfigError, SinkError, TransientError
from exchange.settings import Secrets

_CONNECT_TIMEOUT_S: Final = 10
_SESSION: Final = "-c statement_timeout=120s -c lock_timeout=30s -c idle_in_transaction_session_timeout=120s"
_PASSING: Final = ("08", "40", "53", "57", "55")
"""Classes of SQLSTATE that pass: connection, rolled back, no room, ended by an operator, in use."""
_OWN_REFUSAL: Final = "22000"
"""In place of the SQLSTATE where psycopg refuses a value before the server sees it: data exception."""
_REFUSED: Final = ("password authentication failed", "no pg_hba.conf entry", "does not exist", "no password")


class RefusedRowsError(Exception):
    """The server does not take what a statement holds; `sqlstate` says why."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def connect(subscriber: str, connection_env: str, secrets: Secrets) -> psycopg.Connection[Any]:
    """Return a connection, not in autocommit.

    Raises: ConfigError without a usable connection string; SinkError when the server does not let us in;
    TransientError when it is away.
    """
    where = f"delivery to {subscriber}: connection from {connection_env}"
    dsn = secrets.get(connection_env).get_secret_value()
    own = {"application_name": f"exchange-deliver-{subscriber}", "client_encoding": "UTF8"}
    usual = {"connect_timeout": _CONNECT_TIMEOUT_S, "keepalives_idle": 30, "tcp_user_timeout": 60_000}
    try:
        given = psycopg.conninfo.conninfo_to_dict(dsn)
        options = " ".join(filter(None, [str(given.get("options") or ""), _SESSION]))
        full: dict[str, Any] = {**usual, **given, **own, "options": options}
        conninfo = psycopg.conninfo.make_conninfo(**full)
    except psycopg.Error:  # its text quotes the connection string, password and all
        msg = f"{where}: not a connection string; wanted: postgresql://user:password@host:5432/database"
        raise ConfigError(msg) from None
    try:
        return psycopg.connect(conninfo)
    except psycopg.Error as error:
        if any(words in str(error) for words in _REFUSED):
            msg = f"{where}: PostgreSQL does not let us in: {_told(error)}"
            raise SinkError(msg) from None
        msg = f"{where}: PostgreSQL cannot be reached: {_told(error)}"
        raise TransientError(msg) from None


@contextmanager
def in_our_words(doing: str) -> Iterator[None]:
    """Turn the server's errors into ours: by SQLSTATE, without its text.

    Raises: TransientError for what passes; RefusedRowsError for values; SinkError for the rest.
    """
    try:
        yield
    except psycopg.Error as error:
        sqlstate = error.sqlstate or ""
        if not sqlstate and isinstance(error, psycopg.DataError):  # psycopg's own, before the server's
            raise RefusedRowsError(_OWN_REFUSAL) from None
        if not sqlstate or sqlstate[:2] in _PASSING:
            msg = f"{doing}: PostgreSQL cannot do it now (SQLSTATE {sqlstate or 'none, connection lost'})"
            raise TransientError(msg) from None
        if sqlstate[:2] in ("22", "23", "54"):
            raise RefusedRowsError(sqlstate) from None
        msg = (
            f"{doing}: PostgreSQL refuses it with SQLSTATE {sqlstate}{_hint(sqlstate)}; its log has the text"
        )
        raise SinkError(msg) from None


def _hint(sqlstate: str) -> str:
    return " (the user may not)" if sqlstate == "42501" else ""


def _told(error: psycopg.Error) -> str:
    """Return libpq's own words: host, user and reason; it does not quote the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
