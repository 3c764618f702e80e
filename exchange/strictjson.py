"""JSON in which nothing is guessed: no duplicate names, no NaN, numbers exact."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


class GrammarError(ValueError):
    """The text is not JSON: `message` says what the parser missed at the character `position`."""

    def __init__(self, error: json.JSONDecodeError) -> None:
        super().__init__(f"line {error.lineno}, column {error.colno}: {error.msg}")
        self.message = error.msg
        self.position = error.pos


def loads(text: str) -> Any:
    """Return the value; numbers with a fraction or an exponent are Decimal.

    Raises: GrammarError when the text is not JSON; ValueError when it repeats a name within one object, holds
    NaN or Infinity, or is nested too deeply. Their texts never quote a name or a value.
    """
    try:
        return json.loads(
            text, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise GrammarError(error) from None
    except (RecursionError, ArithmeticError):
        msg = "nested too deeply, or a number out of bounds"
        raise ValueError(msg) from None


def _refuse_constant(_name: str) -> Any:
    msg = "NaN and Infinity are not JSON"
    raise ValueError(msg)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two parsers that resolve a repeated name differently would let a value past the mask of the other.
    members = dict(pairs)
    if len(members) != len(pairs):
        msg = "a name occurs twice in one object"
        raise ValueError(msg)
    return members
