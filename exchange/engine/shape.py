"""Regular expressions that are no more than runs of ASCII characters, as the kernel can follow them."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Final

# Of the standard library, but typed by some stubs only.
_parser: Final[Any] = import_module("re._parser")
Run = tuple[int, int, int, int]
"""Set of ASCII characters as two 64-bit words, least and most of them."""

_ENDLESS: Final = int(_parser.MAXREPEAT)
_MOST: Final = (1 << 63) - 1
_CATEGORIES: Final = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_SPACE": " \t\n\r\f\v",
    "CATEGORY_WORD": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
}


def shape_of(regex: str) -> tuple[Run, ...] | None:
    """Return the runs that a whole text must consist of, or None where it takes more to judge it.

    Only the last run may vary in length: then there is nothing to try twice.
    """
    parsed = _parser.parse(regex, re.ASCII)
    if parsed.state.flags & ~(re.ASCII | re.UNICODE):
        return None
    runs = _runs(parsed)
    if runs is None or any(least != most for _, _, least, most in runs[:-1]):
        return None
    return tuple(runs)


def _runs(parsed: Any) -> list[Run] | None:
    runs: list[Run] = []
    for operator, argument in parsed:
        found = _run(str(operator), argument)
        if found is None:
            return None
        runs += found
    return runs


def _run(operator: str, argument: Any) -> list[Run] | None:
    if operator == "SUBPATTERN":
        return _runs(argument[3]) if not argument[1] and not argument[2] else None
    if operator in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, body = argument
        inner = _runs(body)
        if inner is None or len(inner) != 1 or inner[0][2:] != (1, 1):
            return None
        return [(*inner[0][:2], int(least), _MOST if int(most) == _ENDLESS else int(most))]
    characters = _characters(operator, argument)
    if characters is None or any(character >= 128 for character in characters):
        return None
    bits = sum(1 << character for character in characters)
    return [(bits & (1 << 64) - 1, bits >> 64, 1, 1)]


def _characters(operator: str, argument: Any) -> set[int] | None:
    if operator == "LITERAL":
        return {argument}
    if operator == "RANGE":
        return set(range(argument[0], argument[1] + 1)) if argument[1] < 128 else None
    if operator == "CATEGORY":
        known = _CATEGORIES.get(str(argument))
        return None if known is None else set(known.encode())
    if operator == "IN":
        parts = [_characters(str(inner), value) for inner, value in argument]
        return (
            None if any(part is None for part in parts) else set().union(*(part or set() for part in parts))
        )
    return None
