"""Regular expressions that cannot be made to run for ever by the text they judge.

Python's matcher goes back and tries again; some patterns take exponential time on a hostile value. A
contract's pattern is therefore refused when the number of ways to try it could be large.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, Final

# Of the standard library, but typed by some stubs only.
_parser: Final[Any] = import_module("re._parser")
_MAX_CHARACTERS: Final = 500
_MAX_WAYS: Final = 10_000
"""Ways of distributing a text over the pattern's optional parts; times the text's length bounds the work."""
_MAX_REPEAT: Final = 1000
_UNBOUNDED: Final = int(_parser.MAXREPEAT)


def compile_safe(regex: str) -> re.Pattern[str]:
    """Return the pattern, to be used with `fullmatch`; digit, word and space classes mean ASCII.

    Raises: ValueError when it is not a regular expression, or holds a look-around, a back reference, more
    than one unbounded repetition, or repetitions and alternatives that multiply.
    """
    if len(regex) > _MAX_CHARACTERS:
        msg = f"regex is longer than {_MAX_CHARACTERS} characters"
        raise ValueError(msg)
    try:
        compiled = re.compile(regex, re.ASCII)
        parsed = _parser.parse(regex, re.ASCII)
    except (re.error, RecursionError, OverflowError):
        msg = "regex is not a regular expression"
        raise ValueError(msg) from None
    ways, unbounded = _ways(parsed)
    if unbounded > 1:
        msg = "regex has more than one unbounded repetition (*, +, {n,}): give the others an upper bound"
        raise ValueError(msg)
    if ways > _MAX_WAYS:
        msg = "regex can be tried in too many ways: use character classes, repeat no group that itself varies"
        raise ValueError(msg)
    return compiled


def _ways(parsed: Any) -> tuple[int, int]:
    """Return an upper bound of the ways a sequence can be tried, and its number of unbounded repetitions."""
    ways, unbounded = 1, 0
    for operator, argument in parsed:
        more_ways, more_unbounded = _ways_of(str(operator), argument)
        ways, unbounded = min(ways * more_ways, _MAX_WAYS + 1), unbounded + more_unbounded
    return ways, unbounded


def _ways_of(operator: str, argument: Any) -> tuple[int, int]:
    if operator in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"):
        return 1, 0
    if operator == "SUBPATTERN":
        return _ways(argument[3])
    if operator == "BRANCH":
        branches = [_ways(branch) for branch in argument[1]]
        return sum(ways for ways, _ in branches), sum(count for _, count in branches)
    if operator in ("MAX_REPEAT", "MIN_REPEAT"):
        return _ways_of_repeat(*argument)
    msg = "regex holds a look-around, a back reference or another construct that is not allowed here"
    raise ValueError(msg)


def _ways_of_repeat(least: int, most: int, body: Any) -> tuple[int, int]:
    ways, unbounded = _ways(body)
    times = least if most == _UNBOUNDED else most
    if times > _MAX_REPEAT:
        msg = f"regex repeats more than {_MAX_REPEAT} times"
        raise ValueError(msg)
    if most == _UNBOUNDED:
        if ways > 1 or unbounded:
            msg = "regex repeats without bound a group that itself varies"
            raise ValueError(msg)
        return 1, 1
    if unbounded and most > 1:
        return ways, 2
    return min(ways, _MAX_WAYS + 1) ** min(most, 64) * (most - least + 1), unbounded
