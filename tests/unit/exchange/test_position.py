from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from exchange.errors import SealError
from exchange.position import (
    IncrementalProgress,
    IncrementalState,
    PositionCodec,
    SnapshotProgress,
    SourcePosition,
    begin_anew,
    shown,
)

POSITION = SourcePosition(
    system="population",
    system_identifier="7710940871917692246",
    timeline=1,
    slot="exchange_population",
    resume=0x1_0000_0010,
    commit=0x1_0000_0008,
    index=3,
    tables=("public.a",),
    snapshot=SnapshotProgress(0x0F, 12, "public.person", ("110101199003078515", "中")),
)


BESIDE = IncrementalProgress(
    "1f",
    "public.person",
    view="school",
    plan_version=3,
    announced=True,
    chunks=2,
    rows=9,
    passed=1,
    estimated_rows=100,
    key=("id_number text",),
    last_key=("110101199003078515",),
)


def codec(system: str = "population", sealed_with: str = "one") -> PositionCodec:
    return PositionCodec(system, SecretStr(sealed_with))


def test_position_is_read_as_written() -> None:
    assert codec().decode(codec().encode(POSITION)) == POSITION


def test_a_cursor_is_read_as_written_and_is_sealed() -> None:
    position = replace(POSITION, cursor=('{"server":"s"}', "110101199003078515"))
    encoded = codec().encode(position)
    assert codec().decode(encoded) == position
    assert b"110101199003078515" not in encoded
    assert begin_anew(position).cursor == ()


WRITTEN_BEFORE_MARKS = bytes.fromhex(
    "c3015ccc9594ce6067fe14706f70756c6174696f6e263737313039343038373139313736393232343602266578636861"
    "6e67655f706f70756c6174696f6ea08080802090808080200602107075626c69632e6100021e181a7075626c69632e70"
    "6572736f6e78e1efffb0d8e2e61ffd9bf21b3f1b92b47d72ded1d8ed4bc0afe94e5df5adbc606989b1c4cc5c5ffde5e7"
    "2c1be0549cc71edb96182d882f44a8b64ff69adbf8f3c168"
)
"""The position above, as it was written before there was a mark in the record."""


WRITTEN_BEFORE_INCREMENTAL = bytes.fromhex(
    "c30110113f40b8c5fa4714706f70756c6174696f6e263737313039343038373139313736393232343602266578636861"
    "6e67655f706f70756c6174696f6ea08080802090808080200602107075626c69632e6100021e181a7075626c69632e70"
    "6572736f6e7849ce1ae095a8603f8714e5b6c84894bd13b178a1b199589f091f1a0f966c0cc279afafd4b9c50268d7ad"
    "505eb4a0e72b3d10c9596f4875cef0f767f90090d6d5fbc368"
)
"""The same, as it was written before a snapshot could be taken beside the stream."""


@pytest.mark.parametrize("written", [WRITTEN_BEFORE_MARKS, WRITTEN_BEFORE_INCREMENTAL])
def test_position_of_an_earlier_version_is_still_read(written: bytes) -> None:
    assert codec().decode(written) == POSITION


def test_a_snapshot_beside_the_stream_is_read_as_written_and_its_key_is_sealed() -> None:
    position = replace(POSITION, snapshot=None, incremental=BESIDE)
    encoded = codec().encode(position)
    assert codec().decode(encoded) == position
    assert b"110101199003078515" not in encoded


def test_beginning_anew_ends_a_snapshot_beside_the_stream() -> None:
    ended = begin_anew(replace(POSITION, incremental=BESIDE)).incremental
    assert ended is not None
    assert (ended.operation, ended.state, ended.last_key) == ("1f", IncrementalState.STOPPED, ())
    complete = replace(BESIDE, state=IncrementalState.COMPLETE)
    assert begin_anew(replace(POSITION, incremental=complete)).incremental == complete


def test_primary_key_is_not_readable_in_the_record() -> None:
    encoded = codec().encode(POSITION)
    assert b"110101199003078515" not in encoded
    assert "中".encode() not in encoded


@pytest.mark.parametrize("other", [codec(sealed_with="two"), codec(system="market")])
def test_key_sealed_for_others_is_refused_with_the_secrets_name(other: PositionCodec) -> None:
    with pytest.raises(SealError, match="EXCHANGE_POSITION_KEY"):
        other.decode(codec().encode(POSITION))


def test_what_is_shown_of_a_position_wants_no_secret_and_has_no_key() -> None:
    position = replace(POSITION, incremental=BESIDE, cursor=("110101199003078515",))
    seen = shown(codec().encode(position))
    assert "110101199003078515" not in repr(seen)
    assert seen.incremental == replace(BESIDE, last_key=())
    assert (seen.tables, seen.cursor) == (position.tables, ())


def test_random_bytes_are_no_position() -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        codec().decode(b"random")


def test_beginning_anew_keeps_only_the_identity() -> None:
    anew = begin_anew(POSITION)
    assert (anew.resume, anew.commit, anew.tables, anew.snapshot) == (0, 0, (), None)
    assert anew.system_identifier == POSITION.system_identifier
