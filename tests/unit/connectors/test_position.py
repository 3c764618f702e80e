from __future__ import annotations

import pytest
from pydantic import SecretStr

from connectors.position import PositionCodec, SnapshotProgress, SourcePosition, begin_anew
from exchange.errors import SealError

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


def codec(system: str = "population", sealed_with: str = "one") -> PositionCodec:
    return PositionCodec(system, SecretStr(sealed_with))


def test_position_is_read_as_written() -> None:
    assert codec().decode(codec().encode(POSITION)) == POSITION


def test_primary_key_is_not_readable_in_the_record() -> None:
    encoded = codec().encode(POSITION)
    assert b"110101199003078515" not in encoded
    assert "中".encode() not in encoded


@pytest.mark.parametrize("other", [codec(sealed_with="two"), codec(system="market")])
def test_key_sealed_for_others_is_refused_with_the_secrets_name(other: PositionCodec) -> None:
    with pytest.raises(SealError, match="EXCHANGE_POSITION_KEY"):
        other.decode(codec().encode(POSITION))


def test_random_bytes_are_no_position() -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        codec().decode(b"random")


def test_beginning_anew_keeps_only_the_identity() -> None:
    anew = begin_anew(POSITION)
    assert (anew.resume, anew.commit, anew.tables, anew.snapshot) == (0, 0, (), None)
    assert anew.system_identifier == POSITION.system_identifier
