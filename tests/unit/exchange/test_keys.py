from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.change import Op, Position, Reason, RecordHeader
from exchange.errors import ConfigError, SealError
from exchange.keys import (
    MAX_SEALED_PAYLOAD_BYTES,
    QuarantineRecord,
    Sealer,
    ViewKeys,
    generate_steward_keys,
    open_sealed,
    pack_payload,
    read_key,
    seal,
    unpack_payload,
)

PRIVATE, PUBLIC = (read_key(key, "test") for key in generate_steward_keys())
HEADER = RecordHeader(Position(1, 2, 3), Op.UPDATE, 4).pack()


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_sealed_payload_opens_with_its_key_and_context(plaintext: bytes, context: bytes) -> None:
    assert open_sealed(PRIVATE, seal(PUBLIC, plaintext, context), context) == plaintext


def test_sealed_payload_does_not_show_its_plaintext() -> None:
    assert b"110101199003078515" not in seal(PUBLIC, b"110101199003078515" * 3, b"")


def test_sealing_twice_gives_different_bytes() -> None:
    assert seal(PUBLIC, b"same", b"") != seal(PUBLIC, b"same", b"")


def test_every_changed_bit_keeps_a_payload_shut() -> None:
    sealed = seal(PUBLIC, b"payload", b"context")
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        broken[at] ^= 1
        with pytest.raises(SealError):
            open_sealed(PRIVATE, bytes(broken), b"context")


def test_other_context_or_key_keeps_a_payload_shut() -> None:
    sealed = seal(PUBLIC, b"payload", b"context")
    with pytest.raises(SealError, match="does not open"):
        open_sealed(PRIVATE, sealed, b"other")
    with pytest.raises(SealError, match="does not open"):
        open_sealed(read_key(generate_steward_keys()[0], "x"), sealed, b"context")


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x02" + bytes(60), bytes(100)])
def test_bytes_that_are_no_sealed_payload_are_said_to_be_none(sealed: bytes) -> None:
    with pytest.raises(SealError):
        open_sealed(PRIVATE, sealed, b"")


def test_degenerate_public_key_is_refused() -> None:
    with pytest.raises(SealError, match="not a usable"):
        seal(bytes(32), b"x", b"")


@given(st.none() | st.binary(max_size=50), st.none() | st.binary(max_size=50))
def test_payload_keeps_key_and_value_apart_from_none(key: bytes | None, value: bytes | None) -> None:
    assert unpack_payload(pack_payload(key, value)) == (key, value)


@given(st.binary(max_size=40))
def test_random_payload_never_raises_anything_but_seal_error(packed: bytes) -> None:
    try:
        key, value = unpack_payload(packed)
    except SealError:
        return
    assert pack_payload(key, value)[:4] is not None


def quarantined(sealed: bytes) -> QuarantineRecord:
    return QuarantineRecord(
        resource="population.person",
        stage="process",
        topic="raw.t",
        partition=1,
        offset=2,
        header=HEADER,
        reason=Reason.CN_MOBILE,
        field="mobile",
        plan_version=3,
        at_ms=4,
        payload_bytes=5,
        sealed=sealed,
    )


def test_quarantine_record_round_trips_and_opens_for_its_steward() -> None:
    private, public = generate_steward_keys()
    sealed = Sealer({"population.person": public}).seal("population.person", HEADER, None, b"value")
    record = QuarantineRecord.decode(quarantined(sealed).encode())
    assert record == quarantined(sealed)
    assert record.open(read_key(private, "test")) == (None, b"value")


def test_payload_moved_to_another_header_does_not_open() -> None:
    private, public = generate_steward_keys()
    other = RecordHeader(Position(1, 2, 4), Op.UPDATE, 4).pack()
    sealed = Sealer({"population.person": public}).seal("population.person", other, b"k", b"v")
    with pytest.raises(SealError):
        quarantined(sealed).open(read_key(private, "test"))


def test_too_large_payload_is_kept_by_reference() -> None:
    _, public = generate_steward_keys()
    sealer = Sealer({"r": public})
    assert sealer.seal("r", HEADER, None, bytes(MAX_SEALED_PAYLOAD_BYTES)) == b""
    with pytest.raises(SealError, match="by reference only"):
        quarantined(b"").open(PRIVATE)


def test_resource_without_steward_key_seals_nothing() -> None:
    with pytest.raises(SealError, match="no steward"):
        Sealer({}).seal("r", HEADER, None, b"x")


@pytest.mark.parametrize("text", ["", "abc", "!" * 44, base64.b64encode(bytes(31)).decode()])
def test_wrong_steward_key_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError, match="expected an X25519 key") as caught:
        Sealer({"r": text})
    assert not text or text not in str(caught.value)


def test_token_keys_differ_by_view_and_version() -> None:
    keys = ViewKeys(bytes(32))
    made = {keys.token_key(topic, version).key for topic in ("share.a", "share.b") for version in (1, 2)}
    assert len(made) == 4
    assert keys.token_key("share.a") == ViewKeys.from_hex("00" * 32).token_key("share.a", 1)


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32])
def test_wrong_master_key_is_refused(text: str) -> None:
    with pytest.raises(SealError, match="EXCHANGE_MASK_KEY"):
        ViewKeys.from_hex(text)


def test_master_key_is_not_in_its_repr() -> None:
    assert "0000" not in repr(ViewKeys(bytes(32)))
