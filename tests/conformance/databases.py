"""The databases under test."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import psycopg

from exchange.plan import PlannedSystem
from tests.conformance.subject import Subject
from tests.mariadb import Server


class PostgresSubject(Subject):
    schema = "public"
    types = (
        "s smallint, i integer, b bigint, n numeric(12,3), nn numeric, f real, g double precision, t text,"
        " v varchar(40), c char(6), o boolean, da date, ts timestamp, tz timestamptz, ti time, y bytea,"
        " j jsonb, u uuid, m mood, po positive, ia int[], ta text[], na numeric(5,2)[], ma mood[],"
        ' iv interval, ip inet, "姓名" text'
    )
    row = (
        "-32768, 2147483647, -9223372036854775808, -123456789.125, 1e-30, 1.5, -1e300, '中文 🙂 a\tb',"
        " 'Łódź', 'ab', true, '9999-12-31', '0001-01-01 00:00:00.000001', '2024-02-29 12:00:00.5+08',"
        " '23:59:59.999999', '\\x00ff', '{\"a\":[1]}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', -1.50,"
        " '{1,NULL,3}', ARRAY['a,b', 'q\"\\{}', NULL, 'NULL', ''], '{1.25,-3}', '{ok,bad}',"
        " '1 day 2 hours', '10.0.0.1/8', '王'"
    )
    expected: ClassVar = {
        "s": -32768, "i": 2147483647, "b": -9223372036854775808, "n": Decimal("-123456789.125"),
        "nn": "0.000000000000000000000000000001", "f": 1.5, "g": -1e300, "t": "中文 🙂 a\tb", "v": "Łódź",
        "c": "ab    ", "o": True, "da": date(9999, 12, 31),
        "ts": datetime(1, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001 - a timestamp without zone
        "tz": datetime(2024, 2, 29, 4, 0, 0, 500000, UTC), "ti": time(23, 59, 59, 999999),
        "y": b"\x00\xff", "j": '{"a": [1]}', "u": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "m": "ok",
        "po": Decimal("-1.50"), "ia": [1, None, 3], "ta": ["a,b", 'q"\\{}', None, "NULL", ""],
        "na": [Decimal("1.25"), Decimal("-3.00")], "ma": ["ok", "bad"], "iv": "1 day 02:00:00",
        "ip": "10.0.0.1/8", "_u59d3_u540d": "王",
    }  # fmt: skip

    @property
    def before_types(self) -> Collection[str]:  # type: ignore[override]
        """Settings that must not change how values are read are set to what would."""
        return (
            "CREATE TYPE mood AS ENUM ('ok', 'bad')",
            "CREATE DOMAIN positive AS numeric(6,2)",
            f"ALTER DATABASE {self.name} SET extra_float_digits = -3",
            f"ALTER DATABASE {self.name} SET datestyle = 'SQL, DMY'",
            f"ALTER DATABASE {self.name} SET timezone = 'Asia/Shanghai'",
        )

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
