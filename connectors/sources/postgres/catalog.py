"""What the source's catalogue says: may these tables be captured, through which publication and slot.

Set-up order: replica identity and primary key → publication (made by `exchange apply`) → slot → snapshot →
stream. A slot older than its publication fails, and a published table without primary key makes the
department's own UPDATE and DELETE fail, so both are refused before anything is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from connectors.sources.postgres.libpq import Cells, Connection, lsn_number
from connectors.sources.postgres.pgoutput import Column, Relation
from connectors.sources.postgres.types import CatalogType
from exchange.errors import SourceError

_OLDEST_VERSION: Final = 150_000
"""PostgreSQL 15 is the first whose pg_publication_tables shows column lists and row filters."""

_TABLE: Final = """
    SELECT c.oid, c.relkind, c.relreplident, p.rowfilter, p.pubname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_publication_tables p ON (p.pubname, p.schemaname, p.tablename) = ($1, n.nspname, c.relname)
    WHERE (n.nspname, c.relname) = ($2, $3)
"""
_IDENTITIES: Final = """
    SELECT p.schemaname || '.' || p.tablename, c.oid || '.' || coalesce(r.oid, q.oid)
    FROM pg_publication_tables p
    JOIN pg_publication q ON q.pubname = p.pubname
    JOIN pg_namespace n ON n.nspname = p.schemaname
    JOIN pg_class c ON (c.relnamespace, c.relname) = (n.oid, p.tablename)
    LEFT JOIN pg_publication_rel r ON (r.prpubid, r.prrelid) = (q.oid, c.oid)
    WHERE p.pubname = $1
"""
_LSN_NOW: Final = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
"""
_COLUMNS: Final = """
    SELECT a.attname, a.atttypid, a.atttypmod, format_type(a.atttypid, -1),
           array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum)
    FROM pg_attribute a
    JOIN pg_publication_tables p ON (p.pubname, p.schemaname, p.tablename) = ($1, $2, $3)
    LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = $4::oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (p.attnames)
    ORDER BY a.attnum
"""
_KEY_SIZE: Final = "SELECT indnkeyatts FROM pg_index WHERE indrelid = $1::oid AND indisprimary"
_LEAVES: Final = """
    SELECT c.relname FROM pg_partition_tree($1::oid::regclass) t JOIN pg_class c ON c.oid = t.relid
    WHERE t.isleaf AND c.relreplident <> $2
"""
_TYPE: Final = """
    SELECT t.typtype, t.typbasetype, t.typtypmod, coalesce(e.oid, 0), coalesce(e.typdelim, ',')
    FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
    WHERE t.oid = $1::oid
"""
_SLOT: Final = """
    SELECT plugin, database = current_database(), active, confirmed_flush_lsn, wal_status
    FROM pg_replication_slots WHERE slot_name = $1
"""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table that may be captured: its shape now, and its primary key in index order with types.

    identity: <oid of the table>.<oid of its entry in the publication>; see marks.py.
    """

    name: str
    partitioned: bool
    relation: Relation
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    identity: str = ""


@dataclass(frozen=True, slots=True)
class SlotState:
    """A replication slot as the server reports it. `confirmed`: what is before it is forgotten."""

    ours: bool
    active: bool
    confirmed: int
    lost: bool


class Catalog:
    """Questions to one source's catalogue, each on a connection of its own: they are rare."""

    def __init__(self, system: str, dsn: SecretStr, publication: str) -> None:
        self.system = system
        self.publication = publication
        self._dsn = dsn
        self._types: dict[int, CatalogType | None] = {}

    def connect(self) -> Connection:
        """Return a new ordinary connection to the source."""
        return Connection(self.system, self._dsn)

    def tables(self, names: Sequence[str]) -> dict[str, SourceTable]:
        """Return the tables to capture, by <schema>.<table>.

        Raises: SourceError naming every table that cannot be captured, and why.
        """
        usable, problems = self.look_up(names)
        if problems:
            raise SourceError(f"source {self.system}: " + "; ".join(problems.values()))
        return usable

    def look_up(self, names: Sequence[str]) -> tuple[dict[str, SourceTable], dict[str, str]]:
        """Return the tables that can be captured, and of each other one the reason why it cannot.

        Raises: SourceError when none can, for a reason of the server's or the publication's.
        """
        with self.connect() as connection:
            if connection.raw.server_version < _OLDEST_VERSION:
                found = connection.raw.server_version // 10_000
                msg = f"source {self.system}: PostgreSQL {found} is too old; 15 is needed"
                raise SourceError(msg)
            if connection.query("SHOW wal_level") != [(b"logical",)]:
                msg = f"source {self.system}: wal_level is not logical; set it and restart PostgreSQL"
                raise SourceError(msg)
            self._check_publication(connection)
            identities = self.identities(connection)
            looked_up = {name: self._table(connection, name) for name in names}
        usable = {
            name: replace(table, identity=identities.get(name, ""))
            for name, table in looked_up.items()
            if isinstance(table, SourceTable)
        }
        return usable, {name: problem for name, problem in looked_up.items() if isinstance(problem, str)}

    def describe(self, connection: Connection, name: str) -> SourceTable:
        """Return a table as it is on a connection at this moment.

        Raises: SourceError saying why it cannot be captured.
        """
        table = self._table(connection, name)
        if isinstance(table, str):
            raise SourceError(table)
        return replace(table, identity=self.identities(connection).get(name, ""))

    def identities(self, connection: Connection) -> dict[str, str]:
        """Return the identity of every table in the publication."""
        rows = connection.query(_IDENTITIES, [self.publication])
        return {(name or b"").decode(): (identity or b"").decode() for name, identity in rows}

    def lsn_now(self) -> int:
        """Return the log position at which the next record will be written."""
        with self.connect() as connection:
            ((lsn,),) = connection.query(_LSN_NOW)
        return lsn_number(lsn or b"0/0")

    def slot(self, name: str) -> SlotState | None:
        """Return a slot's state, or None when there is none of that name."""
        with self.connect() as connection:
            rows = connection.query(_SLOT, [name])
        if not rows:
            return None
        ((plugin, same_database, active, confirmed, wal_status),) = rows
        ours = plugin == b"pgoutput" and same_database == b"t"
        return SlotState(ours, active == b"t", lsn_number(confirmed or b"0/0"), wal_status == b"lost")

    def database(self) -> str:
        """Return the database's name."""
        with self.connect() as connection:
            return connection.raw.db.decode()

    def type_of(self, oid: int) -> CatalogType | None:
        """Return a type that is not built in, or None when the source no longer has it."""
        if oid not in self._types:
            with self.connect() as connection:
                rows = connection.query(_TYPE, [str(oid)])
            self._types[oid] = _catalog_type(oid, rows[0]) if rows else None
        return self._types[oid]

    def _check_publication(self, connection: Connection) -> None:
        rows = connection.query(
            "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate "
            "FROM pg_publication WHERE pubname = $1",
            [self.publication],
        )
        if not rows:
            msg = (
                f"source {self.system}: publication {self.publication} does not exist; "
                "run `exchange apply`, which makes it"
            )
            raise SourceError(msg)
        if rows[0][0] != b"t":
            msg = (
                f"source {self.system}: publication {self.publication} leaves operations out; it must have "
                "insert, update, delete and truncate"
            )
            raise SourceError(msg)

    def _table(self, connection: Connection, name: str) -> SourceTable | str:
        """Return the table, or the reason why it cannot be captured."""
        schema, _, table = name.partition(".")
        rows = connection.query(_TABLE, [self.publication, schema, table])
        if not rows:
            return f"table {name} does not exist"
        oid, kind, identity, row_filter, published = ((cell or b"").decode() for cell in rows[0])
        key_size = connection.query(_KEY_SIZE, [oid])
        if not key_size:
            return (
                f"table {name} has no primary key; give it one (publishing it without would make the "
                "department's own UPDATE and DELETE fail)"
            )
        if identity not in ("d", "f"):
            return (
                f"table {name} has replica identity {'NOTHING' if identity == 'n' else 'USING INDEX'}; "
                f"run ALTER TABLE {name} REPLICA IDENTITY DEFAULT or FULL"
            )
        if not published:
            return f"table {name} is not in publication {self.publication}; run `exchange apply`"
        if row_filter:
            return f"table {name} is published with a row filter (WHERE); the bus must see every row"
        if kind == "p" and connection.query(_LEAVES, [oid, identity]):
            return f"table {name} has partitions with another replica identity; make them alike"
        columns = connection.query(_COLUMNS, [self.publication, schema, table, oid])
        if sum(column[4] is not None for column in columns) != int(key_size[0][0] or 0):
            return f"table {name}: publication {self.publication} leaves out a column of the primary key"
        return _source_table(name, kind == "p", int(oid), identity, columns)

    def key_now(self, name: str) -> tuple[str, ...]:
        """Return the primary key that a table has at this moment."""
        return self.tables([name])[name].key


def _source_table(name: str, partitioned: bool, oid: int, identity: str, columns: list[Cells]) -> SourceTable:
    schema, _, table = name.partition(".")
    texts = [tuple((cell or b"").decode() for cell in column) for column in columns]
    key = sorted((column for column in texts if column[4]), key=lambda column: int(column[4]))
    shape = tuple(
        Column(column[0], int(column[1]), int(column[2]), identity=bool(column[4])) for column in texts
    )
    relation = Relation(oid, schema, table, identity, shape)
    return SourceTable(name, partitioned, relation, tuple(k[0] for k in key), tuple(k[3] for k in key))


def _catalog_type(oid: int, row: Cells) -> CatalogType:
    kind, base, base_typmod, element, delimiter = ((cell or b"").decode() for cell in row)
    return CatalogType(oid, kind, int(base), int(base_typmod), int(element), delimiter)
