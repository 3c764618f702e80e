from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric

from exchange.change import Reason
from exchange.fieldtype import FieldType, decimal_bytes
from exchange.rules import RULES, compile_rule
from exchange.safe_regex import compile_safe
from tests.unit.exchange.samples import DAY_MS, NOW_DAYS, NOW_MS, credit_code, id_number

TEXT = FieldType("string")
DATE = FieldType("date")
MONEY = FieldType("decimal", precision=10, scale=2)
TEXTS = FieldType("array", items=TEXT)

JUDGED: list[tuple[dict[str, Any], FieldType, list[Any], list[Any]]] = [
    ({"rule": "required"}, TEXT, ["x", " x "], ["", " ", "　", "\t"]),
    ({"rule": "required"}, FieldType("int"), [0, -1], [None]),
    ({"rule": "required"}, TEXTS, [["a"]], [[]]),
    ({"rule": "length", "min": 2, "max": 3}, TEXT, ["王明", "abc", "𠮷野家"], ["", "王", "abcd"]),
    ({"rule": "length", "min": None, "max": 1}, TEXT, ["", "王"], ["ab"]),
    ({"rule": "length", "max": 2}, FieldType("bytes"), [b"", b"12"], [b"123"]),
    ({"rule": "length", "min": 1}, TEXTS, [["a"]], [[]]),
    ({"rule": "range", "min": 1, "max": 12}, FieldType("int"), [1, 12], [0, 13, -(2**31)]),
    ({"rule": "range", "min": -5}, FieldType("long"), [-5, 2**63 - 1], [-6]),
    ({"rule": "range", "max": "0.5"}, FieldType("double"), [0.5, -1e300], [0.5000001]),
    (
        {"rule": "range", "min": "0.01", "max": "10"},
        MONEY,
        [*map(decimal_bytes, (1, 1000))],
        [b"\x00", b"\xff"],
    ),
    ({"rule": "range", "min": "1990-01-01"}, DATE, [7305], [7304]),
    (
        {"rule": "pattern", "regex": "[0-9]{3}|x"},
        TEXT,
        ["123", "x"],
        ["1234", "123\n", " 123", "12x", "１２３"],
    ),
    ({"rule": "pattern", "regex": "\\d+"}, TEXT, ["1"], ["", "１", "٣"]),
    ({"rule": "pattern", "regex": "[a-z]{2}"}, TEXTS, [[], ["zh", "en"]], [["zh", "e"]]),
    ({"rule": "codes", "values": ["0", "1"]}, TEXT, ["0", "1"], ["2", "", "01"]),
    ({"rule": "codes", "values": ["A"]}, TEXTS, [["A"]], [["A", "B"]]),
    ({"rule": "not_future"}, DATE, [NOW_DAYS, NOW_DAYS + 1], [NOW_DAYS + 2]),
    (
        {"rule": "not_future"},
        FieldType("timestamp"),
        [NOW_MS * 1000, (NOW_MS + DAY_MS) * 1000],
        [(NOW_MS + DAY_MS) * 1000 + 1],
    ),
    (
        {"rule": "cn_id_number"},
        TEXT,
        [id_number(1), id_number(2, region="830000"), "11010519491231002X"],
        [
            "11010519491231002x",
            "110105194912310021",
            "110105491231002",
            "11010519490231002X",
            "１1010519491231002X",
            " 11010519491231002X",
            "11010519491231002X\n",
            "110105 1949 1231 002X",
            "",
            "X" * 18,
        ],
    ),
    (
        {"rule": "cn_mobile"},
        TEXT,
        ["13800000000", "19912345678"],
        ["12800000000", "1380000000", "+8613800000000"],
    ),
    (
        {"rule": "cn_credit_code"},
        TEXT,
        [credit_code(), "91110000600037341L"],
        ["91110000600037341l", "911100006000373411", "9111000060003734", "9111000060003I341L", ""],
    ),
    (
        {"rule": "email"},
        TEXT,
        ["a@b.cn", "first.last+tag@mail.example.com"],
        ["a@b", "@b.cn", "a b@c.cn", "a@b..cn", ".a@b.cn", "a@-b.cn", "a@b.cn\n", "中@b.cn", "a@b@c.cn"],
    ),
]


@pytest.mark.parametrize(("rule", "type_", "good", "bad"), JUDGED, ids=lambda case: str(case)[:40])
def test_rule_takes_good_values_and_refuses_bad_ones(
    rule: dict[str, Any], type_: FieldType, good: list[Any], bad: list[Any]
) -> None:
    compiled = compile_rule(rule, type_)
    assert [value for value in good if not compiled.test(value, NOW_MS)] == []
    assert [value for value in bad if compiled.test(value, NOW_MS)] == []


def test_table_above_judges_every_rule_there_is() -> None:
    assert {case[0]["rule"] for case in JUDGED} == set(RULES)


def test_every_rule_has_a_reason_of_its_own_kind() -> None:
    assert all(isinstance(kind.reason, Reason) for kind in RULES.values())


@pytest.mark.parametrize(
    ("rule", "type_", "told"),
    [
        ({"rule": "cn_mobil"}, TEXT, "Did you mean 'cn_mobile'"),
        ({"rule": "length", "mim": 1}, TEXT, "Did you mean 'min'"),
        ({"rule": "length"}, TEXT, "give min, max or both"),
        ({"rule": "length", "min": None}, TEXT, "give min, max or both"),
        ({"rule": "range", "max": None}, DATE, "give min, max or both"),
        ({"rule": "length", "min": 3, "max": 2}, TEXT, "min is above max"),
        ({"rule": "length", "min": True}, TEXT, "whole numbers"),
        ({"rule": "length", "min": 1}, DATE, "does not fit date; it fits array, bytes, string"),
        ({"rule": "range", "min": 0.1}, MONEY, "exact values of decimal(10,2)"),
        ({"rule": "range", "min": "0.001"}, MONEY, "exact values of decimal(10,2)"),
        ({"rule": "range", "min": "1990-13-01"}, DATE, "exact values of date"),
        ({"rule": "range", "min": "1"}, TEXT, "does not fit string"),
        ({"rule": "pattern"}, TEXT, "'regex' is missing"),
        ({"rule": "pattern", "regex": "("}, TEXT, "not a regular expression"),
        ({"rule": "pattern", "regex": 7}, TEXT, "regex is text"),
        ({"rule": "codes", "values": []}, TEXT, "not empty"),
        ({"rule": "codes", "values": ["a", "a"]}, TEXT, "listed twice"),
        ({"rule": "codes", "values": "abc"}, TEXT, "list of texts"),
        ({"rule": "cn_id_number", "strict": True}, TEXT, "unknown parameter 'strict'"),
        ({"rule": "cn_id_number"}, FieldType("long"), "does not fit long"),
        ({"rule": "not_future"}, TEXT, "does not fit string"),
        ("required", TEXT, "a rule is an object"),
    ],
)
def test_wrong_declaration_says_what_would_be_right(rule: Any, type_: FieldType, told: str) -> None:
    with pytest.raises(ValueError, match="rule") as caught:
        compile_rule(rule, type_)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "regex",
    [
        "(a+)+",
        "(a|a){30}",
        ".*.*",
        "(?=a)b",
        r"(a)\1",
        "(a*){2}",
        "(?:(?:a?){30}){30}",
        "(a|ab)*c",
        "a" * 501,
    ],
)
def test_pattern_that_could_run_for_ever_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match="regex"):
        compile_safe(regex)


@pytest.mark.parametrize(
    "regex", [r"\d{6}", r"[A-Z]\d{0,3}(-\d+)?", r"(\d{2}|\d{4}){1,3}", ".*x", "[一-龥·]{1,30}"]
)
def test_allowed_pattern_judges_a_hostile_text_at_once(regex: str) -> None:
    compiled = compile_safe(regex)
    began = time.thread_time()
    compiled.fullmatch("1" * 100_000 + "!")
    compiled.fullmatch("A1-" + "1" * 100_000 + "!")
    assert time.thread_time() - began < 1.0


@given(st.text(alphabet="0123456789X", min_size=18, max_size=18))
def test_id_number_rule_never_takes_what_the_standard_library_of_numbers_refuses(text: str) -> None:
    rule = compile_rule({"rule": "cn_id_number"}, TEXT)
    if rule.test(text, NOW_MS):
        assert ric.calc_check_digit(text) == text[-1]
        ric.get_birth_date(text)


@given(st.text())
def test_no_rule_raises_whatever_the_text(text: str) -> None:
    for name in ("required", "cn_id_number", "cn_mobile", "cn_credit_code", "email"):
        compile_rule({"rule": name}, TEXT).test(text, NOW_MS)
