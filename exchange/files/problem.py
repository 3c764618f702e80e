"""Problems in files that people write, shown where they are: file, line, column, the line and a caret."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Steps = Sequence[str | int]
"""Keys and indices that lead to a value, as in pydantic's `loc`."""

_LONGEST_LINE: Final = 110
_BREAKS: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend. Line and column count from 1, and are 0 where the whole file is meant.

    width: how many characters the caret underlines.
    """

    file: str
    line: int
    column: int
    message: str
    width: int = 1

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class Text:
    """The text of one file, for problems to be found and shown in; `name` is what they call the file."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.lines: Sequence[str] = _BREAKS.split(text)

    def at(self, start: int, message: str, end: int | None = None) -> Problem:
        """Return a problem at the character `start`, underlined to `end` where that is in the same line."""
        before = _BREAKS.split(self.text[:start])
        width = 1
        if end is not None and not _BREAKS.search(self.text, start, end):
            width = max(1, end - start)
        return Problem(self.name, len(before), len(before[-1]) + 1, message, width)

    def report(self, problems: Iterable[Problem]) -> str:
        """Return every problem once, by line: where, what, the line between its neighbours, a caret."""
        ordered = sorted(set(problems))
        parts = [self._describe(problem) for problem in ordered]
        if len(ordered) > 1:
            parts.append(f"{len(ordered)} problems in {self.name}")
        return "\n".join(parts)

    def _describe(self, problem: Problem) -> str:
        if not problem.line or not self.text.strip():
            return str(problem)
        shown = []
        for number in range(problem.line - 1, problem.line + 2):
            text = self.lines[number - 1] if 0 < number <= len(self.lines) else ""
            if number == problem.line:
                shown += _with_caret(number, text, problem)
            elif text.strip() and len(text) <= _LONGEST_LINE:
                shown.append(f"{number:5} | {_printable(text)}")
        return "\n".join([str(problem), *shown])


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
