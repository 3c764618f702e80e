"""The source side of `exchange apply`: a publication of exactly the declared tables in each PostgreSQL.

The source belongs to its department: nothing but the publication is touched. Whatever else is missing is a
problem whose text holds the SQL for the department to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row

from exchange.apply.ledger import Made
from exchange.contract import Contract
from exchange.encoding.avroname import avro_name
from exchange.errors import ConfigError, SourceError
from exchange.settings import Secrets
from exchange.suggest import did_you_mean
from exchange.topology.model import Topology

_CONNECT_TIMEOUT_S: Final = 10
_OPERATIONS: Final = "insert, update, delete, truncate"

_TABLE: Final = """
SELECT c.relkind::text AS kind, c.relpersistence::text AS persistence, c.relreplident::text AS identity,
       c.relrowsecurity AND NOT pg_has_role(c.relowner, 'USAGE')
         AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS rows_hidden,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
       ARRAY(SELECT attname::text FROM pg_attribute
             WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
               AND attlen = -1 AND attstorage <> 'p') AS long_columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
_SERVER: Final = """
SELECT current_setting('wal_level') AS wal_level, current_user::text AS "user",
       has_database_privilege(current_database(), 'CREATE') AS may_create
"""
_PUBLICATION: Final = """
SELECT p.puballtables AS everything,
       p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS complete,
       pg_has_role(p.pubowner, 'USAGE') AS owned,
       EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid
               AND coalesce(to_jsonb(r) ->> 'prqual', to_jsonb(r) ->> 'prattrs') IS NOT NULL) AS narrowed,
       ARRAY(SELECT n.nspname || '.' || c.relname FROM pg_publication_rel r
             JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE r.prpubid = p.oid ORDER BY 1) AS tables
FROM pg_publication p WHERE p.pubname = %s
"""
_BY_SCHEMA: Final = """
SELECT EXISTS (SELECT FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid
               WHERE p.pubname = %s) AS by_schema
"""
_MARK: Final = """
SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || oid::text AS mark
FROM pg_publication WHERE pubname = %s
"""
_SLOT: Final = """
SELECT active FROM pg_replication_slots
WHERE slot_name = %s AND plugin = 'pgoutput' AND database = current_database()
"""
_FIRST_WITH_SCHEMAS: Final = 150000
"""PostgreSQL 15 brought FOR TABLES IN SCHEMA, and with it the table pg_publication_namespace."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as a resource needs it.

    columns: Avro name → field of the contract; scoped: a view shows some rows only.
    """

    resource: str
    name: str
    columns: Mapping[str, str]
    scoped: bool

    @property
    def identifier(self) -> sql.Identifier:
        """Its quoted name."""
        return sql.Identifier(*self.name.split("."))

    @property
    def quoted(self) -> str:
        """Its name as it stands in a statement."""
        return ".".join(f'"{part}"' for part in self.name.split("."))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A system's publication as the topology wants it."""

    system: str
    connection_env: str
    publication: str
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Publication:
    """What is to be done: `before` and `after` are the tables; `statement` is empty where nothing is."""

    wanted: Wanted
    before: tuple[str, ...] | None
    after: tuple[str, ...]
    statement: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a source showed. A problem's SQL, if there is any, stands in the lines after its first.

    of_tables: <schema>.<table> → problems.
    """

    publication: Publication
    of_server: tuple[str, ...]
    of_tables: Mapping[str, list[str]]
    of_publication: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """All of them."""
        return [*self.of_server, *chain(*self.of_tables.values()), *self.of_publication]


def wanted(topology: Topology, contracts: Mapping[str, Contract]) -> tuple[Wanted, ...]:
    """Return the publications of a valid topology; a system without resources needs none."""
    return tuple(
        Wanted(
            system=name,
            connection_env=system.connection_env,
            publication=topology.publication(name),
            tables=tuple(_tables(topology, contracts, name)),
        )
        for name, system in sorted(topology.databases().items())
        if system.kind == "postgres" and topology.resources_of(name)
    )


def _tables(topology: Topology, contracts: Mapping[str, Contract], system: str) -> Iterator[Table]:
    for name, resource in sorted(topology.resources_of(system).items(), key=lambda item: item[1].table):
        fields = contracts[topology.contract_name(name)].fields
        yield Table(
            resource=name,
            name=resource.table,
            columns={field.source: field.name for field in fields.values()},
            scoped=any(view.rows for view in topology.views_of(name).values()),
        )


def survey(wish: Wanted, secrets: Secrets) -> Publication:
    """Return what must be done for a system's publication.

    Raises:
        ConfigError: the connection string is missing.
        SourceError: the database does not let us in, or lacks something; every problem with its SQL.
    """
    with connect(wish, secrets) as connection:
        seen = look(wish, connection)
    if seen.problems:
        raise SourceError("\n".join(f"system {wish.system}: {problem}" for problem in seen.problems))
    return seen.publication


def look(wish: Wanted, connection: psycopg.Connection[DictRow]) -> Seen:
    """Return what must be done for a system's publication, and what is in its way."""
    with connection.cursor() as cursor:
        server = _one(cursor.execute(_SERVER))
        of_server, of_tables = list(_server_problems(server)), {}
        owned = True
        for table in wish.tables:
            found = cursor.execute(_TABLE, table.name.split(".")).fetchone()
            of_tables[table.name] = list(_table_problems(table, found, server["user"]))
            owned = owned and found is not None and found["owned"]
        now = cursor.execute(_PUBLICATION, [wish.publication]).fetchone()
        if now is not None and connection.info.server_version >= _FIRST_WITH_SCHEMAS:
            now |= _one(cursor.execute(_BY_SCHEMA, [wish.publication]))
        planned = _publication(wish, now, connection)
    of_publication: list[str] = []
    if planned.statement and not of_server and not any(of_tables.values()):
        of_publication += _right_problems(planned, server, now, owned=owned)
    return Seen(planned, tuple(of_server), of_tables, tuple(of_publication))


def carry_out(planned: Publication, secrets: Secrets) -> None:
    """Create or alter the publication.

    Raises: SourceError when PostgreSQL refuses.
    """
    with connect(planned.wanted, secrets) as connection:
        try:
            with connection.transaction():
                for statement in planned.statement.splitlines():
                    connection.execute(sql.SQL(statement))
        except psycopg.Error as error:
            msg = (
                f"system {planned.wanted.system}: publication {planned.wanted.publication} was refused "
                f"({_told(error)}). To be run by the owner of the tables:\n  {planned.statement}"
            )
            raise SourceError(msg) from None


def names(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield kind and name of what a valid topology has in PostgreSQL: publications and slots."""
    for name, system in topology.databases().items():
        if system.kind == "postgres" and topology.resources_of(name):
            yield "publication", topology.publication(name)
            yield "slot", topology.slot(name)


def mark(wish: Wanted, secrets: Secrets) -> str:
    """Return what only this very publication has: the server's identifier and its oid; empty: there is none.

    Raises: as `survey`.
    """
    with connect(wish, secrets) as connection:
        found = connection.execute(_MARK, [wish.publication]).fetchone()
    return str(found["mark"]) if found is not None else ""


def there(wish: Wanted, secrets: Secrets, made: Iterable[Made]) -> list[Made]:
    """Return which of the publications and slots that were made in a database are still there.

    Raises: as `survey`.
    """
    with connect(wish, secrets) as connection:
        return [one for one in made if _is_there(one, connection)]


def drop(made: Made, secrets: Secrets) -> None:
    """Drop a publication or a slot.

    Raises: SourceError when it is in use, or PostgreSQL refuses; as `survey`.
    """
    wish = Wanted(made.system, made.connection_env, "", ())
    with connect(wish, secrets) as connection:
        if not _is_there(made, connection):
            return
        try:
            if made.kind == "slot":
                connection.execute("SELECT pg_drop_replication_slot(%s)", [made.name])
            else:
                connection.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(made.name)))
        except psycopg.errors.ObjectInUse:
            msg = (
                f"system {made.system}: slot {made.name} is being read; stop "
                f"`exchange connect {made.system}` and run this again"
            )
            raise SourceError(msg) from None
        except psycopg.Error as error:
            msg = f"system {made.system}: {made.kind} {made.name} cannot be dropped ({_told(error)})"
            raise SourceError(msg) from None


def _is_there(made: Made, connection: psycopg.Connection[DictRow]) -> bool:
    if made.kind == "slot":
        return connection.execute(_SLOT, [made.name]).fetchone() is not None
    found = connection.execute(_MARK, [made.name]).fetchone()
    return found is not None and found["mark"] == made.mark


def connect(wish: Wanted, secrets: Secrets) -> psycopg.Connection[DictRow]:
    """Return a connection to a system's database.

    Raises: ConfigError when the connection string is missing or malformed, SourceError when it doesn't work.
    """
    where = f"system {wish.system}: connection from {wish.connection_env}"
    dsn = secrets.find(wish.connection_env)
    if dsn is None:
        msg = (
            f"system {wish.system}: no connection string: set the environment variable {wish.connection_env} "
            "to something like postgresql://user:password@host:5432/database"
        )
        raise ConfigError(msg)
    try:
        return psycopg.connect(
            dsn.get_secret_value(),
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="exchange-apply",
            autocommit=True,
            row_factory=dict_row,
        )
    except psycopg.OperationalError as error:
        msg = f"{where}: PostgreSQL does not let us in: {_told(error)}"
        raise SourceError(msg) from None
    except psycopg.Error:  # its text quotes the connection string, password and all
        msg = f"{where}: not a connection string; wanted: postgresql://user:password@host:5432/database"
        raise ConfigError(msg) from None


def _told(error: psycopg.Error) -> str:
    """Return libpq's own words: host, user and reason; it does not quote the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _one(cursor: psycopg.Cursor[DictRow]) -> DictRow:
    row = cursor.fetchone()
    if row is None:
        msg = "PostgreSQL answered a query about itself with nothing"
        raise SourceError(msg)
    return row


def _server_problems(server: Mapping[str, Any]) -> Iterator[str]:
    if server["wal_level"] != "logical":
        yield (
            f"wal_level is '{server['wal_level']}', capture needs 'logical'. As superuser, then restart it:\n"
            "  ALTER SYSTEM SET wal_level = 'logical';"
        )


def _table_problems(table: Table, found: Mapping[str, Any] | None, user: str) -> Iterator[str]:
    where = f"table {table.name} (resource {table.resource})"
    if found is None:
        yield f"{where} does not exist, or user {user} may not see its schema"
        return
    if found["kind"] != "r":
        yield f"{where} is not an ordinary table; views and partitioned tables cannot be captured"
        return
    if found["persistence"] != "p":
        yield (
            f"{where} is not logged, so its changes cannot be captured. As its owner:\n"
            f"  ALTER TABLE {table.quoted} SET LOGGED;"
        )
    if found["rows_hidden"]:
        yield (
            f"{where} has row-level security, which would hide rows from user {user} while it is read. "
            f'As superuser:\n  ALTER ROLE "{user}" BYPASSRLS;'
        )
    for column, field in table.columns.items():
        if column not in map(avro_name, found["columns"]):
            known = did_you_mean(column, map(avro_name, found["columns"]))
            yield f"{where} has no column for field '{field}' of the contract: {known}"
    if not found["readable"]:
        schema = table.quoted.split(".")[0]
        yield (
            f"{where} may not be read by user {user}. As its owner:\n"
            f'  GRANT USAGE ON SCHEMA {schema} TO "{user}"; GRANT SELECT ON {table.quoted} TO "{user}";'
        )
    if not found["has_key"]:
        yield (
            f"{where} has no primary key; published without one, the department's own UPDATEs would fail. "
            f"As its owner:\n  ALTER TABLE {table.quoted} ADD PRIMARY KEY (<columns that name a row>);"
        )
    long_columns = sorted(set(map(avro_name, found["long_columns"])) & set(table.columns))
    if found["identity"] != "f" and (table.scoped or long_columns):
        why = (
            "a view shows some of its rows only, so the row before a change is needed"
            if table.scoped
            else f"unchanged long values ({', '.join(long_columns[:5])}) would be missing from its changes"
        )
        yield (
            f"{where} needs REPLICA IDENTITY FULL: {why}. As its owner:\n"
            f"  ALTER TABLE {table.quoted} REPLICA IDENTITY FULL;"
        )


def _publication(
    wish: Wanted, now: Mapping[str, Any] | None, connection: psycopg.Connection[DictRow]
) -> Publication:
    after = tuple(sorted(table.name for table in wish.tables))
    names = sql.SQL(", ").join(table.identifier for table in wish.tables)
    publication = sql.Identifier(wish.publication)
    if now is None:
        create = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {})")
        statement = create.format(publication, names, sql.Literal(_OPERATIONS))
        return Publication(wish, None, after, statement.as_string(connection))
    statements = []
    if tuple(sorted(now["tables"])) != after or now["narrowed"] or now.get("by_schema") or now["everything"]:
        statements.append(sql.SQL("ALTER PUBLICATION {} SET TABLE {}").format(publication, names))
    if not now["complete"]:
        statements.append(
            sql.SQL("ALTER PUBLICATION {} SET (publish = {})").format(publication, sql.Literal(_OPERATIONS))
        )
    text = "\n".join(statement.as_string(connection) for statement in statements)
    return Publication(wish, tuple(sorted(now["tables"])), after, text)


def _right_problems(
    planned: Publication, server: Mapping[str, Any], now: Mapping[str, Any] | None, *, owned: bool
) -> Iterable[str]:
    allowed = server["may_create"] if now is None else now["owned"]
    if now is not None and now["everything"]:
        yield (
            f"publication {planned.wanted.publication} is FOR ALL TABLES; only the declared ones are wanted. "
            f"As its owner:\n  DROP PUBLICATION {planned.wanted.publication};"
        )
    elif not (allowed and owned):
        yield (
            f"user {server['user']} may not set up publication {planned.wanted.publication}: it takes the "
            f"tables' owner, with CREATE on the database. As that owner:\n  {planned.statement};"
        )
