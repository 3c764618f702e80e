"""What is wrong with a JSON file is told in one clear message each, at its place."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ConfigError
from exchange.files.json_source import JsonSource

DEEP = "[" * 70 + "]" * 70


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "1:1: the file is empty"),
        (" \n", "1:1: the file is empty"),
        ('{"a": 1,}', "1:8: not JSON: a comma stands before the closing }"),
        ('{"a": [1,\n]}', "1:9: not JSON: a comma stands before the closing ]"),
        ('{"a": 1,, "b": 2}', "1:9: not JSON: one comma too many"),
        ('{\n "a": 1\n "b": 2}', "2:7: not JSON: a comma or a closing bracket is missing after this"),
        ('{"a" 1}', "1:4: not JSON: a colon and a value are missing after this key"),
        ("{'a': 1}", "1:2: not JSON: texts and keys stand in double quotes"),
        ("{a: 1}", "1:2: not JSON: a key in double quotes"),
        ('{"a": True}', "1:7: not JSON: a value is wanted here"),
        ('{"a": // no\n 1}', "1:7: not JSON: comments are not taken here"),
        ('{"a": "x\n}', '1:7: not JSON: the quotes (") that open here are not closed in their line'),
        ('{"a": "x', '1:7: not JSON: the quotes (") that open here are not closed'),
        ('{"a": "x\ty"}', "1:9: not JSON: a tab or another control character"),
        ('{"a": "[0-9]\\d"}', r"1:13: not JSON: a \ in quotes is written \\"),
        ('{\n "a": {\n "b": 1}\n', "1:1: not JSON: the { that opens here is not closed"),
        ('{"a": 1}\n}', "2:1: not JSON: something follows the closing bracket"),
        (DEEP, "1:64: brackets are nested too deeply"),
        ("[" * 100_000, "1:64: brackets are nested too deeply"),
        (f"[{'9' * 5000}]", "1:2: a number too large to be read"),
        ("[1e99999999999999999999]", "1:2: a number too large to be read"),
        ('{"a": 1, "a": 2, ]', "1:16: not JSON: a comma stands before the closing ]"),
    ],
)
def test_what_is_not_json_is_refused_at_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        JsonSource(text, "t.json")
    assert told in str(caught.value)
    assert len(caught.value.problems) == 1


def test_keys_given_twice_nan_and_a_byte_order_mark_are_told_together_at_their_places() -> None:
    source = JsonSource('\ufeff{"a": 1,\n "a": 2, "b": {"c": NaN, "c": [-Infinity]}}', "t.json")
    assert [str(problem) for problem in sorted(source.problems)] == [
        "t.json:1:1: the file begins with a byte order mark (BOM); save it as UTF-8 without one",
        "t.json:2:2: key 'a' is given twice, first in line 1",
        "t.json:2:21: NaN is not JSON; a number is wanted, or null",
        "t.json:2:26: key 'c' is given twice, first in line 2",
        "t.json:2:32: -Infinity is not JSON; a number is wanted, or null",
    ]
    assert source.data == {"a": 1, "b": {"c": None}}


def test_a_text_that_holds_what_json_is_made_of_is_no_structure() -> None:
    source = JsonSource('{"a": "{\\"a\\": [NaN, ", "b,": ":"}', "t.json")
    assert source.problems == []
    assert source.at(["b,"], "here").column == 31


@pytest.mark.parametrize(
    ("steps", "key", "place"),
    [
        (["a"], False, (2, 7, 1)),
        (["a"], True, (2, 2, 3)),
        (["b"], False, (3, 2, 3)),
        (["b", 1], False, (4, 6, 11)),
        (["b", 1, "c"], False, (4, 12, 4)),
        (["b", 1, "nobody"], False, (4, 6, 11)),
        ([], False, (1, 1, 1)),
    ],
)
def test_a_problem_stands_at_the_value_or_at_the_key(
    steps: list[str | int], key: bool, place: tuple[int, int, int]
) -> None:
    source = JsonSource('{\n "a": 1,\n "b": [\n  0, {"c": true}]\n}', "t.json")
    problem = source.at(steps, "here", key=key)
    assert (problem.line, problem.column, problem.width) == place


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


@given(VALUES)
def test_every_value_is_found_where_it_is_written(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    source, lines = JsonSource(text, "t.json"), text.split("\n")
    assert source.data == value
    for steps, inner in _inside(value):
        problem = source.at(steps, "here")
        if not isinstance(inner, list | dict):
            written = json.dumps(inner, ensure_ascii=False)
            assert lines[problem.line - 1][problem.column - 1 :][: problem.width] == written


def _inside(value: object, steps: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], object]]:
    pairs: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return [(steps, value)] + [found for step, inner in pairs for found in _inside(inner, (*steps, step))]


@given(st.text(alphabet="{}[]:,\"\\ \n1aNn-'/\ufeff\u2028"))
def test_any_text_raises_nothing_but_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert JsonSource(text, "t.json").at(["a", 0], "here").line >= 1
