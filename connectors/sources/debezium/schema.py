"""The schema of a Kafka Connect record, as either converter writes it beside the record.

Source: Apache Kafka, org.apache.kafka.connect.json.JsonConverter;
Confluent, io.confluent.connect.avro.AvroData.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_SCALARS: Final = frozenset(
    ["boolean", "int8", "int16", "int32", "int64", "float", "double", "string", "bytes"]
)
_AVRO_SCALARS: Final = {
    "boolean": "boolean",
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "bytes",
}


class UnknownSchema(Exception):
    """A schema that cannot be read exactly; `why` says which and why not, and holds no value."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class ConnectSchema:
    """One schema. `type`: a scalar's name, array, map or struct; `name`: what its values mean, if anything.

    fields: of a struct, in order; items: of an array.
    """

    type: str
    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, ConnectSchema] = field(default_factory=dict)
    items: ConnectSchema | None = None

    def member(self, *path: str) -> ConnectSchema:
        """Return the schema at a path of fields.

        Raises: UnknownSchema when there is none.
        """
        found = self
        for step in path:
            if step not in found.fields:
                msg = f"no field {'.'.join(path)}"
                raise UnknownSchema(msg)
            found = found.fields[step]
        return found


def from_json(document: Any) -> ConnectSchema:
    """Return the schema that a JsonConverter put into the envelope.

    Raises: UnknownSchema.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("type"), str):
        msg = "not a schema of Kafka Connect"
        raise UnknownSchema(msg)
    kind, name = document["type"], document.get("name") or ""
    parameters = document.get("parameters") or {}
    if kind in _SCALARS or kind == "map":
        return ConnectSchema(kind, name, parameters)
    if kind == "array":
        return ConnectSchema(kind, name, parameters, items=from_json(document.get("items")))
    if kind == "struct":
        fields = {str(part["field"]): from_json(part) for part in document.get("fields") or ()}
        return ConnectSchema(kind, name, parameters, fields)
    msg = f"type {kind}, which Kafka Connect does not have"
    raise UnknownSchema(msg)


def from_avro(document: Any) -> ConnectSchema:
    """Return the schema that an AvroConverter registered.

    Raises: UnknownSchema.
    """
    return _Avro().read(document, "")


class _Avro:
    """Reads one Avro document; a record that was read is known by its full name from there on."""

    def __init__(self) -> None:
        self._records: dict[str, ConnectSchema] = {}

    def read(self, document: Any, namespace: str) -> ConnectSchema:
        if isinstance(document, list):
            branches = [branch for branch in document if branch != "null"]
            if len(branches) != 1 or len(document) > 2:
                msg = "a union of several types"
                raise UnknownSchema(msg)
            return self.read(branches[0], namespace)
        if isinstance(document, str):
            return self._named(document, namespace)
        kind = document["type"]
        if kind == "record":
            return self._record(document, namespace)
        name, parameters = document.get("connect.name", ""), document.get("connect.parameters", {})
        if kind == "array":
            return ConnectSchema("array", name, parameters, items=self.read(document["items"], namespace))
        if kind == "map":
            return ConnectSchema("map", name, parameters)
        if kind in _AVRO_SCALARS and "logicalType" in document and not name:
            msg = f"logical type {document['logicalType']} without connect.name (connect.meta.data=false?)"
            raise UnknownSchema(msg)
        if kind in _AVRO_SCALARS:
            return ConnectSchema(document.get("connect.type", _AVRO_SCALARS[kind]), name, parameters)
        if isinstance(kind, dict | list) or kind in self._records:
            return self.read(kind, namespace)
        msg = f"Avro type {kind}, which Kafka Connect does not write"
        raise UnknownSchema(msg)

    def _named(self, name: str, namespace: str) -> ConnectSchema:
        if name in _AVRO_SCALARS:
            return ConnectSchema(_AVRO_SCALARS[name])
        full = name if "." in name else f"{namespace}.{name}"
        if full not in self._records:
            msg = f"a record {name} that is not declared"
            raise UnknownSchema(msg)
        return self._records[full]

    def _record(self, document: Mapping[str, Any], namespace: str) -> ConnectSchema:
        name = document["name"]
        inner = name.rpartition(".")[0] or document.get("namespace", namespace)
        fields = {part["name"]: self.read(part["type"], inner) for part in document["fields"]}
        parameters = document.get("connect.parameters", {})
        found = ConnectSchema("struct", document.get("connect.name", ""), parameters, fields)
        self._records[f"{inner}.{name.rpartition('.')[2]}"] = found
        return found
