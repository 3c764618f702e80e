"""One connection to a PostgreSQL server, on psycopg's binding of libpq; errors in our own words.

The level below psycopg's cursors, for two reasons: values stay the server's text, the same bytes that
pgoutput sends, and nothing moves the replication slot but us.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from exchange.errors import ConfigError, SourceError, TransientError

_SESSION: Final = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "datestyle": "ISO",
        "timezone": "UTC",
        "intervalstyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "client_min_messages": "warning",
        "row_security": "off",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
    }.items()
)
"""What types.py relies on; a role's or database's own settings would otherwise change the texts.

row_security off: a policy that hides rows from us makes a read fail, where it would leave them out silently.
"""

_CONNECT_TIMEOUT_S: Final = 10

UNDEFINED_OBJECT: Final = "42704"
OBJECT_IN_USE: Final = "55006"
NOT_IN_PREREQUISITE_STATE: Final = "55000"

Cells = tuple[bytes | None, ...]


class QueryError(SourceError):
    """The server refused a command. `sqlstate` says why; the server's text may hold values and is dropped."""

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Connection:
    """A connection of the capture: `replication=True` speaks the replication protocol too.

    Raises: TransientError when the server cannot be reached now; SourceError when it refuses us for good.
    """

    def __init__(self, system: str, dsn: SecretStr, *, replication: bool = False) -> None:
        self.system = system
        self.warnings: list[str] = []
        """SQLSTATEs of the warnings that the server has sent."""
        self.raw = pq.PGconn.connect(_conninfo(system, dsn, replication))
        if self.raw.status != pq.ConnStatus.OK:
            error = _connect_error(system, self.raw)
            self.raw.finish()
            raise error
        self.raw.notice_handler = self._noticed

    def query(self, sql: str, params: Sequence[bytes | str | None] = ()) -> list[Cells]:
        """Run one statement and return its rows as the server's texts."""
        values = [value.encode() if isinstance(value, str) else value for value in params]
        try:
            result = self.raw.exec_params(sql.encode(), values) if values else self.raw.exec_(sql.encode())
        except psycopg.Error:
            raise self.lost() from None
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.COPY_BOTH):
            raise self.refused(result, sql)
        columns = range(result.nfields)
        return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]

    def readable(self, timeout_s: float) -> bool:
        """Wait until the server has sent something, at most so long."""
        ready, _, _ = select.select([self.raw.socket], [], [], timeout_s)
        return bool(ready)

    def lost(self) -> TransientError:
        """Return the error for a connection that broke."""
        return TransientError(f"source {self.system}: connection to PostgreSQL lost")

    def refused(self, result: pq.abc.PGresult, command: str) -> SourceError | TransientError:
        """Return the error for a failed result: by SQLSTATE, without the server's text."""
        sqlstate = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() or "none"
        verb = " ".join(command.split()[:2])
        if sqlstate == "none" or sqlstate[:2] in ("08", "53", "57") or sqlstate == OBJECT_IN_USE:
            return TransientError(
                f"source {self.system}: PostgreSQL cannot serve {verb} now (SQLSTATE {sqlstate})"
            )
        return QueryError(
            f"source {self.system}: PostgreSQL refused {verb} with SQLSTATE {sqlstate}; "
            "its own log has the full text",
            sqlstate,
        )

    def cancel(self) -> None:
        """Have the server end what it does for us now, if anything; from another thread."""
        with suppress(psycopg.Error):
            self.raw.get_cancel().cancel()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self.raw.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _noticed(self, result: pq.abc.PGresult) -> None:
        if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) == b"WARNING":
            self.warnings.append((result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode())


def identifier(name: str) -> str:
    """Return a name quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def lsn_text(lsn: int) -> str:
    """Return a log position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFF_FFFF:X}"


def lsn_number(text: bytes) -> int:
    """Return a log position as a number."""
    high, low = text.split(b"/")
    return int(high, 16) << 32 | int(low, 16)


def _conninfo(system: str, dsn: SecretStr, replication: bool) -> bytes:
    try:
        given = conninfo_to_dict(dsn.get_secret_value())
    except psycopg.Error:
        msg = f"source {system}: its connection string is not a libpq DSN or postgresql:// URL"
        raise ConfigError(msg) from None
    own: dict[str, Any] = {
        "application_name": f"exchange-connector-{system}",
        "client_encoding": "UTF8",
        "connect_timeout": given.get("connect_timeout", _CONNECT_TIMEOUT_S),
        "options": " ".join(filter(None, [str(given.get("options") or ""), _SESSION])),
        "keepalives_idle": 30,
    }
    if replication:
        own["replication"] = "database"
    return make_conninfo(**{**given, **own}).encode()


_PASSING: Final = (b"too many", b"connection slots", b"max_wal_senders", b"starting up", b"shutting down")


def _connect_error(system: str, raw: pq.abc.PGconn) -> SourceError | TransientError:
    """Tell a refusal from an outage. libpq gives no SQLSTATE here, so the server's English words help."""
    said = raw.error_message
    at = f"source {system}: PostgreSQL at {raw.host.decode() or 'local socket'}:{raw.port.decode()}"
    if raw.needs_password:
        return SourceError(f"{at} wants a password, the connection string has none")
    if any(word in said for word in _PASSING):
        return TransientError(f"{at} takes no further connection now")
    if b"password authentication failed" in said:
        return SourceError(f"{at} refused the user's password; correct the connection string")
    if b"no pg_hba.conf entry" in said:
        return SourceError(f"{at} has no pg_hba.conf entry for this host, user and database")
    if b"REPLICATION" in said or b"replication role" in said:
        return SourceError(f"{at}: the user may not replicate; run ALTER ROLE ... REPLICATION")
    if b"does not exist" in said:
        return SourceError(f"{at} has no such database or user; correct the connection string")
    if raw.used_password:
        return SourceError(f"{at} refused the connection after the password; its own log has the reason")
    return TransientError(f"{at} cannot be reached")
