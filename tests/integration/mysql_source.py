"""A database of a MariaDB under test, and sources that read it without Kafka."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fastavro
import pytest
from pydantic import SecretStr

from connectors.source import Captured
from connectors.sources.mysql.source import MariadbSource
from exchange.binlog.address import server_id
from exchange.errors import SourceError
from exchange.position import SourcePosition
from tests.mariadb import Server
from tests.stack import wait_for

FIRM = "CREATE TABLE firm (id bigint PRIMARY KEY)"
PERSON = "CREATE TABLE person (id bigint PRIMARY KEY, name varchar(200), amount decimal(12,2))"
LONG_S = 120.0


@dataclass
class Database:
    """A database of a test's own, and sources that read it."""

    server: Server
    name: str
    tables: tuple[str, ...] = ("person",)
    position: SourcePosition | None = None
    made: list[MariadbSource] = field(default_factory=list)

    def run(self, *statements: str) -> None:
        """Run statements in one session, each committed."""
        with self.server.connect(self.name) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def open(
        self, stored: SourcePosition | None = None, system: str | None = None, *, contended: bool = False
    ) -> MariadbSource:
        """Return a source, once the server has let go of the one before; contended: at once."""
        lease = f"exchange:{server_id(system or self.name)}"
        free = f"SELECT IS_FREE_LOCK('{lease}')"
        wait_for(lambda: contended or self.server.execute(free) == ((1,),), "the lease")
        url = SecretStr(self.server.url(database=self.name))
        tables = [f"{self.name}.{table}" for table in self.tables]
        source = MariadbSource(system or self.name, url, "", "", tables)
        self.made.append(source)
        try:
            source.open(stored or self.position)
        except BaseException:
            source.close()
            raise
        return source

    def read(self, source: MariadbSource, enough: Callable[[list[Captured]], bool]) -> list[Captured]:
        """Read until there is enough, and keep the position, as Kafka would."""
        found: list[Captured] = []
        ends_at = time.monotonic() + LONG_S
        while not enough(found):
            assert time.monotonic() < ends_at, f"{len(found)} records"
            batch = source.read()
            found += [change for change in batch.changes if isinstance(change, Captured)]
            self.position = batch.position
        return found

    def streaming(self) -> MariadbSource:
        """Return a source whose snapshot is behind it; what follows comes from the log."""
        source = self.open()
        self.read(source, lambda _: source._snapshot is None and source._stream is not None)
        return source

    @contextmanager
    def reading(self) -> Iterator[MariadbSource]:
        source = self.streaming()
        try:
            yield source
        finally:
            source.close()

    def halts_table(self, source: MariadbSource, table: str = "person") -> str:
        """Read until a table halts alone; return the text, which its next start tells again."""
        name = f"{self.name}.{table}"
        ends_at = time.monotonic() + LONG_S
        while name not in (batch := source.read()).halted:
            assert time.monotonic() < ends_at
        self.position = batch.position
        return batch.halted[name]

    def halts(self, source: MariadbSource) -> str:
        """Read until it halts; return the text."""
        with pytest.raises(SourceError) as told:
            self.read(source, lambda _: False)
        return str(told.value)


@contextmanager
def database_for(server: Server, test: str) -> Iterator[Database]:
    """Make a database for a test, by its node id; close its sources and drop it at the end."""
    name = f"d{abs(hash(test)) % 10**8}"
    server.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    made = Database(server, name)
    yield made
    for source in made.made:
        source.close()
    server.execute(f"DROP DATABASE IF EXISTS {name}")


def value(change: Captured) -> dict[str, Any]:
    decoded = fastavro.schemaless_reader(io.BytesIO(change.value), change.shape.value_schema, None)
    assert isinstance(decoded, dict)
    return decoded


def afters(changes: list[Captured]) -> list[Any]:
    return [value(change)["after"] for change in changes]


def at_least(count: int) -> Callable[[list[Captured]], bool]:
    return lambda found: len(found) >= count
