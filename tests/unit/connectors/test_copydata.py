from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from connectors.sources.postgres.copydata import OneByOne
from connectors.sources.postgres.frames import ENOUGH_BYTES, Frames


def connection_with(*answers: tuple[int, bytes] | psycopg.Error) -> Any:
    """Answers get_copy_data() with these, one after the other."""
    return Mock(get_copy_data=Mock(side_effect=answers))


def test_frames_are_read_until_nothing_more_has_arrived() -> None:
    frames = Frames()
    connection = connection_with((3, b"one"), (0, b""), (3, b"two"), (0, b""), (0, b""))
    assert OneByOne(connection)(frames)
    assert [frames.take(), frames.take()] == [b"one", b"two"]
    assert frames.all_taken


@pytest.mark.parametrize("end", [(-1, b""), psycopg.OperationalError()])
def test_end_of_the_stream_is_told(end: Any) -> None:
    assert not OneByOne(connection_with((3, b"one"), end))(Frames())


def test_no_more_is_read_than_is_enough() -> None:
    frames = Frames()
    large = bytes(ENOUGH_BYTES // 2)
    assert OneByOne(connection_with(*[(len(large), large)] * 3))(frames)
    assert frames.count == 2


def test_room_of_a_very_large_frame_is_given_back() -> None:
    frames = Frames()
    frames.add(bytes(50_000_000))
    assert frames.take() == bytes(50_000_000)
    frames.clear()
    assert len(frames.data) < 5_000_000
    assert frames.all_taken
