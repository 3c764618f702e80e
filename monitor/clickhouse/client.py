"""The one way to ClickHouse, embedded (chDB) or a server: calls on one thread, inserts that count once."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.resources
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from exchange import log
from exchange.errors import ConfigError, PartError, TransientError
from exchange.settings import Secrets
from monitor.clickhouse.retention import Retention

DATABASE: Final = "exchange"
EMBEDDED: Final = "chdb:"
PASSWORD: Final = "EXCHANGE_CLICKHOUSE_PASSWORD"  # noqa: S105  the secret's name

SETTINGS: Final[Mapping[str, Any]] = {
    # An asynchronous insert is acknowledged before it is stored, and mixes tokens of several inserts.
    # Source: ClickHouse issues 111031 and 91596.
    "async_insert": 0,
    "insert_deduplicate": 1,
    # Queries hold no record's value, yet their log would grow for ever.
    "log_queries": 0,
}
_DEDUPLICATED: Final = ("accounts",)
_DEDUPLICATION_WINDOW: Final = 10_000

Statement = tuple[str, Mapping[str, Any]]
"""A named statement and its parameters."""

Ask = Callable[..., list[dict[str, Any]]]
"""Name and parameters of a query → its rows."""

_Result = TypeVar("_Result")
_log = log.get(__name__)


class ClickHouse:
    """A connection with its tables in place. Safe to share: every call runs on the one thread it owns.

    Named queries stand in queries.sql; their parameters are bound by ClickHouse.
    """

    stored = 0
    """How often something was: while it stays the same, the tables gain nothing."""

    def __init__(
        self,
        endpoint: str,
        secrets: Secrets | None = None,
        database: str | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.retention = retention or Retention()
        self._endpoint = endpoint
        self._secrets = secrets
        self._database = database or database_of(endpoint)
        self._queries = read_queries() | read_queries("rollups.sql")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")
        self._lock_file: int | None = None
        self._client: Client | None = None

    def open(self) -> None:
        """Connect, check the settings and bring the tables up to date.

        Raises: PartError when another process has the path, or the server refuses; TransientError when the
        server does not answer; ConfigError for unsafe settings or tables of another version.
        """
        if self._endpoint.startswith(EMBEDDED) and self._lock_file is None:
            self._lock_file = _lock(Path(self._endpoint.removeprefix(EMBEDDED)))
        self._run(self._open)

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query. Raises: TransientError."""
        return self._run(lambda: self._ask(name, **parameters))

    def together(self, asks: Callable[[Ask], _Result]) -> _Result:
        """Return what a function makes of the named queries it asks, with no insert of ours between them.

        Raises: TransientError.
        """
        return self._run(lambda: asks(self._ask))

    def carry_out(self, statements: Sequence[Statement]) -> None:
        """Run named statements in turn, with no other call between them. Raises: TransientError."""

        def run() -> None:
            for name, parameters in statements:
                self._connected().command(self._queries[name], parameters=dict(parameters))

        self._store(run)

    def command(self, sql: str, **parameters: Any) -> None:
        """Run one statement that has no name. Raises: TransientError."""
        self._store(lambda: self._connected().command(sql, parameters=parameters))

    def insert(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], token: str = ""
    ) -> None:
        """Store rows as one block; a token that the table has seen before stores nothing.

        Raises: TransientError. The same rows may then be given again with the same token.
        """
        settings = {"insert_deduplication_token": token} if token else None

        def insert() -> None:
            self._connected().insert(
                table, rows, column_names=list(columns), database=self._database, settings=settings
            )

        self._store(insert)

    def close(self) -> None:
        """Close the connection and let others have the path."""
        with suppress(TransientError):
            self._run(self._close)
        self._thread.shutdown()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _store(self, call: Callable[[], object]) -> None:
        def counted() -> None:
            try:
                call()
            finally:
                self.stored += 1  # also where it failed: something of it may be there

        self._run(counted)

    def _run(self, call: Callable[[], _Result]) -> _Result:
        try:
            return self._thread.submit(call).result()
        except ClickHouseError as error:
            # The driver's text may quote rows; its name and number do not.
            code = re.search(r"Code: (\d+)", str(error))
            msg = f"ClickHouse: {type(error).__name__}" + (f" (code {code[1]})" if code else "")
            raise TransientError(msg) from None

    def _ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return list(self._connected().query(self._queries[name], parameters=parameters).named_results())

    def _connected(self) -> Client:
        if self._client is None:
            msg = "ClickHouse is not open yet"
            raise TransientError(msg)
        return self._client

    def _open(self) -> None:
        client = self._connect()
        try:
            client.command(f"CREATE DATABASE IF NOT EXISTS {self._database}")
            client.database = self._database
            refuse_unsafe_settings(client)
            migrate(client)
            refuse_unsafe_tables(client, self._database)
            self.retention.apply(client)
        except BaseException:
            client.close()
            raise
        self._client = client

    def _connect(self) -> Client:
        if self._endpoint.startswith(EMBEDDED):
            path = self._endpoint.removeprefix(EMBEDDED)
            return clickhouse_connect.get_client(interface="chdb", path=path, settings=dict(SETTINGS))
        url = urlsplit(self._endpoint)
        if url.scheme not in ("http", "https") or not url.hostname:
            msg = "EXCHANGE_CLICKHOUSE_URL: wanted chdb:<path> or http(s)://[user@]host:port"
            raise ConfigError(msg)
        password = self._secrets.find(PASSWORD) if self._secrets else None
        return clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or (8443 if url.scheme == "https" else 8123),
            secure=url.scheme == "https",
            username=url.username or "default",
            password=password.get_secret_value() if password else "",
            database="default",
            settings=dict(SETTINGS),
        )

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def database_of(endpoint: str) -> str:
    """Return the database that an endpoint's URL names in its path, `exchange` where it names none.

    Raises: ConfigError for what is not the plain name of a database.
    """
    if endpoint.startswith(EMBEDDED):
        return DATABASE
    named = urlsplit(endpoint).path.strip("/")
    if named and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", named):
        msg = (
            "EXCHANGE_CLICKHOUSE_URL: wanted http(s)://[user@]host:port/database, with letters, digits and _ "
            "alone in the database's name"
        )
        raise ConfigError(msg)
    return named or DATABASE


def read_queries(file: str = "queries.sql") -> dict[str, str]:
    """Return the statements of a file by name."""
    text = (importlib.resources.files(__package__) / file).read_text()
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    return {name: _statements(body)[0] for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def migrate(client: Client) -> None:
    """Apply the files of ddl/ in order, each once; what was applied is kept in the table `ddl_applied`.

    Raises: ConfigError when an applied file has changed since, or is of a newer version of this program.
    """
    client.command(
        "CREATE TABLE IF NOT EXISTS ddl_applied (name String, sha256 String, at DateTime DEFAULT now()) "
        "ENGINE = MergeTree ORDER BY name"
    )
    applied = {str(name): str(digest) for name, digest in client.query(_APPLIED).result_rows}
    files = sorted(
        (entry for entry in (importlib.resources.files(__package__) / "ddl").iterdir()),
        key=lambda entry: entry.name,
    )
    if unknown := sorted(set(applied) - {file.name for file in files}):
        msg = f"ClickHouse: tables were made by a newer version of this program ({', '.join(unknown)})"
        raise ConfigError(msg)
    for file in files:
        _apply(client, file.name, file.read_text(), applied)


_APPLIED: Final = "SELECT name, sha256 FROM ddl_applied"


def _apply(client: Client, name: str, text: str, applied: Mapping[str, str]) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    if name in applied:
        if applied[name] != digest:
            msg = f"ClickHouse: {name} has changed since it was applied; put it back and add a new file"
            raise ConfigError(msg)
        return
    for statement in _statements(text):
        # A crash half-way leaves what is there; IF NOT EXISTS lets the next start go on.
        client.command(re.sub(r"^CREATE (TABLE|VIEW) ", r"CREATE \1 IF NOT EXISTS ", statement))
    client.insert("ddl_applied", [[name, digest]], column_names=["name", "sha256"], database=client.database)
    _log.info("clickhouse_ddl_applied", table=name)


def refuse_unsafe_settings(client: Client) -> None:
    """Check that inserts are synchronous and deduplicated.

    Raises: ConfigError.
    """
    names = ", ".join(f"'{name}'" for name in ("async_insert", "insert_deduplicate"))
    rows = client.query(f"SELECT name, value FROM system.settings WHERE name IN ({names})").result_rows  # noqa: S608
    found = {str(name): str(value) for name, value in rows}
    if found != {"async_insert": "0", "insert_deduplicate": "1"}:
        msg = (
            "ClickHouse: async_insert must be 0 and insert_deduplicate 1, or accounts could be lost or "
            "counted twice; a profile or constraint of the server changes them for this user"
        )
        raise ConfigError(msg)


def refuse_unsafe_tables(client: Client, database: str) -> None:
    """Check that the tables of accounts remember the tokens of their inserts.

    Raises: ConfigError.
    """
    for table in _DEDUPLICATED:
        definition = client.command(f"SHOW CREATE TABLE {database}.{table}")
        window = re.search(r"deduplication_window = (\d+)", str(definition))
        if window is None or int(window[1]) < _DEDUPLICATION_WINDOW:
            msg = (
                f"ClickHouse: table {database}.{table} has no non_replicated_deduplication_window of "
                f"{_DEDUPLICATION_WINDOW}; a repeated insert would count twice. ALTER TABLE … MODIFY SETTING"
            )
            raise ConfigError(msg)


def _statements(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    parts = re.split(r";\s*(?:\n|$)", "\n".join(lines))
    return [part.strip() for part in parts if part.strip()]


def _lock(path: Path) -> int:
    """Take the embedded engine's path; chDB's own refusal does not say why.

    Raises: PartError when another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        msg = f"ClickHouse: {path} is in use by process {owner or 'unknown'}; stop that one first"
        raise PartError(msg) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
