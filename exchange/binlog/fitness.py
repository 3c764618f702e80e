"""What a MySQL or MariaDB server must be set to before it may be captured.

`exchange apply`, `exchange doctor` and the connector ask the same questions. Nothing is changed in the
source: what is missing is a problem whose text holds the SQL for the department to run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exchange.binlog.address import KINDS
from exchange.binlog.columns import CATALOGUE, UnknownColumn, from_catalogue
from exchange.binlog.session import Refused, Session, log_status, quoted

_OLDEST: Final = {"mysql": (8, 0, 14), "mariadb": (10, 5, 0)}
"""The first whose log can hold the columns' names (binlog_row_metadata)."""
SETTINGS: Final = {
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
IN_CONFIGURATION: Final = "-- in the server's configuration, then restart it:"
AS_ADMINISTRATOR: Final = " As administrator:"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a resource needs it. columns: those of the contract, with its field; may be empty."""

    name: str
    columns: Mapping[str, str]

    @property
    def quoted(self) -> str:
        """Its name as it stands in a statement."""
        return quoted(self.name)


def problems(session: Session, kind: str, tables: Sequence[Table]) -> Iterator[str]:
    """Yield everything that keeps these tables from being captured, each with the SQL that mends it."""
    yield from server_problems(session, kind)
    for table in tables:
        yield from table_problems(session, table)
    yield from filter_problems(session, [table.name for table in tables])


def server_problems(session: Session, kind: str) -> Iterator[str]:
    """Yield what keeps every table of a server from being captured."""
    wrong_server = list(_setting_problems(session, kind))
    yield from wrong_server
    if not wrong_server:
        yield from _replica_problems(session, kind)
    yield from _grant_problems(session, kind)


def account(session: Session) -> str:
    """Return who the session is, quoted for a GRANT."""
    ((user,),) = session.texts("SELECT CURRENT_USER()")
    return "@".join(f"'{part}'" for part in user.rsplit("@", 1))


def _setting_problems(session: Session, kind: str) -> Iterator[str]:
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
        yield f"the server writes no binary log.{AS_ADMINISTRATOR}\n  {IN_CONFIGURATION} log_bin=ON"
    for name, wanted in SETTINGS.items():
        seen = session.variable(name)
        if seen != wanted:
            mend = f"SET GLOBAL {name} = '{wanted}';"
            yield f"{name} is '{seen}', capture needs '{wanted}'.{AS_ADMINISTRATOR}\n  {mend}"
    for name, why in _OFF_SETTINGS.items():
        seen = session.variable(name)
        if seen not in (None, "", "OFF"):
            off = "''" if name == "binlog_row_value_options" else "OFF"
            yield f"{name} is '{seen}': {why}.{AS_ADMINISTRATOR}\n  SET GLOBAL {name} = {off};"


def _replica_problems(session: Session, kind: str) -> Iterator[str]:
    """Find a replica that does not log what it takes from its primary."""
    setting = "log_replica_updates" if session.variable("log_replica_updates") else "log_slave_updates"
    if session.variable(setting) != "OFF":
        return
    if kind == "mysql" or session.texts("SELECT @@GLOBAL.gtid_slave_pos") != [("",)]:
        yield (
            f"{setting} is OFF and the server has been a replica: what it takes from its primary is not in "
            f"its log.{AS_ADMINISTRATOR}\n  {IN_CONFIGURATION} {setting}=ON"
        )


def filter_problems(session: Session, tables: Sequence[str]) -> Iterator[str]:
    """Yield the databases of these tables, <schema>.<table>, whose changes are kept out of the log."""
    try:
        _, _, only, ignored = log_status(session)[:4]
    except Refused:  # the missing grant is told
        return
    for schema in sorted({table.partition(".")[0] for table in tables}):
        if (only and schema not in only.split(",")) or schema in ignored.split(","):
            yield (
                f"changes in database {schema} are left out of the log (binlog_do_db, binlog_ignore_db)."
                f"{AS_ADMINISTRATOR}\n  {IN_CONFIGURATION} no binlog_do_db, no binlog_ignore_db"
            )


def _grant_problems(session: Session, kind: str) -> Iterator[str]:
    grants = [
        row[0].upper().partition(" ON ")[::2] for row in session.texts("SHOW GRANTS FOR CURRENT_USER()")
    ]
    held = ",".join(rights for rights, rest in grants if rest.startswith("*.*"))
    wanted = {"REPLICATION SLAVE": ("REPLICATION SLAVE", "REPLICATION REPLICA")}
    wanted["REPLICATION CLIENT"] = ("REPLICATION CLIENT", "BINLOG MONITOR")
    if kind == "mysql":
        wanted["RELOAD"] = ("RELOAD", "FLUSH_TABLES")
    user = account(session)
    for right, names in wanted.items():
        if "ALL PRIVILEGES" not in held and not any(candidate in held for candidate in names):
            yield f"user {user} lacks {right}.{AS_ADMINISTRATOR}\n  GRANT {right} ON *.* TO {user};"


# -- what a table must be like


_TABLE: Final = (
    "SELECT table_type, engine FROM information_schema.tables WHERE (table_schema, table_name) = (%s, %s)"
)
_COLUMNS: Final = (
    "SELECT column_name, column_key FROM information_schema.columns"
    " WHERE (table_schema, table_name) = (%s, %s) ORDER BY ordinal_position"
)
_CASCADE: Final = re.compile(
    r"^ *CONSTRAINT `(.*?)` FOREIGN KEY .*? (?:CASCADE|SET NULL|SET DEFAULT)\b", re.MULTILINE
)
"""In SHOW CREATE TABLE: information_schema hides constraints from who may only read."""
_OLD_MOMENT: Final = "mariadb-5.3"
"""What the server adds to the type of a date or time in the layout of before MySQL 5.6."""
_DEFINITION: Final = re.compile(r"^ *`((?:[^`]|``)*)` .*$", re.MULTILINE)
_COMPRESSED: Final = re.compile(r" /\*M?!\d+ COMPRESSED[^*]*\*/")


def table_problems(session: Session, table: Table) -> Iterator[str]:
    """Yield what keeps one table from being captured."""
    where = f"table {table.name}"
    name = table.name.split(".")
    grant = f"{AS_ADMINISTRATOR}\n  GRANT SELECT ON {table.quoted} TO {account(session)};"
    found = session.texts(_TABLE, name)
    if not found:
        yield f"{where} does not exist, or the user may not read it.{grant}"
        return
    if found[0][0] != "BASE TABLE":
        yield f"{where} is of kind {found[0][0]}; only ordinary tables can be captured"
        return
    columns = session.texts(_COLUMNS, name)
    for column, field in table.columns.items():
        if column not in {known[0] for known in columns}:
            yield f"{where} has no column '{column}' for field '{field}' of the contract"
    if not any(key == "PRI" for _, key in columns):
        yield f"{where} has no primary key:\n  ALTER TABLE {table.quoted} ADD PRIMARY KEY (<columns>);"
    try:
        session.query(f"SELECT 1 FROM {table.quoted} LIMIT 0")  # noqa: S608 - quoted
        ((_, made),) = session.texts(f"SHOW CREATE TABLE {table.quoted}")
    except Refused:
        yield f"{where} may not be read.{grant}"
        return
    yield from _column_problems(session, table, made)
    for constraint in _CASCADE.findall(made):
        yield (
            f"{where} is changed by its foreign key {constraint} (CASCADE or SET NULL), and the server "
            "does not write such changes into its log. Make it RESTRICT, after:\n"
            f"  ALTER TABLE {table.quoted} DROP FOREIGN KEY `{constraint}`;"
        )


def _column_problems(session: Session, table: Table, made: str) -> Iterator[str]:
    """made: the statement that made the table, as the server tells it."""
    where, alter = f"table {table.name}", f"ALTER TABLE {table.quoted}"
    lines = {found.group(1): found.group().rstrip(",").strip() for found in _DEFINITION.finditer(made)}
    for *row, text in session.texts(CATALOGUE.replace(" FROM", ", column_type FROM"), table.name.split(".")):
        name, kind = row[:2]
        if kind == "json":
            yield f"{where}, column {name}: MySQL's JSON is not read exactly from the log; use Debezium there"
        elif found := _COMPRESSED.search(lines.get(name, "")):
            plain = lines[name].replace(found.group(), "")
            why = "a compressed column is not read exactly from the log"
            yield f"{where}, column {name}: {why}.{AS_ADMINISTRATOR}\n  {alter} MODIFY {plain};"
        elif _OLD_MOMENT in text:
            why = "it has the layout of before MySQL 5.6, which is not read from the log"
            mend = f"SET GLOBAL mysql56_temporal_format = ON; {alter} FORCE;"
            yield f"{where}, column {name}: {why}.{AS_ADMINISTRATOR}\n  {mend}"
        else:
            yield from _unknown(where, alter, row)


def _unknown(where: str, alter: str, row: Sequence[str]) -> Iterator[str]:
    try:
        from_catalogue(row)
    except UnknownColumn as problem:
        mend = f".{AS_ADMINISTRATOR}\n  {alter} CONVERT TO CHARACTER SET utf8mb4;"
        yield f"{where}: {problem}{mend if 'character set' in str(problem) else ''}"
