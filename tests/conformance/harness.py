"""What the conformance suite needs of a kind of source: a database, its SQL, and what its types must give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar

import psycopg

from exchange.plan import PlannedSystem
from tests.integration.capture import System
from tests.mariadb import MISSING, Server, is_here

DDL = "CREATE TABLE person (id bigint PRIMARY KEY, name varchar(200), amount decimal(12,2))"


class Subject(System):
    """A system under test, whatever its kind. The suite says everything in SQL that all kinds take."""

    schema: ClassVar[str]
    """Before the table's name: the schema, or the database where there are none."""
    types: ClassVar[str]
    """Columns of a table with every type, without its key."""
    row: ClassVar[str]
    """Values for them, as SQL."""
    expected: ClassVar[dict[str, Any]]
    """The same as they must come out of Avro."""

    @abstractmethod
    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield `run(sql)` within a transaction on a connection of its own; rolled back when it raises."""

    @abstractmethod
    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def run_sql(self, sql: str) -> None:
        with self.transaction() as run:
            run(sql)


class PostgresSubject(Subject):
    schema = "public"
    types = (
        "s smallint, n integer, b bigint, d numeric(12,3), f real, g double precision, t text, v varchar(40),"
        " c char(6), o boolean, da date, ts timestamp, tz timestamptz, ti time, y bytea"
    )
    row = (
        "-32768, 2147483647, -9223372036854775808, -123456789.125, 1.5, 2.5, '中文 🙂 a\tb', 'Łódź', 'ab',"
        " true, '2024-02-29', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012+00',"
        " '23:59:59.999999',"
        " '\\x00ff'"
    )
    expected: ClassVar = {
        "s": -32768, "n": 2147483647, "b": -9223372036854775808, "d": Decimal("-123456789.125"), "f": 1.5,
        "g": 2.5, "t": "中文 🙂 a\tb", "v": "Łódź", "c": "ab    ", "o": True, "da": date(2024, 2, 29),
        "ts": datetime(2024, 2, 29, 12, 34, 56, 789012),  # noqa: DTZ001 - a timestamp without zone
        "tz": datetime(2024, 2, 29, 12, 34, 56, 789012, UTC), "ti": time(23, 59, 59, 999999),
        "y": b"\x00\xff",
    }  # fmt: skip

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with psycopg.connect(self.dsn) as connection:
            yield lambda sql: connection.execute(sql.encode())

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql.encode()).fetchall()


class MariadbSubject(Subject):
    server: ClassVar[Server]
    types = (
        "s smallint, u int unsigned, b bigint unsigned, d decimal(12,3), f float, g double, t text,"
        " v varchar(40) character set gbk, c char(6), o bit(1), da date, ts datetime(6),"
        " tz timestamp(6) null, ti time(6), y varbinary(9), bi binary(4), e enum('甲','乙'),"
        " st set('x','y','z'),"
        " yr year, b9 bit(9)"
    )
    row = (
        "-32768, 4294967295, 18446744073709551615, -123456789.125, 1.5, 2.5, '中文 🙂 a\tb', '中文', 'ab',"
        " 1, '2024-02-29', '2024-02-29 12:34:56.789012', '2024-02-29 12:34:56.789012', '23:59:59.999999',"
        " X'00ff', X'0100', '乙', 'x,z', 2024, b'100000001'"
    )
    expected: ClassVar = {
        "s": -32768, "u": 4294967295, "b": Decimal(18446744073709551615), "d": Decimal("-123456789.125"),
        "f": 1.5, "g": 2.5, "t": "中文 🙂 a\tb", "v": "中文", "c": "ab", "o": True, "da": date(2024, 2, 29),
        "ts": datetime(2024, 2, 29, 12, 34, 56, 789012),  # noqa: DTZ001 - a datetime has no zone
        "tz": datetime(2024, 2, 29, 12, 34, 56, 789012, UTC), "ti": time(23, 59, 59, 999999),
        "y": b"\x00\xff",
        "bi": b"\x01\x00\x00\x00", "e": "乙", "st": "x,z", "yr": 2024, "b9": b"\x01\x01",
    }  # fmt: skip

    def __post_init__(self) -> None:
        self.make_steward()
        self.server.execute(f"CREATE DATABASE {self.name}")
        self.stack.settings.secrets.put(self.secret, self.server.url(database=self.name))

    @property
    def schema(self) -> str:  # type: ignore[override]
        return self.name

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        connection = self.server.connect(
            self.name, autocommit=False, init_command="SET SESSION time_zone = '+00:00'"
        )
        try:
            with connection.cursor() as cursor:
                yield cursor.execute
            connection.commit()
        finally:
            connection.close()

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        with self.server.connect(self.name) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def publish(self, of: str = "") -> None:
        self.make_kafka_objects()
        self.publish_plan(1)

    def planned_system(self) -> PlannedSystem:
        return PlannedSystem(name=self.name, kind="mariadb", connection_env=self.secret)

    def close(self) -> None:
        self.registry.close()
        self.server.execute(f"DROP DATABASE {self.name}")


SUBJECTS: dict[str, type[Subject]] = {"postgres": PostgresSubject, "mariadb": MariadbSubject}
"""Kind of system → its harness. A new kind of source is one entry and its class."""


def why_not(kind: str) -> str:
    """Return why a kind cannot be tested here; empty when it can."""
    return MISSING if kind == "mariadb" and not is_here() else ""


def names(table: str, subject: Subject) -> Sequence[str]:
    return (f"{subject.schema}.{table}",)
