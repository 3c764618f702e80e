"""The truth reader turns pgoutput bytes into changes."""

from __future__ import annotations

import struct

import pytest

from tests.checkers.source_log import Committed, Decoder


def begin(commit: int) -> bytes:
    return b"B" + struct.pack(">QQI", commit, 0, 1)


def end(commit: int) -> bytes:
    return b"C" + struct.pack(">bQQQ", 0, commit, commit + 8, 0)


def relation() -> bytes:
    columns = b"".join(struct.pack(">b", 1) + name + b"\0" + bytes(8) for name in (b"id", b"note"))
    return b"R" + struct.pack(">I", 5) + b"public\0t\0" + struct.pack(">bh", ord("f"), 2) + columns


def values(*texts: bytes | None) -> bytes:
    told = [
        b"n" if text is None else b"u" if text == b"?" else b"t" + struct.pack(">I", len(text)) + text
        for text in texts
    ]
    return struct.pack(">h", len(texts)) + b"".join(told)


def decoded(*messages: bytes) -> list[Committed]:
    decoder = Decoder()
    return [change for message in messages for change in decoder.decode(message)]


def test_changes_carry_their_transactions_commit_position_and_their_number() -> None:
    insert = b"I" + struct.pack(">I", 5) + b"N" + values(b"1", None)
    delete = b"D" + struct.pack(">I", 5) + b"O" + values(b"1", None)
    assert decoded(begin(64), relation(), insert, delete, end(64), begin(128), insert, end(128)) == [
        Committed("public.t", "c", 64, 0, None, {"id": "1", "note": None}),
        Committed("public.t", "d", 64, 1, {"id": "1", "note": None}, None),
        Committed("public.t", "c", 128, 0, None, {"id": "1", "note": None}),
    ]


def test_an_unchanged_large_value_is_told_by_the_before_image() -> None:
    update = b"U" + struct.pack(">I", 5) + b"O" + values(b"1", b"long") + b"N" + values(b"1", b"?")
    (change,) = decoded(begin(64), relation(), update)
    assert change.after == {"id": "1", "note": "long"}


def test_an_unchanged_large_value_without_before_image_is_refused() -> None:
    update = b"U" + struct.pack(">I", 5) + b"N" + values(b"1", b"?")
    with pytest.raises(ValueError, match="note"):
        decoded(begin(64), relation(), update)


def test_truncate_is_one_change_a_table() -> None:
    truncate = b"T" + struct.pack(">IbI", 1, 0, 5)
    assert decoded(begin(64), relation(), truncate) == [Committed("public.t", "t", 64, 0)]
