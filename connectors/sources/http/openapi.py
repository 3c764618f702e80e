"""The document that says how to push: OpenAPI 3.1, made from the contracts of a system's resources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors.http.openapi import PROBLEM, TYPES, answer, closed_object
from connectors.http.problem import CONTENT_TYPE
from connectors.rowrecord import RowRecords
from connectors.sources.http.request import JSON, MOST_RECORDS, NDJSON
from exchange.contract import Contract
from exchange.fieldtype import ContractField, FieldType

_ANSWERS: Final = {
    "400": "Not JSON as it is wanted (grammar, a repeated name, NaN, UTF-8), or a header is missing.",
    "401": "No valid key.",
    "403": "The key is another system's, or the resource is none of this system's.",
    "408": "The body did not come in time.",
    "413": "Too long, or too many records.",
    "415": "Another Content-Type, or a Content-Encoding.",
    "422": "A record breaks the contract: field and rule are named. Or the key was used for another body.",
    "429": "Too much is under way; send it again.",
    "503": "Kafka did not confirm; send it again with the same Idempotency-Key.",
}


def document(resources: Mapping[str, RowRecords]) -> dict[str, Any]:
    """Return the document for resources by name."""
    schemas: dict[str, Any] = {"Stored": _STORED, "Problem": PROBLEM}
    for name, records in sorted(resources.items()):
        contract = records.form.contract
        schemas[f"{name}.record"] = _record(contract, contract.fields)
        schemas[f"{name}.key"] = _record(contract, contract.key)
        schemas[f"{name}.change"] = _change(name)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Push to the exchange bus", "version": "1", "description": _TOLD},
        "security": [{"key": []}],
        "paths": {f"/ingest/{name}": {"post": _post(name, one)} for name, one in sorted(resources.items())},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas,
        },
    }


_TOLD: Final = (
    "A request is stored whole or not at all, and answered with 202 once it is committed. Sent again with "
    "the same Idempotency-Key within 24 hours it is answered alike and stored once."
)
_STORED: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["stored", "commit"],
    "properties": {
        "stored": {"type": "integer", "description": "How many records."},
        "commit": {"type": "integer", "description": "Their position, which each record carries."},
    },
}


def _post(name: str, records: RowRecords) -> dict[str, Any]:
    contract = records.form.contract
    one = {"$ref": f"#/components/schemas/{name}.change"}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_RECORDS}
    lines = {"type": "string", "description": "One change a line."}
    answers = {code: answer(told, CONTENT_TYPE, "Problem") for code, told in _ANSWERS.items()}
    return {
        "operationId": f"push.{name}",
        "summary": f"{contract.label_zh} · {contract.label_en}",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Another for each request; the same when a request is sent again.",
                "schema": {"type": "string", "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"oneOf": [one, many]}}, NDJSON: {"schema": lines}},
        },
        "responses": {"202": answer("Committed.", JSON, "Stored"), **answers},
    }


def _change(name: str) -> dict[str, Any]:
    """Return a change: an upsert holds all fields, a delete the key; the one member tells which it is."""
    return {
        "oneOf": [
            closed_object({operation: {"$ref": f"#/components/schemas/{name}.{part}"}}, [operation])
            for operation, part in (("upsert", "record"), ("delete", "key"))
        ]
    }


def _record(contract: Contract, names: Any) -> dict[str, Any]:
    fields = [contract.fields[name] for name in names]
    return _fields(fields)


def _fields(fields: Any) -> dict[str, Any]:
    required = [
        field.source
        for field in fields
        if not field.type.nullable or any(rule.name == "required" for rule in field.rules)
    ]
    return closed_object({field.source: _field(field) for field in fields}, required)


def _field(field: ContractField) -> dict[str, Any]:
    """Return a field's schema; of its rules what JSON Schema can say, the others by name."""
    told = _type(field.type.not_null())
    rules: list[str] = []
    for rule in field.rules:
        if rule.name == "codes" and field.type.kind == "string":
            told["enum"] = list(rule.parameters["values"])
        elif rule.name == "length" and field.type.kind in ("string", "array"):
            what = "Length" if field.type.kind == "string" else "Items"
            told |= {f"{end}{what}": limit for end, limit in rule.parameters.items()}
        else:
            rules.append(rule.name)
    title = f"{field.label_zh} · {field.label_en}"
    if field.type.nullable:
        told = {"anyOf": [told, {"type": "null"}]}
    return told | {"title": title} | ({"x-rules": rules} if rules else {})


def _type(type_: FieldType) -> dict[str, Any]:
    if type_.kind == "record":
        return _fields(type_.fields)
    if type_.kind == "array" and type_.items is not None:
        items = _type(type_.items.not_null())
        return {
            "type": "array",
            "items": {"anyOf": [items, {"type": "null"}]} if type_.items.nullable else items,
        }
    if type_.kind == "enum":
        return {"type": "string", "enum": list(type_.symbols)}
    if type_.kind == "decimal":
        limit = 10 ** (type_.precision - type_.scale)
        return {
            "type": "number",
            "exclusiveMinimum": -limit,
            "exclusiveMaximum": limit,
            "description": f"at most {type_.scale} decimals",
        }
    return dict(TYPES[type_.kind])
