"""Invented rows for the trial table, and what must become of them, said without the bus's own code."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

from tests.checkers.source_log import Row

TABLE = "public.person"
CREATE = """
CREATE TABLE public.person (
    id_number text PRIMARY KEY,
    full_name text NOT NULL,
    mobile text,
    email text,
    address text,
    birth_date date NOT NULL,
    region_code text NOT NULL,
    balance numeric(12, 2),
    version int NOT NULL,
    remark text
);
ALTER TABLE public.person REPLICA IDENTITY FULL;
"""

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
NORTH, SOUTH = "110101", "310115"


def id_number(number: int) -> str:
    """Return a valid ID number for each number from 0; different numbers give different ones.

    Source: GB 11643-1999, check letter by ISO 7064 MOD 11-2.
    """
    year, rest = 1940 + number % 60, number // 60
    month, rest = 1 + rest % 12, rest // 12
    day, serial = 1 + rest % 28, 100 + rest // 28
    digits = f"{NORTH}{year}{month:02}{day:02}{serial:03}"
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True))
    return digits + "10X98765432"[total % 11]


def acceptable(row: Row) -> bool:
    """Say whether the contract takes a row: the trial only ever breaks the range of `version`."""
    return int(row["version"] or 0) >= 0


def capturable(row: Row) -> bool:
    """Say whether a raw record can hold a row: no megabytes, and no NaN in a decimal."""
    return len((row["remark"] or "").encode()) < 900_000 and row["balance"] != "NaN"


def is_north(row: Row) -> bool:
    """Say whether a row lies in the scope of the view `north`."""
    return (row["region_code"] or "").startswith("11")


def shown_to_city(row: Row) -> dict[str, Any]:
    """Return what the view `city` must show of a row, tokens and the generalised date apart."""
    name, mobile = row["full_name"] or "", row["mobile"]
    return {
        "name": name[0] + "*" * (len(name) - 1),
        "mobile": None if mobile is None else mobile[:3] + "*" * 6 + mobile[-2:],
        "email": None if row["email"] is None else "***",
        "region_code": row["region_code"],
        "balance": None if row["balance"] is None else Decimal(row["balance"]),
        "version": int(row["version"] or 0),
    }


def shown_to_north(row: Row) -> dict[str, Any]:
    """Return what the view `north` must show of a row, tokens apart."""
    return {
        "address": None if row["address"] is None else "***",
        "region_code": (row["region_code"] or "")[:2],
        "version": int(row["version"] or 0),
    }


@dataclass
class Writer:
    """Changes the table at random, the same way for the same seed; counts what it committed.

    Every kind of change comes up: insert, update, move in and out of the view's rows, delete and re-insert,
    key change, refused row and its repair; TRUNCATE only where `truncates`.
    """

    dsn: str
    seed: int
    truncates: bool = False
    people: int = 40
    changes: int = 0
    _alive: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Seed the choice of changes."""
        self._random = random.Random(self.seed)

    def run(self, transactions: int) -> None:
        """Commit that many transactions of one to six changes."""
        with psycopg.connect(self.dsn) as connection:
            for _ in range(transactions):
                self.transaction(connection)

    def transaction(self, connection: psycopg.Connection[Any]) -> None:
        """Commit one transaction, or roll one back now and then: nothing of that may be seen."""
        before = dict(self._alive)
        count = sum(self._change(connection) for _ in range(self._random.randint(1, 6)))
        if self._random.random() < 0.05:
            connection.rollback()
            self._alive = before
        else:
            connection.commit()
            self.changes += count

    def _change(self, connection: psycopg.Connection[Any]) -> int:
        number = self._random.randrange(self.people)
        if self.truncates and self._random.random() < 0.01:
            connection.execute("TRUNCATE public.person")
            self._alive.clear()
        elif number not in self._alive:
            self._insert(connection, number)
        else:
            self._touch(connection, number)
        return 1

    def _insert(self, connection: psycopg.Connection[Any], number: int) -> None:
        row = person(number) | {"region_code": self._region(), "version": self._version()}
        insert(connection, row)
        self._alive[number] = number

    def _touch(self, connection: psycopg.Connection[Any], number: int) -> None:
        who = id_number(self._alive[number])
        choice = self._random.random()
        if choice < 0.60:
            connection.execute(
                "UPDATE public.person SET version = %s WHERE id_number = %s", [self._version(), who]
            )
        elif choice < 0.75:
            connection.execute(
                "UPDATE public.person SET region_code = %s WHERE id_number = %s", [self._region(), who]
            )
        elif choice < 0.85:
            moved = self._alive[number] + self.people
            connection.execute(
                "UPDATE public.person SET id_number = %s WHERE id_number = %s", [id_number(moved), who]
            )
            self._alive[number] = moved
        else:
            connection.execute("DELETE FROM public.person WHERE id_number = %s", [who])
            del self._alive[number]

    def _region(self) -> str:
        return self._random.choice([NORTH, SOUTH])

    def _version(self) -> int:
        return -1 if self._random.random() < 0.05 else self._random.randrange(1_000_000)


def person(number: int) -> dict[str, Any]:
    """Return an acceptable row."""
    return {
        "id_number": id_number(number),
        "full_name": f"张试验{number}",
        "mobile": f"138{number:08}",
        "email": f"person{number}@trial.example",
        "address": f"试验路{number}号",
        "birth_date": f"{1940 + number % 60}-01-01",
        "region_code": NORTH,
        "balance": Decimal(number) / 100,
        "version": 1,
        "remark": None,
    }


def insert(connection: psycopg.Connection[Any], row: dict[str, Any]) -> None:
    """Insert one row; the caller commits."""
    connection.execute(
        "INSERT INTO public.person VALUES (%(id_number)s, %(full_name)s, %(mobile)s, %(email)s, %(address)s,"
        " %(birth_date)s, %(region_code)s, %(balance)s, %(version)s, %(remark)s)",
        row,
    )
