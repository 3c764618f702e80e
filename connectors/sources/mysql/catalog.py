"""What the server's catalogue says: may these tables be captured, how do they look, where is the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from connectors.sources.mysql.place import Mark, file_number, place, sorted_gtids
from connectors.sources.mysql.snapshot import KEY_TYPES, SourceTable
from exchange.binlog.address import Address
from exchange.binlog.columns import CATALOGUE, UnknownColumn, from_catalogue
from exchange.binlog.fitness import Table, filter_problems, server_problems, table_problems
from exchange.binlog.session import Refused, Session, log_status
from exchange.errors import GapError, SourceError, TransientError

_KEY: Final = (
    "SELECT column_name, coalesce(collation_name, '') FROM information_schema.key_column_usage"
    " JOIN information_schema.columns USING (table_schema, table_name, column_name)"
    " WHERE (table_schema, table_name) = (%s, %s) AND constraint_name = 'PRIMARY'"
    " ORDER BY key_column_usage.ordinal_position"
)
_COLLATIONS: Final = {
    "mariadb": "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability",
    "mysql": "SELECT id, character_set_name FROM information_schema.collations",
}


class Catalog:
    """Questions to one server."""

    def __init__(self, system: str, kind: str, where: Address) -> None:
        self.system = system
        self.kind = kind
        self.where = where

    def connect(self) -> Session:
        """Return a new connection."""
        return Session(self.system, self.where)

    def look_up(
        self, session: Session, names: Sequence[str]
    ) -> tuple[dict[str, SourceTable], dict[str, str]]:
        """Return the tables that can be captured, by <schema>.<table>, and why the others cannot.

        Raises: SourceError naming everything that keeps all of them from being captured, and why.
        """
        if wrong := [*server_problems(session, self.kind), *filter_problems(session, names)]:
            raise SourceError("\n".join(f"source {self.system}: {problem}" for problem in wrong))
        tables: dict[str, SourceTable] = {}
        problems: dict[str, str] = {}
        for name in names:
            try:
                if found := list(table_problems(session, Table(name, {}))):
                    problems[name] = "; ".join(found)
                else:
                    tables[name] = _table(session, name)
            except UnknownColumn as problem:
                problems[name] = f"table {name}: {problem}"
        return tables, problems

    def collations(self, session: Session) -> dict[int, str]:
        """Return the character set of each collation, by its id."""
        return {int(number): charset for number, charset in session.texts(_COLLATIONS[self.kind]) if number}

    def identity(self, session: Session) -> str:
        """Return what names this server."""
        if self.kind == "mysql":
            return f"server {session.variable('server_uuid')}"
        return f"server {session.variable('server_id')} domain {session.variable('gtid_domain_id')}"

    def files(self, session: Session) -> dict[str, int]:
        """Return the log's files with their sizes in bytes, oldest first."""
        return {row[0]: int(row[1]) for row in session.texts("SHOW BINARY LOGS")}

    def gtids(self, session: Session, file: str, byte: int) -> tuple[str, ...] | None:
        """Return the last GTID of each domain before a place, None where this cannot be asked."""
        if self.kind == "mysql":
            return None
        ((told,),) = session.texts("SELECT BINLOG_GTID_POS(%s, %s)", [file, byte])
        return sorted_gtids(told)

    def begin_snapshot(self, session: Session) -> tuple[int, Mark]:
        """Begin a consistent snapshot; return the place of the log at that very moment.

        MariaDB tells the place of any snapshot. MySQL does not: all writes wait for the blink between the
        two statements (FLUSH TABLES WITH READ LOCK, which also waits for commits under way).
        """
        session.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        if self.kind == "mariadb":
            session.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            told = session.texts("SHOW STATUS LIKE 'binlog_snapshot_%'")
            named = {name.lower(): value for name, value in told}
            file, byte = named["binlog_snapshot_file"], int(named["binlog_snapshot_position"])
        else:
            session.query("FLUSH TABLES WITH READ LOCK")
            session.query("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            file, place_in_file = log_status(session)[:2]
            byte = int(place_in_file)
            session.query("UNLOCK TABLES")
        if not file:
            msg = f"source {self.system}: the server writes no binary log"
            raise GapError(msg)
        mark = Mark(file.rpartition(".")[0], 0, self.gtids(session, file, byte) or ())
        return place(file_number(file), byte), mark

    def refuse_prepared(self, session: Session) -> None:
        """See that no XA transaction is prepared: its changes may stand in the log before the capture.

        Raises: TransientError.
        """
        try:
            waiting = len(session.query("XA RECOVER"))
        except Refused:  # MySQL shows them to few; one that is committed later halts the stream
            return
        if waiting:
            msg = (
                f"source {self.system}: {waiting} prepared XA transactions wait for their end (XA RECOVER); "
                "the snapshot begins once each is committed or rolled back"
            )
            raise TransientError(msg)


def file_name(files: Mapping[str, int], base: str, number: int) -> str:
    """Return the name of a log file as the server writes it; the caller has made sure that it is there."""
    names = (name for name in files if name.rpartition(".")[0] == base and file_number(name) == number)
    return next(names, f"{base}.{number:06d}")


def _table(session: Session, name: str) -> SourceTable:
    rows = session.texts(CATALOGUE, name.split("."))
    columns = tuple(map(from_catalogue, rows))
    key = session.texts(_KEY, name.split("."))
    kinds = {row[0]: row[1] for row in rows}  # as the server calls them: a uuid is not ordered as its bytes
    for column, _ in key:
        if kinds[column] not in KEY_TYPES:
            msg = f"column {column} of the primary key is {kinds[column]}, which gives no order to read by"
            raise UnknownColumn(msg)
    collations = {row[0]: row[1] for row in key}
    return SourceTable(name, columns, tuple(collations), collations)
