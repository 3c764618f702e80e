"""Whether a new schema may follow the earlier ones of its subject."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from enum import StrEnum

import avro.errors
import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType


class Level(StrEnum):
    """Compatibility levels. Source: Confluent Schema Registry documentation, "Schema evolution".

    BACKWARD: the new schema reads what the last one wrote; FORWARD: the last one reads what the new one
    writes; FULL: both; _TRANSITIVE: against all earlier versions, not the last alone.
    """

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"


class InvalidSchemaError(ValueError):
    """The text is not an Avro schema."""


def parse(text: str) -> avro.schema.Schema:
    """Return the parsed schema.

    Raises: InvalidSchemaError.
    """
    try:
        with warnings.catch_warnings():
            # The parser warns of logical types it has no reader for; checking needs none.
            warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)
            return avro.schema.make_avsc_object(json.loads(text))
    except json.JSONDecodeError as error:
        msg = f"not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        raise InvalidSchemaError(msg) from None
    except (avro.errors.AvroException, KeyError, TypeError, ValueError, RecursionError) as error:
        msg = f"not an Avro schema: {type(error).__name__}: {str(error)[:500]}"
        raise InvalidSchemaError(msg) from None


def incompatibilities(text: str, earlier: Sequence[tuple[int, str]], level: Level) -> list[str]:
    """Return why a schema may not follow the earlier (version, text), oldest first; empty when it may.

    Raises: InvalidSchemaError when `text` is not an Avro schema.
    """
    new = parse(text)
    if level is Level.NONE:
        return []
    compared = earlier if level.endswith("_TRANSITIVE") else earlier[-1:]
    problems = []
    for version, earlier_text in reversed(compared):
        old = parse(earlier_text)
        if level.startswith(("BACKWARD", "FULL")):
            problems += _unreadable(reader=new, writer=old, what=f"new schema cannot read version {version}")
        if level.startswith(("FORWARD", "FULL")):
            problems += _unreadable(reader=old, writer=new, what=f"version {version} cannot read new schema")
    return problems


def _unreadable(reader: avro.schema.Schema, writer: avro.schema.Schema, what: str) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    found = checker.get_compatibility(reader, writer)
    problems = []
    if found.compatibility is not SchemaCompatibilityType.compatible:
        kinds = ",".join(sorted({kind.value for kind in found.incompatibilities}))
        for location in sorted(found.locations):
            details = "; ".join(sorted(found.messages))
            problems.append(f"{what}: {_named(reader, location)}: {kinds}: {details}")
    for path in _changed_decimals(reader, writer, "", set()):
        problems.append(f"{what}: {path or '/'}: decimal scale or precision differs, digits would shift")
    return problems


def _named(schema: avro.schema.Schema, location: str) -> str:
    """Return `/fields/3/type` together with the name of the field: `/fields/3/type (birth_date)`."""
    names = []
    at: object = schema
    steps = location.strip("/").split("/")
    for position, step in enumerate(steps):
        if step == "fields" and isinstance(at, avro.schema.RecordSchema) and position + 1 < len(steps):
            field = at.fields[int(steps[position + 1])]
            names.append(str(field.name))
            at = field.type
        elif step == "items" and isinstance(at, avro.schema.ArraySchema):
            at = at.items
        elif step == "values" and isinstance(at, avro.schema.MapSchema):
            at = at.values
    return f"{location} ({'.'.join(names)})" if names else location


def _changed_decimals(reader: object, writer: object, path: str, seen: set[tuple[int, int]]) -> list[str]:
    """Return the paths where both sides are decimals of different scale.

    Avro resolves them as plain bytes; the number would silently be another one.
    Source: Avro 1.12 specification, "Schema Resolution": decimals match if scale and precision match.
    """
    if (id(reader), id(writer)) in seen:
        return []
    seen.add((id(reader), id(writer)))
    if isinstance(reader, avro.schema.UnionSchema) or isinstance(writer, avro.schema.UnionSchema):
        return _changed_branches(_branches(reader), _branches(writer), path, seen)
    if isinstance(reader, avro.schema.RecordSchema) and isinstance(writer, avro.schema.RecordSchema):
        fields = writer.fields_dict
        return [
            changed
            for field in reader.fields
            if field.name in fields
            for changed in _changed_decimals(
                field.type, fields[field.name].type, f"{path}/{field.name}", seen
            )
        ]
    if isinstance(reader, avro.schema.ArraySchema) and isinstance(writer, avro.schema.ArraySchema):
        return _changed_decimals(reader.items, writer.items, f"{path}/items", seen)
    if isinstance(reader, avro.schema.MapSchema) and isinstance(writer, avro.schema.MapSchema):
        return _changed_decimals(reader.values, writer.values, f"{path}/values", seen)
    ours, theirs = _decimal(reader), _decimal(writer)
    return [path] if ours is not None and theirs is not None and ours != theirs else []


def _changed_branches(
    readers: list[object], writers: list[object], path: str, seen: set[tuple[int, int]]
) -> list[str]:
    """Compare branches of the same type; a union holds at most one unnamed branch of each."""
    return [
        changed
        for reader in readers
        for writer in writers
        if getattr(reader, "type", None) == getattr(writer, "type", None)
        and getattr(reader, "name", None) == getattr(writer, "name", None)
        for changed in _changed_decimals(reader, writer, path, seen)
    ]


def _branches(schema: object) -> list[object]:
    return list(schema.schemas) if isinstance(schema, avro.schema.UnionSchema) else [schema]


def _decimal(schema: object) -> tuple[int, int] | None:
    if isinstance(schema, avro.schema.BytesDecimalSchema | avro.schema.FixedDecimalSchema):
        return int(schema.precision), int(schema.scale)
    return None
