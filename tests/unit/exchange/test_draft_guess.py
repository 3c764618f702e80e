"""What a column's name, comment and values make one guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.contract import SENSITIVITIES
from exchange.draft.guess import guess, rules_for, shapes_of
from exchange.draft.words import CLASS_OF, WORDS
from tests.trial.people import id_number

IDS = [id_number(number) for number in range(50)]
CARDS = ["6222021234567890128", "4539578763621486"]


def test_every_word_leads_to_a_sensitivity_that_contracts_know() -> None:
    assert set(CLASS_OF) == set(WORDS) <= SENSITIVITIES


@pytest.mark.parametrize(
    ("column", "comment", "sensitivity", "classification"),
    [
        ("sfzh", "", "id_number", 4),
        ("c1", "居民身份证号码", "id_number", 4),
        ("idCardNo", "", "id_number", 4),
        ("ID_NUMBER", "", "id_number", 4),
        ("xm", "", "person_name", 3),
        ("full_name", "", "person_name", 3),
        ("姓名", "", "person_name", 3),
        ("lxdh", "", "mobile", 3),
        ("contact_phone", "", "mobile", 3),
        ("yhkh", "", "bank_account", 4),
        ("jtzz", "", "address", 3),
        ("csrq", "", "birth_date", 3),
        ("bz", "", "free_text", 3),
        ("xm", "持卡人银行卡号", "bank_account", 4),
        ("mzdm", "", "ethnic_code", 3),
    ],
)
def test_names_and_comments_tell(column: str, comment: str, sensitivity: str, classification: int) -> None:
    found = guess(column, comment, "string", shapes_of(["x"]))
    assert (found.sensitivity, found.classification) == (sensitivity, classification)
    assert found.reason


@pytest.mark.parametrize("column", ["updated_at", "region_code", "amount", "maximum", "headline", "sjly"])
def test_words_inside_other_words_tell_nothing(column: str) -> None:
    assert guess(column, "", "long", shapes_of([])).sensitivity is None


@pytest.mark.parametrize(
    ("values", "sensitivity", "classification"),
    [
        (IDS, "id_number", 4),
        (["A-1"] * 99 + IDS[:1], "id_number", 4),
        (["本人身份证" + IDS[0] + "，已核"], "free_text", 4),
        (["13812345678", "15900001111"], "mobile", 3),
        (["请联系13812345678"], "free_text", 3),
        (["a@example.com", "none"], "email", 3),
        (CARDS, "bank_account", 4),
        (["王小明", "欧阳娜娜", "李雷"], "person_name", 3),
        (["浙江省杭州市西湖区文三路12号", "宁波市海曙区中山路3号"], "address", 3),
        (["110101900307851"], "id_number", 4),
    ],
)
def test_values_tell(values: list[str], sensitivity: str, classification: int) -> None:
    found = guess("c7", "", "string", shapes_of(values))
    assert (found.sensitivity, found.classification) == (sensitivity, classification)


def test_the_stricter_of_two_guesses_stands_with_both_reasons() -> None:
    found = guess("remark", "", "string", shapes_of(IDS))
    assert (found.sensitivity, found.classification) == ("id_number", 4)
    assert "'remark'" in found.reason
    assert "50 of 50 sampled values" in found.reason


@pytest.mark.parametrize(
    ("kind", "values", "classification"),
    [("string", [], 3), ("string", ["x" * 50], 3), ("bytes", [], 3), ("string", ["A1"], 2), ("int", [], 2)],
)
def test_what_cannot_be_judged_is_graded_strictly(kind: str, values: list[str], classification: int) -> None:
    assert guess("c7", "", kind, shapes_of(values)).classification == classification


@given(st.lists(st.text(min_size=3, max_size=60), max_size=20))
def test_no_value_is_in_a_reason(values: list[str]) -> None:
    marked = [f"‡{value}‡" for value in values]
    assert "‡" not in guess("c7", "", "string", shapes_of(marked)).reason


def test_a_rule_is_given_only_where_all_of_many_values_keep_it() -> None:
    assert rules_for(shapes_of(IDS)) == ["cn_id_number"]
    assert rules_for(shapes_of([*IDS, "x"])) == []
    assert rules_for(shapes_of(IDS[:3])) == []
