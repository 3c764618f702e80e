"""A YAML file whose problems are shown where they are: file, line, column, the line itself and a caret.

A `YamlSource` holds plain values (dict, list, str, int, float, bool, date, None) beside the places they came
from. What cannot be read at all (not UTF-8, broken YAML) is raised at once; what can be passed over
(a key given twice, an anchor) is kept in `problems`, to be reported together with what validation finds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exchange.errors import ConfigError
from exchange.files import fast_yaml, textfile
from exchange.files.problem import Problem, Steps, Text

_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge")
)
_TEXT_TAG: Final = "tag:yaml.org,2002:str"


def read(path: Path) -> YamlSource:
    """Read a file as UTF-8 YAML.

    Raises: ConfigError when there is no such file, it is empty, not UTF-8 or not YAML.
    """
    return parse(textfile.read(path, "YAML").removeprefix(textfile.BYTE_ORDER_MARK), str(path))


def parse(text: str, name: str) -> YamlSource:
    """Parse YAML text; `name` is what the problems call it.

    Raises: ConfigError when it is empty or not YAML.
    """
    source = Text(name, text)
    yaml = YAML(typ="safe", pure=True)
    try:
        node = fast_yaml.compose(text) or yaml.compose(text)
        if node is not None:
            return YamlSource(source, node, yaml)
        problem = Problem(name, 0, 0, "the file is empty")
    except RecursionError:
        problem = Problem(name, 0, 0, "brackets or lists are nested too deeply")
    except YAMLError as error:
        problem = _syntax_problem(error, source)
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        # ruamel's scanner leaks these for some broken directives and escapes.
        problem = Problem(name, 0, 0, f"not YAML ({type(error).__name__} while reading it)")
    raise ConfigError(source.report([problem]), [problem])


class YamlSource:
    """The values of one file (`data`), the problems met on the way (`problems`), and where each stands."""

    def __init__(self, text: Text, node: Node, yaml: YAML) -> None:
        self.name = text.name
        self._text = text
        self.problems: list[Problem] = []
        self._root = node
        self._yaml = yaml
        self.data = self._value(node)

    def at(self, steps: Steps, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the value that `steps` lead to, or at its key.

        Steps that the file doesn't have (a missing key, the tag of a union) leave the place where it is.
        """
        node, key_node = self._root, None
        for step in steps:
            found = _child(node, step)
            if found is not None:
                key_node, node = found
        empty = isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index
        whole_block = isinstance(node, MappingNode | SequenceNode) and not node.flow_style
        if key_node is not None and (key or empty or whole_block):
            node = key_node
        return self._problem(node, message)

    def report(self, problems: Iterable[Problem]) -> str:
        """Return the text that shows all problems, by line."""
        return self._text.report(problems)

    def _problem(self, node: Node, message: str) -> Problem:
        start, end = node.start_mark, node.end_mark
        one_line = start.line == end.line and isinstance(node, ScalarNode)
        width = max(1, end.column - start.column) if one_line else 1
        return Problem(self.name, start.line + 1, start.column + 1, message, width)

    def _value(self, node: Node) -> Any:
        if node.anchor is not None:
            self.problems.append(
                self._problem(node, "anchors (&) and aliases (*) are not taken here; write the value out")
            )
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node)
        if isinstance(node, SequenceNode):
            return [self._value(item) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.problems.append(self._problem(key, "a key must be a plain word"))
            elif key.value in lines:
                first = lines[key.value]
                self.problems.append(
                    self._problem(key, f"key '{key.value}' is given twice, first in line {first}")
                )
            else:
                lines[key.value] = key.start_mark.line + 1
                values[key.value] = self._value(value)
        return values

    def _scalar(self, node: Node) -> Any:
        if (tag := str(node.tag)) == _TEXT_TAG:
            return node.value
        if tag not in _PLAIN_TAGS:
            self.problems.append(self._problem(node, "tags (!) are not taken here; write a plain value"))
            return None
        try:
            return self._yaml.constructor.construct_object(node)
        except Exception:  # 2027-02-31, a number of 5000 digits: left as text, which validation then refuses
            return node.value


def _child(node: Node, step: str | int) -> tuple[Node | None, Node] | None:
    """Return (key, value) of a mapping's entry, or (None, item) of a sequence's; None when there is none."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == str(step):
                return key, value
    elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def _syntax_problem(error: YAMLError, text: Text) -> Problem:
    if isinstance(error, MarkedYAMLError) and (problem := _unclosed(error, text)):
        return problem
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        line, column = mark.line, mark.column
        message = _syntax_message(error, text.lines[line] if line < len(text.lines) else "", column)
        return Problem(text.name, line + 1, column + 1, message)
    return text.at(getattr(error, "position", 0), "a control character stands here; remove it")


def _unclosed(error: MarkedYAMLError, text: Text) -> Problem | None:
    """Return the problem at a bracket or quotes still open where the parser gave up, lines below."""
    opened, seen = error.context_mark, error.problem_mark
    if opened is None or seen is None or opened.line >= seen.line:
        return None
    char = text.lines[opened.line][opened.column : opened.column + 1]
    if char not in ("{", "[", "'", '"'):
        return None
    if char in "'\"":
        message = f"not YAML: the quotes ({char}) that open here are not closed"
    elif "stream" in str(error.problem):
        message = f"not YAML: the {char} that opens here is not closed before the file ends"
    else:
        missing = f"a comma is missing in or before line {seen.line + 1}"
        message = f"not YAML: the {char} that opens here is not closed, or {missing}"
    return Problem(text.name, opened.line + 1, opened.column + 1, message)


def _syntax_message(error: MarkedYAMLError, line: str, column: int) -> str:
    problem = str(error.problem or "cannot be read")
    if line[column : column + 1] == "\t" or "'\\t'" in problem:
        return "a tab stands where only spaces may; indent with spaces"
    if "another document" in problem:
        return "a second document (---) begins here; the file holds one"
    if "alias" in problem or "anchor" in problem:
        return "anchors (&) and aliases (*) are not taken here; write the value out"
    if "mapping values are not allowed" in problem:
        return "not YAML: a second ': ' in one line; put the value in quotes, or mend the indentation"
    if "cannot start any token" in problem:
        return f"not YAML: a value cannot begin with {line[column : column + 1]!r}; put it in quotes"
    if "unexpected end of stream" in problem:
        return f"not YAML: the file ends {error.context or 'here'}; close the quotes or brackets"
    context = f" {error.context}" if error.context else ""
    opened = f" that begins in line {error.context_mark.line + 1}" if error.context_mark else ""
    return f"not YAML:{context}{opened}: {problem}; mend the indentation, brackets or quotes"
