"""One connection to a server: values come as the server's texts, errors in our own words."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

import pymysql
from pymysql.constants import CR, ER
from pymysql.converters import encoders

from exchange.binlog.address import Address, connection_settings
from exchange.errors import SourceError, TransientError

_READ_TIMEOUT_S: Final = 600
_QUESTION_TIMEOUT: Final = {"mariadb": "max_statement_time = 15", "mysql": "max_execution_time = 15000"}
_PASSING: Final = (
    ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.QUERY_INTERRUPTED,
    ER.TABLE_DEF_CHANGED, 1226, 1317, 3168,
    CR.CR_CONN_HOST_ERROR, CR.CR_CONNECTION_ERROR, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST,
    CR.CR_SERVER_LOST_EXTENDED,
)  # fmt: skip
_REFUSED: Final = {
    ER.ACCESS_DENIED_ERROR: "refused user or password; correct the connection string",
    ER.DBACCESS_DENIED_ERROR: "does not let the user use this database; grant it SELECT there",
    ER.BAD_DB_ERROR: "has no such database; correct the connection string",
    ER.HOST_NOT_PRIVILEGED: "does not let this host in; create the user for it",
}


class Refused(SourceError):
    """The server refused a statement; `code` says why. Its text may hold values and is dropped."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Session:
    """One connection to a server; values come as the server's texts, errors in our own words."""

    def __init__(self, system: str, where: Address) -> None:
        """Connect.

        Raises: TransientError when the server cannot be reached now; SourceError when it refuses us for good.
        """
        self.system = system
        self.where = where
        self._at = f"source {system}: {where.at}"
        try:
            self._raw = pymysql.connect(
                **connection_settings(system, where),
                database=where.database or None,
                read_timeout=_READ_TIMEOUT_S,
                use_unicode=False,
                conv=encoders,  # no decoders: values stay texts
                autocommit=True,
                init_command="SET time_zone = '+00:00'",
            )
        except pymysql.Error as error:
            raise self._explained(error, "the connection") from None

    def query(self, sql: str, parameters: Sequence[str | int] = ()) -> list[tuple[bytes | None, ...]]:
        """Run one statement and return its rows as the server's texts.

        Raises: TransientError, Refused.
        """
        try:
            with self._raw.cursor() as cursor:
                cursor.execute(sql, tuple(parameters) or None)
                return list(cursor.fetchall())
        except pymysql.Error as error:
            raise self._explained(error, " ".join(sql.split()[:2])) from None

    def texts(self, sql: str, parameters: Sequence[str | int] = ()) -> list[tuple[str, ...]]:
        """Return the rows as texts; null is the empty one."""
        return [tuple((cell or b"").decode() for cell in row) for row in self.query(sql, parameters)]

    def variable(self, name: str) -> str | None:
        """Return a global setting, None where the server has none of that name."""
        rows = self.texts("SHOW GLOBAL VARIABLES LIKE %s", [name])
        return rows[0][1] if rows else None

    def only_look(self, kind: str) -> None:
        """Let the session change nothing and take no question for long."""
        self.query(f"SET SESSION {_QUESTION_TIMEOUT[kind]}")
        self.query("SET SESSION TRANSACTION READ ONLY")

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if self._raw.open:
            try:
                self._raw.close()
            except pymysql.Error:  # it is gone, which is what was asked for
                return

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _explained(self, error: pymysql.Error, what: str) -> SourceError | TransientError:
        return explained(self._at, error, what)


def explained(at: str, error: pymysql.Error, what: str) -> SourceError | TransientError:
    """Return an error by its number, without the server's text: that may quote values."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if isinstance(getattr(error, "original_exception", None), ssl.SSLError):
        return SourceError(
            f"{at} and this side agree on no TLS, or its certificate does not prove that it is this host "
            "(ssl_ca names the authority that signed it; ssl_mode=verify_ca leaves the host's name out)"
        )
    if code == CR.CR_SSL_CONNECTION_ERROR:
        return SourceError(
            f"{at} offers no TLS; set it up there, or say ssl_mode=disabled in the connection string where "
            "the network between is trusted"
        )
    if code in _REFUSED:
        return SourceError(f"{at} {_REFUSED[code]}")
    if code in _PASSING or code == 0:
        return TransientError(f"{at} cannot serve {what} now (error {code})")
    return Refused(f"{at} refused {what} with error {code}; the server's manual lists these numbers", code)


def quoted(name: str) -> str:
    """Return <schema>.<table> quoted for SQL."""
    return ".".join(map(quoted_name, name.split(".")))


def quoted_name(name: str) -> str:
    """Return one name quoted for SQL; it may hold dots."""
    return f"`{name.replace('`', '``')}`"


def log_status(session: Session) -> tuple[str, ...]:
    """Return where the log ends: file, byte, and the databases it is limited to and those it leaves out.

    Raises: Refused when the user lacks REPLICATION CLIENT.
    """
    try:
        return session.texts("SHOW BINARY LOG STATUS")[0]
    except Refused as error:
        if error.code != ER.PARSE_ERROR:
            raise
    rows = session.texts("SHOW MASTER STATUS")  # MariaDB, and MySQL before 8.2
    return rows[0] if rows else ("", "0", "", "")
