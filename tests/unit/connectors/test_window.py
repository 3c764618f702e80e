"""What a read beside the stream has seen, and which keys the stream told of that it has not."""

from __future__ import annotations

import pytest

from connectors.source import Batch, Captured, Shape
from connectors.sources.postgres import window
from connectors.sources.postgres.visibility import Visibility
from connectors.sources.postgres.window import Window
from exchange.block import Outgoing, WriteBlock
from exchange.change import Op, Position, RecordHeader

TABLE, TOPIC = "public.person", "raw.town.public.person"
PREFIX = b"\0\0\0\0\7"
SHAPE, OTHER = Shape(TABLE, {}, {}), Shape("public.other", {}, {})


def change(commit: int, key: bytes | None, shape: Shape = SHAPE, op: Op = Op.UPDATE) -> Captured:
    return Captured(shape, Position(9, commit, 0), op, 0, key, b"")


def block(*records: tuple[int, bytes], topic: str = TOPIC) -> WriteBlock:
    made = WriteBlock()
    for commit, key in records:
        header = RecordHeader(Position(9, commit, 0), Op.UPDATE, 0).pack()
        made.add(Outgoing(topic, 0, PREFIX + key, b"", header))
    return made


def seen(text: str) -> Visibility:
    return Visibility.parse(text.encode())


def test_a_snapshot_sees_what_had_ended_before_it() -> None:
    read = seen("10:20:12,15")
    assert [xid for xid in range(8, 24) if not read.sees(xid)] == [12, 15, 20, 21, 22, 23]
    assert [xid for xid in range(8, 12) if not seen("10:10:").sees(xid)] == [10, 11]


def test_the_streams_32_bits_are_understood_across_a_turn_of_the_numbers() -> None:
    turn = 1 << 32
    read = seen(f"{turn + 5}:{turn + 9}:{turn + 6}")
    assert read.sees(turn - 3)
    assert [xid for xid in range(12) if not read.sees(xid)] == [6, 9, 10, 11]
    before = seen(f"{turn - 5}:{turn - 2}:")
    assert before.sees(turn - 6)
    assert not before.sees(turn - 2)
    assert not before.sees(3)


def test_keys_are_stale_whose_transaction_was_not_seen_whatever_the_logs_order() -> None:
    noted = Window(TABLE, TOPIC)
    noted.note(Batch([block((100, b"a"), (200, b"b"))]), [(100, 15), (200, 12)])
    assert noted.stale(seen("16:16:")) == set()
    assert noted.stale(seen("13:16:15")) == {b"a"}  # first in the log, seen last
    assert noted.stale(seen("12:16:12,15")) == {b"a", b"b"}


def test_single_records_count_as_those_of_a_block_and_other_tables_do_not() -> None:
    noted = Window(TABLE, TOPIC)
    changes: list[Captured | WriteBlock] = [change(100, b"a"), change(100, b"x", OTHER)]
    changes += [block((100, b"b")), block((100, b"y"), topic="raw.town.public.other")]
    noted.note(Batch(changes), [(100, 15)])
    assert noted.stale(seen("15:15:")) == {b"a", b"b"}


def test_a_transaction_goes_on_in_later_batches() -> None:
    noted = Window(TABLE, TOPIC)
    noted.note(Batch([change(100, b"a")]), [(90, 14), (100, 15)])
    noted.note(Batch([]), [])
    noted.note(Batch([change(100, b"b"), change(110, b"c")]), [(110, 16)])
    assert noted.stale(seen("15:15:")) == {b"a", b"b", b"c"}


def test_a_truncate_is_of_every_key_until_it_is_seen() -> None:
    noted = Window(TABLE, TOPIC)
    noted.note(Batch([change(100, None, op=Op.TRUNCATE)]), [(100, 15)])
    assert noted.stale(seen("15:15:")) is None
    assert noted.stale(seen("16:16:")) == set()


def test_what_was_seen_is_forgotten_and_the_rest_is_kept() -> None:
    noted = Window(TABLE, TOPIC)
    noted.note(Batch([block((100, b"a"), (200, b"b"))]), [(100, 12), (200, 15)])
    noted.forget(seen("13:16:15"))
    assert noted.stale(seen("10:10:")) == {b"b"}
    noted.clear()
    assert noted.stale(seen("10:10:")) == set()


def test_more_keys_than_fit_are_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "MOST_KEYS", 3)
    noted = Window(TABLE, TOPIC)
    noted.note(Batch([block(*((100, bytes([key])) for key in range(4)))]), [(100, 15)])
    assert noted.stale(seen("15:15:")) is None
    noted.note(Batch([block((110, b"a"), (110, b"b"))]), [(110, 16)])
    assert noted.stale(seen("16:16:")) == {b"a", b"b"}
