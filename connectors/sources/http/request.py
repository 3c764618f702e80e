"""From the body of a request to rows: strict JSON, every record judged, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connectors.http.problem import Problem
from connectors.rowrecord import Row, RowRecords
from exchange import strictjson
from exchange.rowform import Flaw

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MOST_RECORDS: Final = 10_000
"""Of one request. Together they take a second or so to judge, and half a transaction."""
MOST_ERRORS: Final = 50
"""Told of one request; the rest is counted."""

_ITEM: Final = 'each record is {"upsert": {…all fields…}} or {"delete": {…the key…}}'


def media_type(header: str | None) -> str:
    """Return the media type of a Content-Type header.

    Raises: Problem 415 when it is neither of the two that are taken.
    """
    parts = [part.strip().lower() for part in (header or "").split(";")]
    charsets = [part for part in parts[1:] if part.replace('"', "") != "charset=utf-8"]
    if parts[0] not in (JSON, NDJSON) or charsets:
        raise Problem(415, f"Content-Type {JSON} or {NDJSON} is wanted, in UTF-8")
    return parts[0]


def rows(body: bytes, media: str, records: RowRecords, now_ms: int) -> list[Row]:
    """Return the rows of a body, in its order.

    Raises: Problem 400 when it is not JSON, 413 when it holds too many records, 422 when one breaks a rule.
    """
    items = _items(body, media)
    if len(items) > MOST_RECORDS:
        raise Problem(413, f"{len(items)} records; {MOST_RECORDS} are taken in one request")
    if not items:
        raise Problem(422, f"no record; {_ITEM}")
    taken: list[Row] = []
    errors: list[dict[str, Any]] = []
    wrong = 0
    for number, item in enumerate(items):
        row = _row(item, records, now_ms)
        if isinstance(row, Row):
            taken.append(row)
            continue
        wrong += 1
        told = ({"record": number, "field": flaw.field, "rule": flaw.rule} for flaw in row)
        errors += list(told)[: MOST_ERRORS - len(errors)]
    if wrong:
        detail = f"{wrong} of {len(items)} records break the contract; nothing was stored"
        raise Problem(422, detail, errors)
    return taken


def _row(item: Any, records: RowRecords, now_ms: int) -> Row | list[Flaw]:
    if isinstance(item, dict) and item.keys() == {"upsert"}:
        return records.upsert(item["upsert"], now_ms)
    if isinstance(item, dict) and item.keys() == {"delete"}:
        return records.delete(item["delete"], now_ms)
    return [Flaw("", "operation")]


def _items(body: bytes, media: str) -> list[Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"byte {error.start} is not UTF-8") from None
    if media == NDJSON:
        return list(_lines(text))
    found = _json(text, "")
    return found if isinstance(found, list) else [found]


def _lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        yield _json(line, f"line {number}: ")


def _json(text: str, where: str) -> Any:
    try:
        return strictjson.loads(text)
    except ValueError as error:
        raise Problem(400, f"{where}not the JSON that is wanted: {error}") from None
