"""What a change of views and grants means to readers. The masks themselves say whether one shows more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.apply.exposure import is_within, shows_more, view_changes
from exchange.fieldtype import FieldType
from exchange.keys import TokenKey
from exchange.masking import (
    Clear,
    Generalise,
    MaskSpec,
    Null,
    Omit,
    Partial,
    Redact,
    Token,
    TokenScope,
    compile_mask,
)
from exchange.view import RowCondition, ViewSpec

CLEAR = Clear(kind="clear")
SCOPE = TokenScope(TokenKey(1, bytes(32)), "v", "f", None, exact=True)
SIZES = st.integers(0, 4)
TEXT_MASKS: st.SearchStrategy[MaskSpec | None] = st.one_of(
    st.none(),
    st.just(CLEAR),
    st.just(Omit(kind="omit")),
    st.just(Null(kind="null")),
    st.builds(Redact, kind=st.just("redact"), text=st.sampled_from(["***", "x"])),
    st.builds(Partial, kind=st.just("partial"), keep_first=SIZES, keep_last=SIZES),
    st.builds(Generalise, kind=st.just("generalise"), to=st.just("prefix"), size=st.integers(1, 4)),
    st.just(Token(kind="token")),
)
DATE_MASKS = st.builds(Generalise, kind=st.just("generalise"), to=st.sampled_from(["year", "month"]))
BUCKET_MASKS = st.builds(
    Generalise, kind=st.just("generalise"), to=st.just("bucket"), size=st.integers(1, 12)
)
TEXTS = ["", "a", "b", "ab", "ac", "abc", "abd", "xbc", "abcd", "abce", "abcdefgh", "abcdefgx", None]


def spec(fields: dict[str, Any], *rows: RowCondition) -> ViewSpec:
    label = {"zh": "视图", "en": "View"}
    return ViewSpec.model_validate(
        {"resource": "a.b", "label": label, "fields": fields, "rows": [row.model_dump() for row in rows]}
    )


def outputs(mask: MaskSpec | None, kind: str, values: list[Any]) -> list[Any]:
    """Return what readers get; what isn't shown is the same for every value."""
    if mask is None or isinstance(mask, Omit):
        return [None] * len(values)
    function = compile_mask(mask, FieldType(kind), SCOPE)
    return [function(value) for value in values]


def follows(old: list[Any], new: list[Any]) -> bool:
    """Whether each new value can be told from the old one alone."""
    known: dict[Any, Any] = {}
    return all(known.setdefault(repr(before), after) == after for before, after in zip(old, new, strict=True))


@given(TEXT_MASKS, TEXT_MASKS)
def test_a_mask_said_to_show_no_more_can_be_told_from_the_old_one(
    old: MaskSpec | None, new: MaskSpec | None
) -> None:
    if not shows_more(old, new):
        assert follows(outputs(old, "string", TEXTS), outputs(new, "string", TEXTS))


@given(DATE_MASKS, DATE_MASKS)
def test_a_coarser_date_shows_no_more_and_only_that(old: Generalise, new: Generalise) -> None:
    days = list(range(0, 1200, 9))
    is_told = follows(outputs(old, "date", days), outputs(new, "date", days))
    assert shows_more(old, new) is not is_told


@given(BUCKET_MASKS, BUCKET_MASKS)
def test_a_bucket_shows_no_more_where_the_old_ones_fill_it_and_only_there(
    old: Generalise, new: Generalise
) -> None:
    numbers = list(range(-150, 151))
    is_told = follows(outputs(old, "int", numbers), outputs(new, "int", numbers))
    assert shows_more(old, new) is not is_told


def test_a_shorter_partial_shows_more_of_short_values() -> None:
    longer = Partial(kind="partial", keep_first=3, keep_last=4)
    shorter = Partial(kind="partial", keep_first=2, keep_last=3)
    assert outputs(longer, "string", ["abcdefg"]) == ["*******"]
    assert outputs(shorter, "string", ["abcdefg"]) == ["ab**efg"]
    assert shows_more(longer, shorter)


CODES = st.sampled_from(["", "3", "33", "330", "34", "A", "B"])
CONDITIONS = st.builds(
    RowCondition,
    field=st.sampled_from(["region", "status"]),
    prefix=st.lists(CODES, max_size=2).map(tuple),
    values=st.lists(CODES, max_size=2).map(tuple),
)
SCOPES = st.lists(CONDITIONS, max_size=3).map(tuple)


def meets(row: dict[str, str], scope: tuple[RowCondition, ...]) -> bool:
    return all(row[one.field].startswith(one.prefix) or row[one.field] in one.values for one in scope)


@given(SCOPES, SCOPES)
def test_a_scope_said_to_lie_within_another_lets_no_other_row_through(
    new: tuple[RowCondition, ...], old: tuple[RowCondition, ...]
) -> None:
    codes = ["", "3", "33", "330", "3301", "34", "A", "B", "Z"]
    rows = [{"region": region, "status": status} for region in codes for status in codes]
    if is_within(new, old):
        assert [row for row in rows if meets(row, new) and not meets(row, old)] == []


@pytest.mark.parametrize(
    ("new", "old", "within"),
    [
        ((RowCondition(field="r", prefix=("330",)),), (RowCondition(field="r", prefix=("33",)),), True),
        ((RowCondition(field="r", values=("3301",)),), (RowCondition(field="r", prefix=("33",)),), True),
        ((RowCondition(field="r", prefix=("3",)),), (RowCondition(field="r", prefix=("33",)),), False),
        ((), (RowCondition(field="r", prefix=("33",)),), False),
        ((RowCondition(field="r", prefix=("33",)),), (), True),
    ],
)
def test_a_narrower_scope_is_seen_as_one(
    new: tuple[RowCondition, ...], old: tuple[RowCondition, ...], within: bool
) -> None:
    assert is_within(new, old) is within


def test_changes_say_old_and_new_and_who_reads() -> None:
    before = {
        "a.b.v": spec(
            {"id": "token", "name": "clear", "born": "null"}, RowCondition(field="r", values=("1",))
        ),
        "a.b.gone": spec({"id": "clear"}),
    }
    after = {"a.b.v": spec({"id": "token", "name": "redact", "born": "clear", "address.city": "clear"})}
    readers = {"a.b.v": frozenset({"tax"})}
    changes = view_changes(before, after, readers | {"a.b.gone": frozenset({"old"})}, readers)
    assert list(map(str, changes)) == [
        "~ view a.b.gone, view: declared → no longer declared (read by old)",
        "! view a.b.v, field address.city: not shown → clear (read by tax)",
        "! view a.b.v, field born: null → clear (read by tax)",
        "~ view a.b.v, field name: clear → redact (read by tax)",
        "! view a.b.v, rows: r in 1 → all (read by tax)",
    ]


def test_a_new_reader_is_exposed_to_what_the_view_shows() -> None:
    views = {"a.b.v": spec({"id": "token", "name": "clear"}, RowCondition(field="r", prefix=("33",)))}
    before, after = {"a.b.v": frozenset({"tax"})}, {"a.b.v": frozenset({"housing"})}
    assert list(map(str, view_changes(views, views, before, after))) == [
        "! view a.b.v, reader housing: no access → reads clear name; token; rows: r in 33… (read by housing)",
        "~ view a.b.v, reader tax: reads → no access (read by housing)",
    ]


def test_part_of_a_record_that_was_shown_whole_is_no_exposure_and_the_whole_of_a_part_is() -> None:
    whole, part = {"v": spec({"address": "clear"})}, {"v": spec({"address.city": "clear"})}
    assert [change.exposes for change in view_changes(whole, part, {}, {})] == [False, False]
    assert [change.exposes for change in view_changes(part, whole, {}, {})] == [True, False]


def test_a_new_reason_for_a_clear_field_changes_nothing_for_readers() -> None:
    before = {"v": spec({"id": {"kind": "clear", "reason": "law 1"}})}
    after = {"v": spec({"id": {"kind": "clear", "reason": "law 2"}})}
    assert view_changes(before, after, {}, {}) == ()
