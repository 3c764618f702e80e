"""Topics that a Debezium writes in Avro, as systems, resources and contracts.

Source: Debezium documentation, "Topic names": <topic.prefix>.<schema>.<table>; "Data type mappings".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from exchange.adopt.found import DEPARTMENT, Draft, Found, to_be_named
from exchange.adopt.plan import UNKNOWN
from exchange.draft.document import draft as drafted
from exchange.draft.guess import Shapes
from exchange.draft.table import DATE, LOCAL_TIMESTAMP, TIME, TIMESTAMP, LiveColumn, LiveTable, decimal
from exchange.encoding.avroname import avro_name
from exchange.errors import ContractError

_BUS: Final = ("raw.", "share.", "quarantine.", "_")
_ENVELOPE: Final = {"before", "after", "op", "source"}
_PLAIN: Final = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})
_UUID: Final = {"type": "string", "logicalType": "uuid"}
_TEXTS: Final = ("Json", "Enum", "EnumSet", "Xml", "Ltree", "Tsvector")
_CONNECT: Final = "org.apache.kafka.connect.data."
_NAMED: Final[Mapping[str, Any]] = {
    **{f"{_CONNECT}{name}": type_ for name, type_ in (("Date", DATE), ("Time", TIME))},
    f"{_CONNECT}Timestamp": LOCAL_TIMESTAMP,
    "io.debezium.time.Date": DATE,
    **{f"io.debezium.time.{name}": TIME for name in ("Time", "MicroTime", "NanoTime")},
    **{f"io.debezium.time.{name}Timestamp": LOCAL_TIMESTAMP for name in ("", "Micro", "Nano")},
    "io.debezium.time.ZonedTimestamp": TIMESTAMP,
    **{f"io.debezium.time.{name}": "string" for name in ("ZonedTime", "Interval")},
    "io.debezium.time.Year": "int",
    **{f"io.debezium.data.{name}": "string" for name in _TEXTS},
    "io.debezium.data.VariableScaleDecimal": "string",
    "io.debezium.data.Uuid": _UUID,
    "io.debezium.data.Bits": "bytes",
}


def adopt_debezium(found: Found, draft: Draft) -> None:
    """Add a resource for each topic with Debezium's envelope in the registry; say why others get none."""
    taken = {resource.get("topic") for resource in draft.resources.values()}
    for topic, partitions in sorted(found.topics.items()):
        if topic.startswith(_BUS) or topic in taken:
            continue
        value = found.subjects.get(f"{topic}-value")
        if value is None:
            draft.outside.append(f"topic {topic}: the registry has no subject {topic}-value")
            continue
        row = _row(value)
        if row is None:
            draft.outside.append(f"topic {topic}: its records are not changes as Debezium tells them")
            continue
        if why := _adopt(topic, partitions, row, found.subjects.get(f"{topic}-key", {}), draft):
            draft.outside.append(f"topic {topic}: {why}")


def _adopt(topic: str, partitions: int, row: Mapping[str, Any], key: Mapping[str, Any], draft: Draft) -> str:
    """Add one topic; return why it gets no resource, empty when it does."""
    prefix, schema, table = ["", "", *topic.rsplit(".", 2)][-3:]
    if not prefix:
        return "its name is not <prefix>.<schema>.<table>"
    system, resource = avro_name(prefix).lower(), f"{avro_name(prefix)}.{avro_name(table)}".lower()
    if resource in draft.resources:
        resource = f"{avro_name(prefix)}.{avro_name(schema)}_{avro_name(table)}".lower()
    if resource in draft.resources or draft.systems.get(system, {}).get("kind", "debezium") != "debezium":
        return f"its name {system} or {resource} is taken"
    try:
        made = drafted(LiveTable(topic, "", tuple(_columns(row, key))), resource)
    except ContractError as error:
        return str(error)
    draft.outside += [f"topic {topic}, field {name}: {why}" for name, why in made.left_out.items()]
    draft.departments.setdefault(DEPARTMENT, {"label": to_be_named(DEPARTMENT)})
    draft.systems.setdefault(system, {"department": DEPARTMENT, "kind": "debezium", "converter": "avro"})
    draft.contracts[resource] = made.document
    draft.resources[resource] = {
        "label": to_be_named(table),
        "system": system,
        "table": f"{avro_name(schema)}.{avro_name(table)}",
        "topic": topic,
        "catalogue_code": UNKNOWN,
        "share": "conditional",
        "partitions": partitions,
    }
    return ""


def _row(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the schema of a row: it stands with `before`, and `after` names it."""
    fields = {field["name"]: field["type"] for field in value.get("fields", ())}
    if not fields.keys() >= _ENVELOPE:
        return None
    branches = [branch for name in ("before", "after") for branch in _branches(fields[name])]
    return next((one for one in branches if isinstance(one, dict) and one.get("type") == "record"), None)


def _columns(row: Mapping[str, Any], key: Mapping[str, Any]) -> Iterator[LiveColumn]:
    keys = [field["name"] for field in key.get("fields", ())]
    for field in row.get("fields", ()):
        branches = _branches(field["type"])
        types = [branch for branch in branches if branch != "null"]
        type_ = _type(types[0]) if len(types) == 1 else None
        yield LiveColumn(
            name=field["name"],
            kind="",
            avro=type_,
            nullable="null" in branches,
            comment="",
            key_at=keys.index(field["name"]) + 1 if field["name"] in keys else None,
            shapes=Shapes(0, {}),
            unfit="" if type_ is not None else "its type is not one that contracts know",
        )


def _branches(type_: Any) -> list[Any]:
    return type_ if isinstance(type_, list) else [type_]


def _type(declared: Any) -> Any:
    """Return the contract's type of an Avro type by Kafka Connect; None where there is none."""
    if not isinstance(declared, dict):
        return declared if declared in _PLAIN else None
    name = declared.get("connect.name", "")
    if name == f"{_CONNECT}Decimal":
        precision, scale = declared.get("precision", 0), declared.get("scale", 0)
        has_bounds = "connect.decimal.precision" in declared.get("connect.parameters", {}) or precision != 64
        return decimal(precision, scale) if has_bounds and 0 <= scale <= precision else "string"
    if name in _NAMED:
        return _NAMED[name]
    if name or declared.get("type") == "array":
        return None
    return declared["type"] if declared.get("type") in _PLAIN else None
