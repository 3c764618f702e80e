"""The document that says how to pull: OpenAPI 3.1, made from the views that a subscriber may read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from connectors.http.openapi import PROBLEM, TYPES, answer, closed_object
from connectors.http.problem import CONTENT_TYPE
from connectors.pull.question import JSON, LONGEST_WAIT_S, MOST_RECORDS, NDJSON, USUAL_RECORDS
from exchange.contract import Contract
from exchange.fieldtype import FieldType
from exchange.plan import PublishedPlan
from exchange.view import Shown, View, compile_view

_ANSWERS: Final = {
    "400": "A parameter is not as it should be, or the cursor is not one of this view and subscriber.",
    "401": "No valid key.",
    "403": "No grant (any more), or no such view.",
    "406": "Neither of the two media types is accepted.",
    "410": "The cursor's records are gone, by retention or because the view was made anew.",
    "429": "Too many requests at a time; ask again.",
    "503": "Kafka or the registry does not answer; ask again with the same cursor.",
}
_TOLD: Final = (
    "Ask with `after` = `next` of the answer before, and each record is seen once, in order per key. The "
    "same cursor gives the same records again, so an answer that was lost is asked for again."
)
_NUMBER_OR_NULL: Final = {"type": ["number", "null"]}
_TEXT: Final[dict[str, dict[str, Any]]] = {
    "decimal": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}
"""Kinds that are texts here, so that no reader rounds them."""


def views(plan: PublishedPlan, readable: Collection[str]) -> dict[str, View]:
    """Return those of a plan's views that are readable, compiled, by name."""
    found: dict[str, View] = {}
    for resource in plan.resources:
        for planned in resource.views:
            name = f"{resource.name}.{planned.name}"
            if name in readable:
                contract = Contract.parse(resource.contract, resource.name)
                found[name] = compile_view(contract, planned.spec, planned.name)
    return found


def document(readable: Mapping[str, View]) -> dict[str, Any]:
    """Return the document for views by name."""
    schemas: dict[str, Any] = {"Problem": PROBLEM}
    for name, view in sorted(readable.items()):
        by_name = {shown.field.name: shown for shown in view.shown}
        schemas[f"{name}.key"] = _record([by_name[part] for part in view.contract.key], key=True)
        schemas[f"{name}.value"] = _record(view.shown)
        schemas[f"{name}.record"] = _change(name)
        schemas[f"{name}.page"] = _page(name)
    if readable:
        schemas["corrections"] = _corrections()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pull from the exchange bus", "version": "1", "description": _TOLD},
        "security": [{"key": []}],
        "paths": {
            path: {"get": get} for name, view in sorted(readable.items()) for path, get in _paths(name, view)
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


def _paths(name: str, view: View) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"/pull/{name}", _get(name, view)
    yield f"/pull/{name}/corrections", _get_corrections(name, view)


def _get_corrections(name: str, view: View) -> dict[str, Any]:
    page = answer("Markers of corrections, and the cursor behind them.", JSON, "corrections")
    page["content"][NDJSON] = {
        "schema": {"type": "string", "description": "A marker a line; the last line has `next`."}
    }
    problems = {code: answer(told, CONTENT_TYPE, "Problem") for code, told in _ANSWERS.items()}
    return {
        "operationId": f"corrections.{name}",
        "summary": f"Corrections: {view.contract.label_zh} · {view.contract.label_en}",
        "parameters": [
            _parameter("after", {"type": "string"}, "`next` of the answer before, `earliest` or `latest`."),
            _parameter("max", _whole(1, MOST_RECORDS, USUAL_RECORDS), "Markers at most."),
        ],
        "responses": {"200": page, **problems},
    }


def _corrections() -> dict[str, Any]:
    marker = {
        "partition": {"type": "integer"},
        "wrong": {"type": "string", "description": "`position` of the record that was wrong."},
        "corrected": {"type": "string", "description": "`position` of the later one that mends it."},
        "at": {"type": "string", "format": "date-time", "description": "When the source's steward said so."},
    }
    members = {
        "corrections": {"type": "array", "items": closed_object(marker, list(marker))},
        "next": {"type": "string", "description": "Cursor to ask with next."},
        "more": {"type": "boolean", "description": "Whether more can be had at once."},
    }
    return closed_object(members, list(members))


def _get(name: str, view: View) -> dict[str, Any]:
    lines = {"schema": {"type": "string", "description": "A record a line; the last line has `next`."}}
    page = answer("Records and the cursor behind them.", JSON, f"{name}.page")
    page["content"][NDJSON] = lines
    problems = {code: answer(told, CONTENT_TYPE, "Problem") for code, told in _ANSWERS.items()}
    return {
        "operationId": f"pull.{name}",
        "summary": f"{view.contract.label_zh} · {view.contract.label_en}",
        "parameters": [
            _parameter("after", {"type": "string"}, "`next` of the answer before, `earliest` or `latest`."),
            _parameter("max", _whole(1, MOST_RECORDS, USUAL_RECORDS), "Records at most."),
            _parameter("wait_s", _whole(0, LONGEST_WAIT_S, 0), "Seconds to wait where nothing new is there."),
        ],
        "responses": {"200": page, **problems},
    }


def _parameter(name: str, schema: dict[str, Any], told: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": told, "schema": schema}


def _whole(low: int, high: int, usual: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high, "default": usual}


def _page(name: str) -> dict[str, Any]:
    records = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}.record"}}
    members = {
        "records": records,
        "next": {"type": "string", "description": "Cursor to ask with next."},
        "more": {"type": "boolean", "description": "Whether more can be had at once."},
        "lag_records": {"type": "integer", "description": "What is left; Kafka's markers count too."},
        "lag_s": _NUMBER_OR_NULL
        | {"description": "Age of the last record here while more are left, else 0."},
    }
    return closed_object(members, list(members))


def _change(name: str) -> dict[str, Any]:
    def either(part: str) -> dict[str, Any]:
        return {"anyOf": [{"$ref": f"#/components/schemas/{name}.{part}"}, {"type": "null"}]}

    members = {
        "op": {"enum": ["c", "u", "d", "r", "t", None], "description": "Null with `problem`."},
        "key": either("key"),
        "before": either("value"),
        "after": either("value"),
        "position": {
            "type": ["string", "null"],
            "description": "In the source; tells a record seen twice.",
        },
        "source_ms": {"type": ["integer", "null"], "description": "Commit in the source, ms since 1970 UTC."},
        "partition": {"type": "integer"},
        "offset": {"type": "integer"},
    }
    problem = {"problem": {"type": "string", "description": "Why the record could not be decoded."}}
    return closed_object(members | problem, list(members))


def _record(shown: Collection[Shown], *, key: bool = False) -> dict[str, Any]:
    """Return a key, or a value: one that was written before the view changed has other fields."""
    members = {one.field.name: _field(one, key=key) for one in shown}
    return closed_object(members, list(members)) if key else {"type": "object", "properties": members}


def _field(shown: Shown, *, key: bool) -> dict[str, Any]:
    told = _type(shown.output().not_null())
    title = f"{shown.field.label_zh} · {shown.field.label_en}"
    return (told if key else {"anyOf": [told, {"type": "null"}]}) | {"title": title}


def _type(type_: FieldType) -> dict[str, Any]:
    if type_.kind == "record":
        members = {field.name: _or_null(field.type) for field in type_.fields}
        return closed_object(members, list(members))
    if type_.kind == "array" and type_.items is not None:
        return {"type": "array", "items": _or_null(type_.items)}
    if type_.kind == "enum":
        return {"type": "string", "enum": list(type_.symbols)}
    return dict(_TEXT.get(type_.kind) or TYPES[type_.kind])


def _or_null(type_: FieldType) -> dict[str, Any]:
    told = _type(type_.not_null())
    return {"anyOf": [told, {"type": "null"}]} if type_.nullable else told
