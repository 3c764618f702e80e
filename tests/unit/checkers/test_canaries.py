"""The canary search finds every disguise, inside compressed files too, and nothing in clean bytes."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import urllib.parse

import lz4.block
import lz4.frame
import pytest
from backports import zstd

from tests.checkers.canaries import Canary, Searcher
from tests.checkers.places import unpacked_batches, unpacked_blocks

ID = "11010119000101001X"
NAME = "欧阳镜湖"
SEARCH = Searcher([Canary("id", ID), Canary("name", NAME)])


@pytest.mark.parametrize(
    "data",
    [
        ID.encode(),
        ID.lower().encode(),
        ID.encode("utf-16-le"),
        ID.encode("utf-16"),
        base64.b64encode(ID.encode()),
        base64.b64encode(b"1" + ID.encode() + b"2"),
        base64.b64encode(b"ab" + ID.encode() + b"xyz"),
        base64.urlsafe_b64encode(b"?" + NAME.encode()),
        ID.encode().hex().encode(),
        NAME.encode().hex().upper().encode(),
        urllib.parse.quote(NAME).encode(),
        json.dumps({"name": NAME}).encode(),
        NAME.encode("gb18030"),
        NAME[::-1].encode(),
        ID[::-1].encode(),
        " ".join(ID).encode(),
        b"110101-19000101-001X",
        b"110101 19000101 001X",
        "１１０１０１１９０００１０１００１Ｘ".encode(),
    ],
)
def test_every_disguise_is_found(data: bytes) -> None:
    assert SEARCH.search("here", b"before " + data + b" after")


def test_clean_bytes_hold_nothing() -> None:
    assert SEARCH.search("here", b"110101190001010019 11010119 0001 " + "欧阳 镜湖".encode() * 100) == []


def test_a_find_says_where_and_what_but_not_the_value() -> None:
    (find,) = SEARCH.search("log line", f"id={ID}".encode())
    assert (find.where, find.canary, find.offset) == ("log line", "id", 3)
    assert ID not in repr(find)


def batch(codec: int, packed: bytes) -> bytes:
    head = bytes(8) + struct.pack(">i", 49 + len(packed)) + bytes(9) + struct.pack(">h", codec) + bytes(38)
    return head + packed


@pytest.mark.parametrize(
    ("codec", "pack"), [(0, bytes), (1, gzip.compress), (3, lz4.frame.compress), (4, zstd.compress)]
)
def test_a_canary_in_a_packed_batch_of_a_segment_is_found(codec: int, pack: object) -> None:
    records = b"some records " * 20 + ID.encode() + b" some more " * 20
    assert callable(pack)
    segment = batch(codec, pack(b"clean")) + batch(codec, pack(records)) + bytes(100)
    unpacked = list(unpacked_batches(segment))
    assert [bool(SEARCH.search("", part)) for part in unpacked] == [False, True]


@pytest.mark.parametrize("method", [0x82, 0x90, 0x02])
def test_a_canary_in_a_packed_column_file_is_found(method: int) -> None:
    column = b"text " * 50 + NAME.encode() + b" text" * 50
    pack = {0x82: lambda data: lz4.block.compress(data, store_size=False), 0x90: zstd.compress, 0x02: bytes}
    packed = pack[method](column)
    block = bytes(16) + struct.pack("<BII", method, len(packed) + 9, len(column)) + packed
    assert [part == column for part in unpacked_blocks(block + block)] == [True, True]
    assert SEARCH.search("", b"".join(unpacked_blocks(block)))
