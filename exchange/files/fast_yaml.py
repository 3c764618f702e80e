"""YAML composed by libyaml, for text that holds plain values only: several times as fast as in Python.

The nodes are ruamel's, resolved by YAML 1.2 as ruamel does. Whatever could be read in two ways, or is broken,
is left to ruamel: it has the better words for what is wrong.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import Any, Final

import yaml as libyaml
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_STR: Final = "tag:yaml.org,2002:str"
_MAP: Final = "tag:yaml.org,2002:map"
_SEQ: Final = "tag:yaml.org,2002:seq"
_COMMENT: Final = re.compile(r"^([^'\"#\n]*)(?<!\S)#.*", re.MULTILINE)
_LEFT_ALONE: Final = re.compile(
    r"(?:^|[\s\[\]{},:-])[&*!%@`?|>]|[\\\t\r\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]"
)
"""Anchors, tags, directives, blocks of text, complex keys, escapes; breaks that YAML 1.1 takes otherwise."""


def compose(text: str) -> Node | None:
    """Return the root of the one document; None where ruamel has to read it."""
    if not libyaml.__with_libyaml__ or _LEFT_ALONE.search(_COMMENT.sub(r"\1", text)):
        return None
    try:
        root = _loader()(text).get_single_node()
    except (libyaml.YAMLError, RecursionError):
        return None
    return None if root is None else _as_ruamels(root)


def _loader() -> Any:
    resolve_scalar = cache(partial(YAML(typ="safe", pure=True).resolver.resolve, ScalarNode))

    class Loader(libyaml.cyaml.CParser):  # type: ignore[misc]
        """libyaml's parser with ruamel's resolver."""

        def resolve(self, kind: type[libyaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
            if kind is libyaml.ScalarNode:
                return str(resolve_scalar(value, implicit)) if implicit[0] else _STR
            return _MAP if kind is libyaml.MappingNode else _SEQ

        def descend_resolver(self, *_given: Any) -> None:
            """Tags by path are not used."""

        def ascend_resolver(self) -> None:
            """Tags by path are not used."""

    return Loader


def _as_ruamels(node: libyaml.Node) -> Node:
    marks = {"start_mark": node.start_mark, "end_mark": node.end_mark}
    if isinstance(node, libyaml.ScalarNode):
        return ScalarNode(node.tag, node.value, style=node.style, **marks)
    if isinstance(node, libyaml.SequenceNode):
        items = [_as_ruamels(item) for item in node.value]
        return SequenceNode(node.tag, items, flow_style=node.flow_style, **marks)
    pairs = [(_as_ruamels(key), _as_ruamels(value)) for key, value in node.value]
    return MappingNode(node.tag, pairs, flow_style=node.flow_style, **marks)
