"""One connection to a subscriber's ClickHouse; errors in our own words, since the server's may quote rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError

from exchange.errors import ConfigError, SinkError, TransientError
from exchange.settings import Secrets

_EMBEDDED: Final = "chdb:"
_TIMEOUT_S: Final = 60
_SETTINGS: Final[Mapping[str, Any]] = {
    # An asynchronous insert is acknowledged before it is stored. Source: ClickHouse issue 111031.
    "async_insert": 0,
    # A batch is far below either, so it becomes one block: it is there as a whole or not at all.
    "min_insert_block_size_rows": 1_048_449,
    "min_insert_block_size_bytes": 268_402_944,
}
_REFUSED: Final = frozenset({36, 44, 47, 53, 57, 60, 62, 70, 80, 81, 164, 192, 194, 497, 516})
"""Codes of errors that do not pass: access, authentication, names and types that are not as wanted.

Source: ClickHouse, src/Common/ErrorCodes.cpp
"""


class ClickHouseTarget:
    """A database of one server, or of an engine in this process."""

    def __init__(self, doing: str, connection_env: str, database: str, secrets: Secrets) -> None:
        """`doing`: what an error's text begins with."""
        self._doing = doing
        self._connection_env = connection_env
        self._database = database
        self._secrets = secrets
        self._client: Client | None = None

    def open(self) -> None:
        """Connect, and make the database where it is missing.

        Raises: ConfigError without a usable address; SinkError when it is refused; TransientError when the
        server is away.
        """
        address = self._secrets.get(self._connection_env).get_secret_value()
        connect = self._connection(address)
        with self._in_our_words():
            self._client = connect()
            self._client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(self._database)}")
            self._client.database = self._database

    def command(self, statement: str, **parameters: Any) -> None:
        """Run a statement."""
        with self._in_our_words():
            self._open.command(statement, parameters=parameters)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self._in_our_words():
            return [tuple(row) for row in self._open.query(query, parameters=parameters).result_rows]

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Store rows as one block."""
        if rows:
            with self._in_our_words():
                self._open.insert(table, rows, column_names=list(columns), database=self._database)

    def close(self) -> None:
        """Close the connection. May be called twice."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _open(self) -> Client:
        if self._client is None:
            msg = f"{self._doing}: ClickHouse is not open"
            raise TransientError(msg)
        return self._client

    def _connection(self, address: str) -> Callable[[], Client]:
        if address.startswith(_EMBEDDED):
            path = address.removeprefix(_EMBEDDED)
            return lambda: clickhouse_connect.get_client(
                interface="chdb", path=path, settings=dict(_SETTINGS)
            )
        url = urlsplit(address)
        if url.scheme not in ("http", "https") or not url.hostname:
            msg = f"{self._doing}: {self._connection_env} holds no address; wanted: https://user:password@host:8443"
            raise ConfigError(msg)
        return lambda: clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            secure=url.scheme == "https",
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            database="default",
            connect_timeout=10,
            send_receive_timeout=_TIMEOUT_S,
            settings=dict(_SETTINGS),
        )

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except ClickHouseError as error:
            found = re.search(r"[Cc]ode: (\d+)", str(error))
            code = int(found[1]) if found else 0
            told = f"{self._doing}: ClickHouse: {type(error).__name__}" + (f" (code {code})" if code else "")
            if code in _REFUSED or isinstance(error, DataError):
                msg = f"{told}; the server's log has the text"
                raise SinkError(msg) from None
            raise TransientError(told) from None


def quoted(name: str) -> str:
    """Return a name quoted for SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
