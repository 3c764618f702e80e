"""The departments' databases: made where missing, with a role for capture and one for the clerks.

Per system: database `<system>`; role `<system>_owner` (no login), which owns the tables; `<system>_capture`
(replication; member of the owner, since only an owner may put a table into a publication);
`<system>_clerk`, which may only read and write rows. Each login has a random password of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from exchange.demo.data import TABLES
from exchange.demo.invention import Invention
from exchange.demo.tables import Table
from exchange.errors import ConfigError, PartError
from exchange.settings import POSTGRES_PASSWORD, Settings

_FIRST_ROWS: Final = 120
_CONNECT_S: Final = 10


def prepare(settings: Settings, connections: dict[str, str], progress: Callable[[str], None]) -> None:
    """Make the databases, roles, tables and first rows that are missing; write the connection strings.

    connections: system → name of the secret its connection string is kept under (topology.yaml). Called
    again it changes nothing but the addresses, which follow the embedded PostgreSQL's port.

    Raises: ConfigError when one of those names is set in the environment, which would win over what is
    written; PartError when PostgreSQL does not answer.
    """
    for system, secret in connections.items():
        if secret in os.environ:
            msg = f"{secret} is set in the environment; the demonstration makes its own databases: unset it"
            raise ConfigError(msg)
        progress(f"{system}: database, roles and tables")
        try:
            _prepare(settings, system)
        except psycopg.Error as error:
            msg = f"PostgreSQL: database {system} cannot be set up ({type(error).__name__}, {error.sqlstate})"
            raise PartError(msg) from None
        settings.secrets.put(secret, _dsn(settings, system, f"{system}_capture"))


def clerk(settings: Settings, system: str) -> Connection[tuple[Any, ...]]:
    """Return a clerk's connection to a system's database. Raises: psycopg.OperationalError."""
    return psycopg.connect(_dsn(settings, system, f"{system}_clerk"), connect_timeout=_CONNECT_S)


def _prepare(settings: Settings, system: str) -> None:
    tables = [table for table in TABLES if table.system == system]
    with _superuser(settings, "postgres") as connection:
        _roles(connection, settings, system)
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [system]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(system)))
    with _superuser(settings, system) as connection:
        _rights(connection, system)
        for table in tables:
            _table(connection, system, table)
    with clerk(settings, system) as connection:
        for seed, table in enumerate(tables, start=1):
            if not table.rows(connection, 1):
                _fill(connection, table, seed)


def _roles(connection: Connection[Any], settings: Settings, system: str) -> None:
    _role(connection, f"{system}_owner", ["NOLOGIN"])
    for role, attributes in ((f"{system}_capture", ["LOGIN", "REPLICATION"]), (f"{system}_clerk", ["LOGIN"])):
        _role(connection, role, attributes)
        password = sql.Literal(_password(settings, role))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password))
    grant = sql.SQL("GRANT {} TO {}")
    connection.execute(grant.format(sql.Identifier(f"{system}_owner"), sql.Identifier(f"{system}_capture")))


def _role(connection: Connection[Any], role: str, attributes: Sequence[str]) -> None:
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone() is None:
        words = sql.SQL(" ").join(map(sql.SQL, attributes))  # our own constants
        connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), words))


def _rights(connection: Connection[Any], system: str) -> None:
    database, owner = sql.Identifier(system), sql.Identifier(f"{system}_owner")
    for statement in (
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database),
        sql.SQL("GRANT CONNECT, CREATE ON DATABASE {} TO {}").format(database, owner),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(f"{system}_clerk")),
        sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(owner),
    ):
        connection.execute(statement)


def _table(connection: Connection[Any], system: str, table: Table) -> None:
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(f"{system}_owner")))
        for statement in table.ddl:
            connection.execute(statement.encode())
        connection.execute(
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON public.{} TO {}").format(
                sql.Identifier(table.name), sql.Identifier(f"{system}_clerk")
            )
        )


def _fill(connection: Connection[Any], table: Table, seed: int) -> None:
    invention = Invention(seed)
    rows = {row[table.key]: row for row in (table.invent(invention) for _ in range(_FIRST_ROWS))}
    for row in rows.values():
        table.insert(connection, row)


def _superuser(settings: Settings, database: str) -> Connection[tuple[Any, ...]]:
    password = settings.secrets.get(POSTGRES_PASSWORD).get_secret_value()
    dsn = psycopg.conninfo.make_conninfo(
        **_address(settings), dbname=database, user="postgres", password=password
    )
    return psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT_S)


def _dsn(settings: Settings, system: str, role: str) -> str:
    return psycopg.conninfo.make_conninfo(
        **_address(settings), dbname=system, user=role, password=_password(settings, role)
    )


def _password(settings: Settings, role: str) -> str:
    return settings.secrets.ensure(f"EXCHANGE_DEMO_PASSWORD_{role.upper()}").get_secret_value()


def _address(settings: Settings) -> dict[str, str]:
    address = settings.endpoints().postgres
    if address is None:
        msg = "the demonstration needs the embedded PostgreSQL; start the parts with `exchange up`"
        raise ConfigError(msg)
    host, _, port = address.rpartition(":")
    return {"host": host, "port": port}


def all_read(settings: Settings, slots: dict[str, str], committed_after: dict[str, int]) -> bool:
    """Return whether each system's connector has acknowledged the last commit of its clerk.

    slots: system → replication slot; committed_after: system → log position before that commit, 0 for none.
    Raises: PartError when PostgreSQL does not answer.
    """
    try:
        with _superuser(settings, "postgres") as connection:
            query = "SELECT slot_name, confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots"
            confirmed = {str(name): int(position or 0) for name, position in connection.execute(query)}
    except psycopg.Error as error:
        msg = f"PostgreSQL: does not say how far the connectors are ({type(error).__name__})"
        raise PartError(msg) from None
    return all(confirmed.get(slots[system], 0) > after for system, after in committed_after.items())
