from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from exchange.fieldtype import FieldType, decimal_bytes, decimal_unscaled
from exchange.masking import MaskSpec, TokenScope, canonical, compile_mask, output_type
from tests.unit.exchange.samples import KEYS

TEXT = FieldType("string")
SPEC: TypeAdapter[Any] = TypeAdapter(MaskSpec)
TOKEN_KEY = KEYS.token_key("share.r.v")


def scope(**changes: Any) -> TokenScope:
    given_: dict[str, Any] = {
        "key": TOKEN_KEY,
        "view": "r.v",
        "field": "f",
        "sensitivity": None,
        "exact": False,
    }
    return TokenScope(**(given_ | changes))


def mask(value: Any, type_: FieldType = TEXT, scope_: TokenScope | None = None, **declared: Any) -> Any:
    return compile_mask(SPEC.validate_python(declared), type_, scope_ or scope())(value)


def days(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("value", "first", "last", "seen"),
    [
        ("13857112345", 3, 2, "138******45"),
        ("王小明", 1, 0, "王**"),
        ("王小明", 0, 1, "**明"),
        ("王明", 1, 1, "**"),
        ("王", 1, 0, "*"),
        ("", 1, 0, ""),
        ("abc", 0, 0, "***"),
        ("abc", 9, 9, "***"),
        ("𠮷野家", 1, 0, "𠮷**"),
    ],
)
def test_partial_keeps_the_ends_but_never_everything(value: str, first: int, last: int, seen: str) -> None:
    assert mask(value, kind="partial", keep_first=first, keep_last=last) == seen


@given(st.text(min_size=1), st.integers(0, 30), st.integers(0, 30))
def test_partial_always_hides_at_least_one_character(value: str, first: int, last: int) -> None:
    seen = mask(value, kind="partial", keep_first=first, keep_last=last)
    assert len(seen) == len(value)
    assert "*" in seen


@pytest.mark.parametrize(
    ("type_", "value", "declared", "seen"),
    [
        (FieldType("date"), days("1990-03-07"), {"to": "year"}, "1990"),
        (FieldType("date"), days("1990-03-07"), {"to": "month"}, "1990-03"),
        (FieldType("date"), days("1969-12-31"), {"to": "month"}, "1969-12"),
        (FieldType("date"), days("0001-01-01"), {"to": "year"}, "0001"),
        (FieldType("timestamp"), -1, {"to": "month"}, "1969-12"),
        (FieldType("local_timestamp"), 86_400_000_000 * 31, {"to": "month"}, "1970-02"),
        (TEXT, "330106", {"to": "prefix", "size": 4}, "3301"),
        (TEXT, "3301", {"to": "prefix", "size": 4}, "****"),
        (FieldType("int"), 37, {"to": "bucket", "size": 10}, 30),
        (FieldType("int"), -1, {"to": "bucket", "size": 10}, -10),
        (FieldType("long"), 2**63 - 1, {"to": "bucket", "size": 1000}, 2**63 - 808),
    ],
)
def test_generalise_makes_values_coarser(
    type_: FieldType, value: Any, declared: dict[str, Any], seen: Any
) -> None:
    assert mask(value, type_, kind="generalise", **declared) == seen


def test_bucket_of_a_decimal_counts_whole_units() -> None:
    money = FieldType("decimal", precision=8, scale=2)
    seen = mask(decimal_bytes(12_345_67), money, kind="generalise", to="bucket", size=1000)
    assert decimal_unscaled(seen) == 12_000_00


def test_bucket_that_leaves_the_type_raises_instead_of_showing_the_value() -> None:
    money = FieldType("decimal", precision=4, scale=2)
    with pytest.raises(OverflowError):
        mask(decimal_bytes(-9999), money, kind="generalise", to="bucket", size=1000)


def test_null_stays_null_but_under_redact_even_that_is_hidden() -> None:
    assert mask(None, kind="partial", keep_first=1) is None
    assert mask(None, kind="token") is None
    assert mask(None, kind="redact", text="—") == "—"
    assert mask("x", kind="null") is None
    assert mask("x", kind="clear") == "x"


def test_token_has_its_documented_form() -> None:
    token = mask("x", kind="token")
    assert len(token) == len("t1_") + 32
    assert token.startswith("t1_")
    assert set(token[3:]) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"key": KEYS.token_key("share.r.other")},
        {"key": KEYS.token_key("share.r.v", 2)},
        {"view": "r.w"},
        {"field": "g"},
        {"view": "r.v\0f", "field": ""},
    ],
)
def test_tokens_of_two_views_fields_or_keys_are_unlinkable(changes: dict[str, Any]) -> None:
    assert mask("x", kind="token")[3:] != mask("x", TEXT, scope(**changes), kind="token")[3:]


@pytest.mark.parametrize(
    "variant",
    [
        "11010519491231002x",
        "１１０１０５１９４９１２３１００２Ｘ",
        " 110105 19491231-002X ",
        "110105491231002",
    ],
)
def test_variants_of_one_id_number_share_a_token(variant: str) -> None:
    ids = scope(sensitivity="id_number")
    assert mask(variant, TEXT, ids, kind="token") == mask("11010519491231002X", TEXT, ids, kind="token")


def test_key_tokens_tell_apart_what_the_table_tells_apart() -> None:
    exact = scope(exact=True, sensitivity="id_number")
    assert mask("ab c", TEXT, exact, kind="token") != mask("abc", TEXT, exact, kind="token")


def test_names_keep_their_inner_blanks_and_case() -> None:
    assert canonical(" Ann  Li ", "person_name") == "Ann  Li"


@given(st.text(), st.sampled_from([None, "id_number", "mobile", "person_name"]))
def test_canonical_form_is_its_own_canonical_form(text: str, sensitivity: str | None) -> None:
    once = canonical(text, sensitivity)
    assert canonical(once, sensitivity) == once


@given(st.text(min_size=4))
def test_token_never_holds_its_value(text: str) -> None:
    assert text not in mask(text, kind="token")


@pytest.mark.parametrize(
    ("type_", "declared", "told"),
    [
        (FieldType("date"), {"kind": "partial"}, "does not fit date; it fits string, uuid"),
        (TEXT, {"kind": "generalise", "to": "year"}, "it fits date, local_timestamp, timestamp"),
        (TEXT, {"kind": "generalise", "to": "bucket", "size": 1}, "it fits decimal, int, long"),
        (TEXT, {"kind": "generalise", "to": "prefix"}, "needs a size"),
        (FieldType("double"), {"kind": "token"}, "does not fit double"),
        (FieldType("record"), {"kind": "token"}, "does not fit record"),
        (TEXT, {"kind": "omit"}, "yields no value"),
    ],
)
def test_mask_that_does_not_fit_is_refused(type_: FieldType, declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match="mask") as caught:
        output_type(SPEC.validate_python(declared), type_)
    assert told in str(caught.value)


@pytest.mark.parametrize("value", [b"bytes", 7, ["x"], object(), "\ud800"])
@pytest.mark.parametrize("kind", ["partial", "token"])
def test_mask_given_what_it_cannot_mask_never_gives_it_back(kind: str, value: Any) -> None:
    try:
        seen = mask(value, kind=kind)
    except Exception:
        return
    assert seen != value
