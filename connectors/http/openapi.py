"""Parts of the OpenAPI documents: how a value is written in JSON, problems, answers, objects."""

from __future__ import annotations

from typing import Any, Final

_INT: Final = (-(1 << 31), (1 << 31) - 1)
_LONG: Final = (-(1 << 63), (1 << 63) - 1)
TYPES: Final[dict[str, dict[str, Any]]] = {
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": _INT[0], "maximum": _INT[1]},
    "long": {"type": "integer", "minimum": _LONG[0], "maximum": _LONG[1]},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string", "format": "date-time"},
    "local_timestamp": {"type": "string", "description": "2026-01-31T08:30:00, no time zone"},
    "time": {"type": "string", "description": "08:30:00"},
    "uuid": {"type": "string", "format": "uuid", "description": "in lower case"},
}
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["record", "field", "rule"],
                "properties": {
                    "record": {"type": "integer", "description": "Its number in the request, from 0."},
                    "field": {"type": "string", "description": "Dotted path; empty for the whole record."},
                    "rule": {"type": "string"},
                },
            },
        },
    },
}


def answer(told: str, media: str, schema: str) -> dict[str, Any]:
    """Return a response whose body is of one of the document's schemas."""
    return {
        "description": told,
        "content": {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def closed_object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return an object that has these members and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
