from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sources.postgres.pgoutput import (
    UNCHANGED,
    Begin,
    Column,
    Commit,
    Delete,
    Insert,
    LogicalMessage,
    Origin,
    Relation,
    Truncate,
    Type,
    Update,
    decode,
)
from exchange.errors import SourceError

MICROS_2024 = 757_382_400_000_000
"""2024-01-01 UTC, counted from 2000-01-01."""


def row(*cells: bytes | str | None) -> bytes:
    """TupleData: text as bytes, NULL as None, and "u" for an unchanged large value."""
    out = struct.pack(">H", len(cells))
    for cell in cells:
        if cell is None:
            out += b"n"
        elif isinstance(cell, str):
            out += cell.encode()
        else:
            out += b"t" + struct.pack(">I", len(cell)) + cell
    return out


BEGIN = b"B" + struct.pack(">QqI", 0x1_0000_0010, MICROS_2024, 77)
COMMIT = b"C" + struct.pack(">BQQq", 0, 16, 24, MICROS_2024)
RELATION = (
    b"R" + struct.pack(">I", 5) + b"public\0person\0d" + struct.pack(">H", 2)
    + b"\x01id\0" + struct.pack(">Ii", 20, -1)
    + b"\x00" + "姓名".encode() + b"\0" + struct.pack(">Ii", 1043, 14)
)  # fmt: skip
TYPE = b"Y" + struct.pack(">I", 9000) + b"public\0mood\0"
INSERT = b"I" + struct.pack(">I", 5) + b"N" + row(b"1", None, "u", b"")
UPDATE = b"U" + struct.pack(">I", 5) + b"N" + row(b"1", b"x")
KEY_UPDATE = b"U" + struct.pack(">I", 5) + b"K" + row(b"1", None) + b"N" + row(b"2", b"x")
FULL_UPDATE = b"U" + struct.pack(">I", 5) + b"O" + row(b"1", b"a") + b"N" + row(b"1", "u")
DELETE = b"D" + struct.pack(">I", 5) + b"K" + row(b"1", None)
FULL_DELETE = b"D" + struct.pack(">I", 5) + b"O" + row(b"1", b"x")
TRUNCATE = b"T" + struct.pack(">IBII", 2, 1, 5, 6)
ORIGIN = b"O" + struct.pack(">Q", 8) + b"elsewhere\0"
MESSAGE = b"M" + struct.pack(">BQ", 1, 32) + b"prefix\0" + struct.pack(">I", 3) + b"abc"
ALL = (
    *(BEGIN, COMMIT, RELATION, TYPE, INSERT, UPDATE, KEY_UPDATE),
    *(FULL_UPDATE, DELETE, FULL_DELETE, TRUNCATE, ORIGIN, MESSAGE),
)


def test_transaction_bounds_carry_log_positions_and_time_since_1970() -> None:
    since_1970 = 1_704_067_200_000_000
    assert decode(BEGIN) == Begin(0x1_0000_0010, since_1970, 77)
    assert decode(COMMIT) == Commit(16, 24, since_1970)


def test_relation_tells_columns_types_and_identity() -> None:
    columns = (Column("id", 20, -1, identity=True), Column("姓名", 1043, 14, identity=False))
    assert decode(RELATION) == Relation(5, "public", "person", "d", columns)


def test_empty_schema_name_stands_for_pg_catalog() -> None:
    assert decode(b"Y" + struct.pack(">I", 1) + b"\0int4\0") == Type(1, "pg_catalog", "int4")
    assert decode(TYPE) == Type(9000, "public", "mood")


def test_rows_tell_null_from_empty_from_unchanged() -> None:
    assert decode(INSERT) == Insert(5, (b"1", None, UNCHANGED, b""))


def test_updates_come_without_old_row_with_old_key_or_with_all_of_it() -> None:
    assert decode(UPDATE) == Update(5, None, full=False, new=(b"1", b"x"))
    assert decode(KEY_UPDATE) == Update(5, (b"1", None), full=False, new=(b"2", b"x"))
    assert decode(FULL_UPDATE) == Update(5, (b"1", b"a"), full=True, new=(b"1", UNCHANGED))


def test_deletes_come_with_old_key_or_with_all_of_the_row() -> None:
    assert decode(DELETE) == Delete(5, (b"1", None), full=False)
    assert decode(FULL_DELETE) == Delete(5, (b"1", b"x"), full=True)


def test_truncate_names_every_table() -> None:
    assert decode(TRUNCATE) == Truncate((5, 6))


def test_origin_and_logical_message_are_understood() -> None:
    assert decode(ORIGIN) == Origin(8, "elsewhere")
    assert decode(MESSAGE) == LogicalMessage(True, 32, "prefix", b"abc")


@pytest.mark.parametrize("message", ALL, ids=lambda message: chr(message[0]))
def test_cut_message_is_refused_at_every_length(message: bytes) -> None:
    for size in range(len(message)):
        with pytest.raises(SourceError, match=r"pgoutput: (message|an empty)"):
            decode(message[:size])


@pytest.mark.parametrize("message", ALL, ids=lambda message: chr(message[0]))
def test_trailing_bytes_are_refused(message: bytes) -> None:
    with pytest.raises(SourceError, match="its content ends at"):
        decode(message + b"\0")


def test_unknown_message_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match="message type 0x53 is not in protocol version 1"):
        decode(b"S\0\0\0\x01")


def test_binary_cells_are_refused() -> None:
    with pytest.raises(SourceError, match="malformed"):
        decode(b"I" + struct.pack(">I", 5) + b"N" + struct.pack(">H", 1) + b"b\0\0\0\x01x")


@given(st.binary(max_size=200))
def test_random_bytes_are_decoded_or_refused_never_anything_else(noise: bytes) -> None:
    with suppress(SourceError):
        decode(noise)
