"""A JSON file whose problems are shown where they are, as yaml_source.py does for YAML.

The values (`data`) are those of strictjson. What can be passed over where it refuses the text (a key given
twice, NaN, a byte order mark) is kept in `problems`, to be reported with what else is wrong; `data` then has
the first value of each key. What breaks JSON's grammar is raised at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from exchange import strictjson
from exchange.errors import ConfigError
from exchange.files import textfile
from exchange.files.problem import Problem, Steps, Text

_DEEPEST: Final = 64
"""Levels of brackets. A contract needs seven; Python gives up somewhere near a thousand."""

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_NOTHING: Final = object()
_CONSTANTS: Final = frozenset({"NaN", "Infinity", "-Infinity"})


def read(path: Path) -> JsonSource:
    """Read a file as UTF-8 JSON.

    Raises: ConfigError when there is no such file, it is empty, not UTF-8 or not JSON.
    """
    return JsonSource(textfile.read(path, "JSON"), str(path))


@dataclass(slots=True)
class _Node:
    """Where one value stands: its first character, the one after its last, its key and what is inside."""

    start: int
    end: int
    key: tuple[int, int] | None = None
    inside: dict[str | int, _Node] = field(default_factory=dict)


class JsonSource:
    """The values of one file (`data`), the problems met on the way (`problems`), and where each stands."""

    def __init__(self, text: str, name: str) -> None:
        """Parse JSON text; `name` is what the problems call it.

        Raises: ConfigError when it is empty or not JSON.
        """
        self.name = name
        self.problems: list[Problem] = []
        self._text = Text(name, text.removeprefix(textfile.BYTE_ORDER_MARK))
        if text.startswith(textfile.BYTE_ORDER_MARK):
            message = "the file begins with a byte order mark (BOM); save it as UTF-8 without one"
            self.problems.append(self._text.at(0, message))
        self.data = self._values(self._text.text)
        self._tree = self._scan()
        if self.data is _NOTHING:
            raise self._refusal(Problem(name, 0, 0, "not readable as JSON"))

    def at(self, steps: Steps, message: str, *, key: bool = False) -> Problem:
        """Return a problem at the value that `steps` lead to, or at its key.

        Steps that the file doesn't have leave the place where it is. A value of several lines is shown by its
        key.
        """
        node = self._tree
        for step in steps:
            node = node.inside.get(step, node)
        start, end = node.start, node.end
        if node.key is not None and (key or "\n" in self._text.text[start:end]):
            start, end = node.key
        return self._text.at(start, message, end)

    def report(self, problems: Iterable[Problem]) -> str:
        """Return the text that shows all problems, by line."""
        return self._text.report(problems)

    def _values(self, text: str) -> Any:
        """Return the values, or nothing where `_scan` will find the bracket or number that is too much."""
        if not text.strip():
            raise self._refusal(self._text.at(0, "the file is empty"))
        try:
            return _loads(text)
        except strictjson.GrammarError as error:
            place, message = _explained(error, text)
            raise self._refusal(self._text.at(place, message)) from None

    def _refusal(self, problem: Problem) -> ConfigError:
        problems = [*self.problems, problem]
        return ConfigError(self.report(problems), problems)

    def _scan(self) -> _Node:
        """Return the place of every value, in text of right grammar; notes what can be passed over.

        Raises: ConfigError where brackets are nested too deeply or a number is too large to be read.
        """
        root = _Node(0, 0)
        open_nodes: list[_Node] = [root]
        key: re.Match[str] | None = None
        tokens = list(_TOKEN.finditer(self._text.text))
        for token, following in zip(tokens, [*tokens[1:], None], strict=True):
            word, above = token[0], open_nodes[-1]
            if word in "}]":
                open_nodes.pop().end = token.end()
            elif following is not None and following[0] == ":":
                key = token
            elif word not in ",:":
                node = _Node(*token.span())
                self._put(above, key, node)
                key = None
                if word in "{[":
                    open_nodes.append(node)
                    self._check_depth(token, len(open_nodes))
                else:
                    self._check_word(token)
        return root.inside[0]

    def _put(self, above: _Node, key: re.Match[str] | None, node: _Node) -> None:
        if key is None:
            above.inside[len(above.inside)] = node
            return
        node.key, name = key.span(), json.loads(key[0])
        first = above.inside.setdefault(name, node)
        if first is not node and first.key is not None:
            line = self._text.at(first.key[0], "").line
            message = f"key {_shown(name)} is given twice, first in line {line}"
            self.problems.append(self._text.at(key.start(), message, key.end()))

    def _check_depth(self, token: re.Match[str], depth: int) -> None:
        if depth > _DEEPEST:
            raise self._refusal(self._text.at(token.start(), "brackets are nested too deeply"))

    def _check_word(self, token: re.Match[str]) -> None:
        word = token[0]
        if word in _CONSTANTS:
            message = f"{word} is not JSON; a number is wanted, or null"
            self.problems.append(self._text.at(token.start(), message, token.end()))
        elif word[0] in "-0123456789":
            try:
                json.loads(word, parse_float=Decimal)
            except (ValueError, ArithmeticError):
                problem = self._text.at(token.start(), "a number too large to be read", token.end())
                raise self._refusal(problem) from None


def _loads(text: str) -> Any:
    try:
        return strictjson.loads(text)
    except strictjson.GrammarError:
        raise
    except ValueError:
        return _loads_in_part(text)


def _loads_in_part(text: str) -> Any:
    """Return what strictjson refuses: of a key given twice the first value, of NaN null."""
    try:
        return json.loads(
            text,
            parse_float=Decimal,
            parse_constant=lambda _name: None,
            object_pairs_hook=lambda pairs: dict(reversed(pairs)),
        )
    except json.JSONDecodeError as error:
        raise strictjson.GrammarError(error) from None
    except (ValueError, RecursionError, ArithmeticError):
        return _NOTHING


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


_MISSED: Final = (
    ("Illegal trailing comma", 0, "a comma stands before the closing bracket; remove it"),  # Python 3.13 on
    ("Unterminated string", 0, 'the quotes (") that open here are not closed'),
    ("Invalid control character", 0, "a tab or another control character stands in quotes; remove it"),
    ("Invalid \\", 0, r"a \ in quotes is written \\; alone it stands only before one of \" \ / b f n r t u"),
    ("Extra data", 0, "something follows the closing bracket of the file; remove it"),
    ("Expecting ',' delimiter", -1, "a comma or a closing bracket is missing after this"),
    ("Expecting ':' delimiter", -1, "a colon and a value are missing after this key"),
    ("Expecting property name", 0, 'a key in double quotes (") is wanted here'),
    (
        "",
        0,
        "a value is wanted here: a text in double quotes, a number, an object, a list, true, false, null",
    ),
)
"""What the parser says, whether it is mended there (0) or behind what stands before (-1), and our words."""


def _explained(error: strictjson.GrammarError, text: str) -> tuple[int, str]:
    """Return where to mend what breaks the grammar, and in words what to do there."""
    at = error.position
    before = max(0, len(text[:at].rstrip()) - 1)
    place, message = _slip(text, at, before) or next(
        (before if behind else at, message)
        for said, behind, message in _MISSED
        if error.message.startswith(said)
    )
    return place, f"not JSON: {message}"


def _slip(text: str, at: int, before: int) -> tuple[int, str] | None:
    """Return what is wrong where the text itself tells more than the parser; `before`: what stands before."""
    seen, last = text[at : at + 1], text[before]
    if text.startswith(("//", "/*", "#"), at):
        return at, 'comments are not taken here; write a "doc" attribute'
    if last == "," and seen in ("}", "]"):
        return before, f"a comma stands before the closing {seen}; remove it"
    if last == "," and seen == ",":
        return at, "one comma too many; remove it"
    if seen == "'":
        return at, 'texts and keys stand in double quotes ("), not in single ones'
    if seen in ("\n", "\r"):
        return text.rindex('"', 0, at), 'the quotes (") that open here are not closed in their line'
    if not text[at:].strip():
        return _unclosed(text, before)
    return None


def _unclosed(text: str, last: int) -> tuple[int, str]:
    """Return the innermost bracket that is still open where the file ends."""
    open_at: list[int] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("{", "["):
            open_at.append(token.start())
        elif token[0] in ("}", "]") and open_at:
            open_at.pop()
    if not open_at:
        return last, "the file ends here; a value is missing"
    return open_at[-1], f"the {text[open_at[-1]]} that opens here is not closed before the file ends"
