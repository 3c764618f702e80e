"""A MySQL or MariaDB server as a source: connection, and what it must be set to before it may be captured.

`exchange apply` and the connector ask the same questions. Nothing is changed in the source: what is
missing is a problem whose text holds the SQL for the department to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import pymysql
from pydantic import SecretStr
from pymysql.constants import CR, ER
from pymysql.converters import encoders

from exchange.errors import ConfigError, SourceError, TransientError

WANTED_URL: Final = "mysql://user:password@host:3306/database"
KINDS: Final = {"mysql": "MySQL", "mariadb": "MariaDB"}
"""Kind of system → name of the product."""

_CONNECT_TIMEOUT_S: Final = 10
_READ_TIMEOUT_S: Final = 600
_OLDEST: Final = {"mysql": (8, 0, 14), "mariadb": (10, 5, 0)}
"""The first whose log can hold the columns' names (binlog_row_metadata)."""
_SETTINGS: Final = {
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_checksum": "CRC32",
}
"""Without checksums the library drops the end of what a table map tells."""
_OFF_SETTINGS: Final = {
    "log_bin_compress": "events would be compressed in a way that is not read here",
    "binlog_transaction_compression": "transactions would be compressed in a way that is not read here",
    "binlog_row_value_options": "changed JSON values would be logged in part only",
}
"""What must be off or empty, where a server has it, and why."""

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


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a resource needs it. columns: those of the contract, with its field; may be empty."""

    name: str
    columns: Mapping[str, str]

    @property
    def quoted(self) -> str:
        """Its name as it stands in a statement."""
        return quoted(self.name)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who we are there. Never printed: it holds the password."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str


class Refused(SourceError):
    """The server refused a statement; `code` says why. Its text may hold values and is dropped."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def address(system: str, url: SecretStr) -> Address:
    """Return the parts of a connection string.

    Raises: ConfigError when it is not of the form WANTED_URL.
    """
    try:
        parts = urlsplit(url.get_secret_value())
        port = parts.port or 3306
    except ValueError:
        parts, port = None, 0
    if parts is None or parts.scheme not in KINDS or not parts.hostname or not parts.username:
        msg = f"source {system}: its connection string is not a URL like {WANTED_URL}"
        raise ConfigError(msg)
    if parts.query or parts.fragment:  # a wish for TLS, say, must not be passed over
        msg = (
            f"source {system}: its connection string has options, and none is known; wanted: {WANTED_URL} "
            "(a ? or # in a password is written %3F or %23)"
        )
        raise ConfigError(msg)
    return Address(
        host=parts.hostname,
        port=port,
        user=unquote(parts.username),
        password=SecretStr(unquote(parts.password or "")),
        database=unquote(parts.path.lstrip("/")),
    )


class Session:
    """One connection to a server; values come as the server's texts, errors in our own words."""

    def __init__(self, system: str, where: Address) -> None:
        """Connect.

        Raises: TransientError when the server cannot be reached now; SourceError when it refuses us for good.
        """
        self.system = system
        self._at = f"source {system}: the server at {where.host}:{where.port}"
        try:
            self._raw = pymysql.connect(
                **connection_settings(where),
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


def connection_settings(where: Address) -> dict[str, Any]:
    """Return what every connection of ours is made with."""
    return {
        "host": where.host,
        "port": where.port,
        "user": where.user,
        "password": where.password.get_secret_value(),
        "charset": "utf8mb4",
        "connect_timeout": _CONNECT_TIMEOUT_S,
    }


def explained(at: str, error: pymysql.Error, what: str) -> SourceError | TransientError:
    """Return an error by its number, without the server's text: that may quote values."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _REFUSED:
        return SourceError(f"{at} {_REFUSED[code]}")
    if code in _PASSING or code == 0:
        return TransientError(f"{at} cannot serve {what} now (error {code})")
    return Refused(f"{at} refused {what} with error {code}; the server's manual lists these numbers", code)


def quoted(name: str) -> str:
    """Return <schema>.<table>, or one name, quoted for SQL."""
    return ".".join(f"`{part.replace('`', '``')}`" for part in name.split("."))


# -- what a server must be like


def problems(session: Session, kind: str, tables: Sequence[Table]) -> Iterator[str]:
    """Yield everything that keeps these tables from being captured, each with the SQL that mends it."""
    wrong_server = list(_server_problems(session, kind))
    yield from wrong_server
    if not wrong_server:
        yield from _replica_problems(session, kind)
    yield from _grant_problems(session, kind)
    yield from _filter_problems(session, tables)
    for table in tables:
        yield from _table_problems(session, table)


def _server_problems(session: Session, kind: str) -> Iterator[str]:
    ((version,),) = session.texts("SELECT VERSION()")
    found = "mariadb" if "mariadb" in version.lower() else "mysql"
    if found != kind:
        yield f"the server is {KINDS[found]}; write `kind: {found}` in topology.yaml"
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < _OLDEST[kind]:
        oldest = ".".join(map(str, _OLDEST[kind]))
        yield f"{KINDS[kind]} {version} is too old; {oldest} is needed, the first that logs columns' names"
        return
    if session.variable("log_bin") != "ON":
        yield "the server writes no binary log. In its configuration, then restart it:\n  log_bin"
    for name, wanted in _SETTINGS.items():
        seen = session.variable(name)
        if seen != wanted:
            mend = f"SET GLOBAL {name} = '{wanted}';"
            yield f"{name} is '{seen}', capture needs '{wanted}'. As administrator:\n  {mend}"
    for name, why in _OFF_SETTINGS.items():
        seen = session.variable(name)
        if seen not in (None, "", "OFF"):
            off = "''" if name == "binlog_row_value_options" else "OFF"
            yield f"{name} is '{seen}': {why}. As administrator:\n  SET GLOBAL {name} = {off};"


def _replica_problems(session: Session, kind: str) -> Iterator[str]:
    """Find a replica that does not log what it takes from its primary."""
    setting = "log_replica_updates" if session.variable("log_replica_updates") else "log_slave_updates"
    if session.variable(setting) != "OFF":
        return
    if kind == "mysql" or session.texts("SELECT @@GLOBAL.gtid_slave_pos") != [("",)]:
        yield (
            f"{setting} is OFF and the server has been a replica: what it takes from its primary is not in "
            f"its log. In its configuration, then restart it:\n  {setting}"
        )


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


def _filter_problems(session: Session, tables: Sequence[Table]) -> Iterator[str]:
    try:
        _, _, only, ignored = log_status(session)[:4]
    except Refused:  # the missing grant is told
        return
    for schema in sorted({table.name.partition(".")[0] for table in tables}):
        if (only and schema not in only.split(",")) or schema in ignored.split(","):
            yield (
                f"changes in database {schema} are left out of the log (binlog_do_db, binlog_ignore_db). "
                "Take that out of the server's configuration, then restart it"
            )


def _grant_problems(session: Session, kind: str) -> Iterator[str]:
    ((user,),) = session.texts("SELECT CURRENT_USER()")
    grants = [
        row[0].upper().partition(" ON ")[::2] for row in session.texts("SHOW GRANTS FOR CURRENT_USER()")
    ]
    held = ",".join(rights for rights, rest in grants if rest.startswith("*.*"))
    wanted = {"REPLICATION SLAVE": ("REPLICATION SLAVE", "REPLICATION REPLICA")}
    wanted["REPLICATION CLIENT"] = ("REPLICATION CLIENT", "BINLOG MONITOR")
    if kind == "mysql":
        wanted["RELOAD"] = ("RELOAD", "FLUSH_TABLES")
    name = "@".join(f"'{part}'" for part in user.rsplit("@", 1))
    for right, names in wanted.items():
        if "ALL PRIVILEGES" not in held and not any(candidate in held for candidate in names):
            yield f"user {user} lacks {right}. As administrator:\n  GRANT {right} ON *.* TO {name};"


_TABLE: Final = (
    "SELECT table_type, engine FROM information_schema.tables WHERE (table_schema, table_name) = (%s, %s)"
)
_COLUMNS: Final = (
    "SELECT column_name, column_key, data_type, column_type FROM information_schema.columns"
    " WHERE (table_schema, table_name) = (%s, %s) ORDER BY ordinal_position"
)
_CASCADE: Final = re.compile(
    r"^ *CONSTRAINT `(.*?)` FOREIGN KEY .*? (?:CASCADE|SET NULL|SET DEFAULT)\b", re.MULTILINE
)
"""In SHOW CREATE TABLE: information_schema hides constraints from who may only read."""


def _table_problems(session: Session, table: Table) -> Iterator[str]:
    where = f"table {table.name}"
    name = table.name.split(".")
    found = session.texts(_TABLE, name)
    if not found:
        yield (
            f"{where} does not exist, or the user may not read it. As administrator:\n"
            f"  GRANT SELECT ON {table.quoted} TO <user>;"
        )
        return
    if found[0][0] != "BASE TABLE":
        yield f"{where} is of kind {found[0][0]}; only ordinary tables can be captured"
        return
    columns = session.texts(_COLUMNS, name)
    for column, field in table.columns.items():
        if column not in {known[0] for known in columns}:
            yield f"{where} has no column '{column}' for field '{field}' of the contract"
    if not any(key == "PRI" for _, key, _, _ in columns):
        yield f"{where} has no primary key:\n  ALTER TABLE {table.quoted} ADD PRIMARY KEY (<columns>);"
    for column, _, kind, text in columns:
        if kind == "json" or "COMPRESSED" in text.upper():
            what = "MySQL's JSON" if kind == "json" else "a compressed column"
            yield f"{where}, column {column}: {what} is not read exactly from the log; use Debezium there"
    try:
        session.query(f"SELECT 1 FROM {table.quoted} LIMIT 0")  # noqa: S608 - quoted
        ((_, made),) = session.texts(f"SHOW CREATE TABLE {table.quoted}")
    except Refused:
        yield f"{where} may not be read. As administrator:\n  GRANT SELECT ON {table.quoted} TO <user>;"
        return
    for constraint in _CASCADE.findall(made):
        yield (
            f"{where} is changed by its foreign key {constraint} (CASCADE or SET NULL), and the server "
            "does not write such changes into its log. Make it RESTRICT, after:\n"
            f"  ALTER TABLE {table.quoted} DROP FOREIGN KEY `{constraint}`;"
        )
