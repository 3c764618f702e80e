"""A YAML file whose problems are shown where they are: file, line, column, the line itself and a caret.

A `YamlSource` holds plain values (dict, list, str, int, float, bool, date, None) beside the places they came
from. What cannot be read at all (not UTF-8, broken YAML) is raised at once; what can be passed over
(a key given twice, an anchor) is kept in `problems`, to be reported together with what validation finds.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from exchange.errors import ConfigError

Steps = Sequence[str | int]
"""Keys and indices that lead to a value, as in pydantic's `loc`."""

MAX_BYTES: Final = 4 * 1024 * 1024
_LONGEST_LINE: Final = 110
_BREAKS: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge")
)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend. Line and column count from 1; width is how many characters the caret underlines."""

    line: int
    column: int
    message: str
    width: int = 1


def read(path: Path) -> YamlSource:
    """Read a file as UTF-8 YAML.

    Raises: ConfigError when there is no such file, it is empty, not UTF-8 or not YAML.
    """
    text = _decode(path, _read_bytes(path))
    return parse(text, str(path))


def parse(text: str, name: str) -> YamlSource:
    """Parse YAML text; `name` is what the problems call it.

    Raises: ConfigError when it is empty or not YAML.
    """
    lines = tuple(_BREAKS.split(text))
    yaml = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
        if node is None:
            msg = f"{name}: the file is empty"
            raise ConfigError(msg)
        return YamlSource(name, lines, node, yaml)
    except RecursionError:
        msg = f"{name}: brackets or lists are nested too deeply"
        raise ConfigError(msg) from None
    except YAMLError as error:
        raise ConfigError(report(name, lines, [_syntax_problem(error, text, lines)])) from None
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        # ruamel's scanner leaks these for some broken directives and escapes.
        msg = f"{name}: not YAML ({type(error).__name__} while reading it)"
        raise ConfigError(msg) from None


class YamlSource:
    """The values of one file (`data`), the problems met on the way (`problems`), and where each stands."""

    def __init__(self, name: str, lines: tuple[str, ...], node: Node, yaml: YAML) -> None:
        self.name = name
        self.lines = lines
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
        return report(self.name, self.lines, problems)

    def _problem(self, node: Node, message: str) -> Problem:
        start, end = node.start_mark, node.end_mark
        one_line = start.line == end.line and isinstance(node, ScalarNode)
        width = max(1, end.column - start.column) if one_line else 1
        return Problem(start.line + 1, start.column + 1, message, width)

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
        if str(node.tag) not in _PLAIN_TAGS:
            self.problems.append(self._problem(node, "tags (!) are not taken here; write a plain value"))
            return None
        try:
            return self._yaml.constructor.construct_object(node)
        except Exception:  # 2027-02-31, a number of 5000 digits: left as text, which validation then refuses
            return node.value


def report(name: str, lines: Sequence[str], problems: Iterable[Problem]) -> str:
    """Return every problem once, by line: where, what, the line between its neighbours, a caret."""
    ordered = sorted(set(problems))
    parts = [_describe(name, lines, problem) for problem in ordered]
    if len(ordered) > 1:
        parts.append(f"{len(ordered)} problems in {name}")
    return "\n".join(parts)


def _describe(name: str, lines: Sequence[str], problem: Problem) -> str:
    head = f"{name}:{problem.line}:{problem.column}: {problem.message}"
    shown = []
    for number in range(problem.line - 1, problem.line + 2):
        text = lines[number - 1] if 0 < number <= len(lines) else ""
        if number == problem.line:
            shown += _with_caret(number, text, problem)
        elif text.strip() and len(text) <= _LONGEST_LINE:
            shown.append(f"{number:5} | {_printable(text)}")
    return "\n".join([head, *shown])


def _with_caret(number: int, text: str, problem: Problem) -> list[str]:
    """Return the line and the caret below it; a long line is cut to a window round the caret."""
    column = problem.column - 1
    start = max(0, column - _LONGEST_LINE // 2) if len(text) > _LONGEST_LINE else 0
    window = _printable(text[start : start + _LONGEST_LINE])
    before, under = window[: column - start], window[column - start :][: problem.width]
    cut = "…" if start else ""
    indent = "".join("\t" if char == "\t" else " " * _cells(char) for char in cut + before)
    carets = "^" * max(1, sum(map(_cells, under)))
    return [f"{number:5} | {cut}{window}", f"{'':5} | {indent}{carets}"]


def _cells(char: str) -> int:
    """Return how many terminal cells a character takes: Chinese characters take two."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "·" for char in text)


def _child(node: Node, step: str | int) -> tuple[Node | None, Node] | None:
    """Return (key, value) of a mapping's entry, or (None, item) of a sequence's; None when there is none."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == str(step):
                return key, value
    elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        msg = f"{path}: there is no such file"
    except IsADirectoryError:
        msg = f"{path}: is a directory; a YAML file is wanted"
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({getattr(error, 'strerror', None) or type(error).__name__})"
    else:
        if len(content) <= MAX_BYTES:
            return content
        msg = f"{path}: larger than {MAX_BYTES // 1024 // 1024} MiB"
    raise ConfigError(msg)


def _decode(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = f"{path}: saved as UTF-16; save it as UTF-8"
        raise ConfigError(msg)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig")
        lines = _BREAKS.split(before)
        msg = (
            f"{path}:{len(lines)}:{len(lines[-1]) + 1}: byte 0x{content[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8 (not GBK or Latin-1)"
        )
        raise ConfigError(msg) from None


def _syntax_problem(error: YAMLError, text: str, lines: Sequence[str]) -> Problem:
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        line, column = mark.line, mark.column
        message = _syntax_message(error, lines[line] if line < len(lines) else "", column)
        return Problem(line + 1, column + 1, message)
    position = getattr(error, "position", 0)
    before = _BREAKS.split(text[:position])
    message = "a control character stands here; remove it"
    return Problem(len(before), len(before[-1]) + 1, message)


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
