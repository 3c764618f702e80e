"""YAML by libyaml is YAML by ruamel: the same values at the same places, or none at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from exchange.files import fast_yaml

TOPOLOGY = Path(__file__).parents[3] / "topology.yaml"
SNIPPETS = (
    "a", "b: 1", "- x", "{a: 1, b: [2, x]}", "yes", "on", "1e3", "0o17", "017", "0b1", "1_000", "12:30:45",
    "~", "null", "2026-11-28", "2026-11-28T08:00:00Z", ".inf", "+1", "''", '"双"', "户: {zh: 人, en: one}",
    "#", " # c", "|", ">-", ": ", "- ", "[", "]", "{", "}", ",", "\n", "\n  ", "\n    ", "\n- ", "\n  - ",
    "a: ", "k1: v\nk2: w\n", "---\n", "...", "=", "<<", "'it''s'",
)  # fmt: skip
LEFT_ALONE = (
    "a: &b 1", "a: *b", "a: !t 1", "%YAML 1.1\n---\na: 1", "a: 1\u2028b: 2", "a: [", "", "\ta: 1",
)  # fmt: skip


def outline(node: Node) -> Any:
    """Return what of a node is used: tag, value, where it begins and ends or that it is empty."""
    begin, end = [(mark.line, mark.column, mark.index) for mark in (node.start_mark, node.end_mark)]
    if isinstance(node, MappingNode):
        return str(node.tag), [(outline(key), outline(value)) for key, value in node.value], begin
    if isinstance(node, SequenceNode):
        return str(node.tag), [outline(item) for item in node.value], begin
    return str(node.tag), node.value, (begin, end) if begin != end else ()


def by_ruamel(text: str) -> Any:
    try:
        return outline(YAML(typ="safe", pure=True).compose(text))
    except (YAMLError, ValueError, IndexError, AttributeError, TypeError):
        return None


def test_the_projects_own_topology_is_read_by_it() -> None:
    text = TOPOLOGY.read_text()
    found = fast_yaml.compose(text)
    assert found is not None
    assert outline(found) == by_ruamel(text)


@settings(max_examples=1_500, deadline=None)
@given(st.lists(st.sampled_from(SNIPPETS), max_size=12).map("".join))
def test_what_it_reads_is_what_ruamel_reads(text: str) -> None:
    found = fast_yaml.compose(text)
    assert found is None or outline(found) == by_ruamel(text)


@pytest.mark.parametrize(
    "text", ["a: &b 1", "a: *b", "a: !t 1", "%YAML 1.1\n---\na: 1", "a: 1\u2028b: 2", "a: [", "", "\ta: 1"]
)
def test_what_may_be_read_in_two_ways_is_left_to_ruamel(text: str) -> None:
    assert fast_yaml.compose(text) is None
