"""The source side of `exchange apply` for MySQL and MariaDB: it only looks, nothing is made there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exchange.binlog.address import WANTED_URL, address
from exchange.binlog.fitness import Table, problems
from exchange.binlog.session import Session
from exchange.contract import Contract
from exchange.errors import ConfigError, SourceError
from exchange.settings import Secrets
from exchange.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is captured from one server."""

    system: str
    kind: str
    connection_env: str
    tables: tuple[Table, ...]

    def with_tables(self, names: Iterable[str]) -> Wanted:
        """Return it with tables besides, <schema>.<table>, that no resource is declared for."""
        declared = {table.name for table in self.tables}
        more = tuple(Table(name, {}) for name in names if name not in declared)
        return replace(self, tables=self.tables + more)


def wanted(topology: Topology, contracts: Mapping[str, Contract]) -> tuple[Wanted, ...]:
    """Return what a valid topology captures from MySQL and MariaDB, by system."""
    return tuple(
        Wanted(name, system.kind, system.connection_env, _tables(topology, contracts, name))
        for name, system in sorted(topology.databases().items())
        if system.kind in ("mysql", "mariadb") and topology.resources_of(name)
    )


def connect(wish: Wanted, secrets: Secrets) -> Session:
    """Return a connection to a server.

    Raises:
        ConfigError: the connection string is missing or malformed.
        SourceError: the server does not let us in.
        TransientError: it cannot be reached now.
    """
    url = secrets.find(wish.connection_env)
    if url is None:
        msg = (
            f"system {wish.system}: no connection string: set the environment variable {wish.connection_env} "
            f"to something like {WANTED_URL}"
        )
        raise ConfigError(msg)
    return Session(wish.system, address(wish.system, url))


def check(wish: Wanted, secrets: Secrets) -> None:
    """See that a server can be captured as asked.

    Raises: as `connect`, and SourceError when it lacks something; every problem with its SQL.
    """
    with connect(wish, secrets) as session:
        found = list(problems(session, wish.kind, wish.tables))
    if found:
        raise SourceError("\n".join(f"system {wish.system}: {problem}" for problem in found))


def _tables(topology: Topology, contracts: Mapping[str, Contract], system: str) -> tuple[Table, ...]:
    return tuple(
        Table(
            resource.table,
            {field.source: field.name for field in contracts[topology.contract_name(name)].fields.values()},
        )
        for name, resource in sorted(topology.resources_of(system).items(), key=lambda item: item[1].table)
    )
