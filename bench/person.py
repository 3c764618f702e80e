"""The record that everything is measured with: twelve fields, three of them masked.

Rows are invented by number, the same every time, so that a checker can say what must be seen of each
without asking the bus.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Final

CONTRACTS: Final = Path(__file__).parent / "contracts"
CONTRACT: Final = "bench.person"
PEOPLE: Final = 100_000
"""Different rows; then they come round again. More than any cache in the bus or a peer holds (65,536)."""

COLUMNS: Final = (
    ("person_id", "bigint", 20),
    ("name", "text", 25),
    ("id_number", "text", 25),
    ("mobile", "text", 25),
    ("sex_code", "text", 25),
    ("birth_date", "date", 1082),
    ("ethnic_code", "text", 25),
    ("region_code", "text", 25),
    ("status", "text", 25),
    ("household_size", "integer", 23),
    ("annual_income", "numeric(14, 2)", 1700),
    ("updated_at", "timestamptz", 1184),
)
"""Name, PostgreSQL type, and that type's oid. Source: PostgreSQL, pg_type.dat."""
NUMERIC_14_2: Final = ((14 << 16) | 2) + 4
"""Type modifier of numeric(14, 2). Source: PostgreSQL numeric.c, make_numeric_typmod."""
NULLABLE: Final = frozenset({"mobile", "ethnic_code", "household_size", "annual_income"})
LEFT_OUT: Final = ("", "ethnic_code", "household_size", "annual_income", "status")
"""What a view leaves out, by its number modulo five: views differ in fields as well as in masks."""

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_SURNAMES: Final = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨"
_EPOCH: Final = dt.date(1970, 1, 1)


def table_ddl(table: str) -> str:
    """Return the statements that make the table; `table` is <schema>.<table>, of our own making."""
    columns = ", ".join(
        f"{name} {type_}{' PRIMARY KEY' if name == 'person_id' else '' if name in NULLABLE else ' NOT NULL'}"
        for name, type_, _ in COLUMNS
    )
    return f"CREATE TABLE IF NOT EXISTS {table} ({columns}); ALTER TABLE {table} REPLICA IDENTITY FULL"


def row(number: int) -> dict[str, str]:
    """Return a row, each value as PostgreSQL prints it; number: from 0, the same again after PEOPLE."""
    at = number % PEOPLE
    born = dt.date(1940, 1, 1) + dt.timedelta(days=at % 25_000)
    return {
        "person_id": str(at + 1),
        "name": _SURNAMES[at % 16] + "压测" + _SURNAMES[at // 16 % 16],
        "id_number": id_number(at),
        "mobile": f"138{at:08}",
        "sex_code": str(1 + at % 2),
        "birth_date": born.isoformat(),
        "ethnic_code": f"{1 + at % 56:02}",
        "region_code": f"3301{at % 100:02}",
        "status": "NORMAL",
        "household_size": str(1 + at % 6),
        "annual_income": f"{20_000 + at}.50",
        "updated_at": f"2026-01-01 08:{at % 60:02}:00+00",
    }


def id_number(number: int) -> str:
    """Return a valid ID number for each number below 28,000,000; different numbers give different ones.

    Source: GB 11643-1999, check letter by ISO 7064 MOD 11-2.
    """
    day, rest = number % 25_000, number // 25_000
    born = dt.date(1940, 1, 1) + dt.timedelta(days=day)
    digits = f"330102{born:%Y%m%d}{rest:03}"
    total = sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True))
    return digits + "10X98765432"[total % 11]


def view_fields(number: int) -> dict[str, Any]:
    """Return what view number 0 to 24 shows, as topology.yaml says it; no two are alike.

    View 0 shows all twelve fields.
    """
    masks: dict[str, Any] = {name: "clear" for name, _, _ in COLUMNS}
    masks["birth_date"] = {"kind": "clear", "reason": "benchmark of invented rows"}
    for name, (first, last) in _kept(number).items():
        masks[name] = {"kind": "partial", "keep_first": first, "keep_last": last}
    masks.pop(LEFT_OUT[number % 5], None)
    return masks


def shown(number: int, view: int) -> dict[str, str]:
    """Return the masked texts that a view must show of a row, said without the bus's code."""
    of = row(number)
    return {
        name: of[name][:first] + "*" * (len(of[name]) - first - last) + of[name][len(of[name]) - last :]
        for name, (first, last) in _kept(view).items()
    }


def clear_texts(number: int) -> tuple[bytes, ...]:
    """Return what of a row may appear nowhere in a masked record."""
    of = row(number)
    return tuple(of[name].encode() for name in _kept(0))


def _kept(view: int) -> dict[str, tuple[int, int]]:
    """Return how many characters a view shows at either end of each masked field."""
    return {"name": (1, 0), "id_number": (6 - view // 5, 4), "mobile": (3, 4 - view % 5)}
