"""What a request asks for: its path, its parameters and its Accept header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from connectors.http.login import one_header
from connectors.http.problem import Problem

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MOST_RECORDS: Final = 5_000
USUAL_RECORDS: Final = 500
LONGEST_WAIT_S: Final = 30
VIEW: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){2}", re.ASCII)

EARLIEST: Final = "earliest"
LATEST: Final = "latest"
_PARAMETERS: Final = ("after", "max", "wait_s")
WITHOUT_WAIT: Final = ("after", "max")


@dataclass(frozen=True, slots=True)
class Question:
    """after: earliest, latest or a cursor; most: records at most; media: JSON or NDJSON."""

    after: str
    most: int
    wait_s: int
    media: str


def question(asked: Request, known: Sequence[str] = _PARAMETERS) -> Question:
    """Return what is asked for. known: the parameters that there are.

    Raises: Problem 400 for a parameter that is not as it should be, 406 when neither of the two media types
    is accepted.
    """
    given = asked.query_params.multi_items()
    names = [name for name, _ in given]
    if any(name not in known for name in names) or len(set(names)) < len(names):
        raise Problem(400, f"the parameters are {', '.join(known)}, each once at most")
    parameters = dict(given)
    return Question(
        parameters.get("after", EARLIEST),
        _number(parameters, "max", 1, MOST_RECORDS, USUAL_RECORDS),
        _number(parameters, "wait_s", 0, LONGEST_WAIT_S, 0),
        _media_type(one_header(asked, "accept")),
    )


def _number(parameters: dict[str, str], name: str, low: int, high: int, usual: int) -> int:
    text = parameters.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise Problem(400, f"{name} is wanted as a whole number from {low} to {high}")
    return int(text)


def _media_type(accept: str | None) -> str:
    """Return the first of the accepted media types that there is; weights are not looked at."""
    for part in (accept or "*/*").split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted == NDJSON:
            return NDJSON
        if wanted in (JSON, "application/*", "*/*", ""):
            return JSON
    raise Problem(406, f"Accept must allow {JSON} or {NDJSON}")
