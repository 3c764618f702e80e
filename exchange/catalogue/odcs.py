"""A resource as a contract of the Open Data Contract Standard 3.1.

Source: bitol-io/open-data-contract-standard, docs/README.md and schema/odcs-json-schema-v3.1.0.json.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ruamel.yaml import YAML

from exchange.catalogue.entry import Content, State
from exchange.catalogue.exchanged import Row
from exchange.catalogue.sheet import Sheet
from exchange.errors import ConfigError
from exchange.fieldtype import ContractField, FieldType
from exchange.files import textfile, yaml_source

VERSION: Final = "v3.1.0"
SUFFIX: Final = ".odcs.yaml"
_MOST_BYTES: Final = 256 * 1024
"""Of a file: what YAML takes to be read grows with it, and a contract has some ten KiB."""
_STATUS: Final = {State.PUBLISHED: "active", State.RETIRED: "retired"}
_LOGICAL: Final = {
    **dict.fromkeys(("string", "uuid", "enum", "bytes"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    **dict.fromkeys(("timestamp", "local_timestamp"), "timestamp"),
    **{kind: kind for kind in ("boolean", "date", "time", "array")},
    "record": "object",
}
_CUSTOM: Final = {
    "resource": "resource",
    "catalogueCode": "code",
    "sourceSystem": "system",
    "share": "share",
    "libraryKind": "library_kind",
    "library": "library",
    "nameEn": "name_en",
    "descriptionEn": "description_en",
    "contractSha256": "contract_sha256",
}
"""Custom property of the document → column of the exchange."""


def document(sheet: Sheet) -> dict[str, Any]:
    """Return a resource's contract as the standard has it."""
    entry, declared = sheet.entry, sheet.declared()
    content = entry.told if entry is not None else Content()
    columns = declared | content.model_dump() | {"resource": sheet.name}
    made = {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": sheet.name,
        "name": sheet.resource.label.zh,
        "version": declared["contract_version"],
        "status": _STATUS.get(entry.state, "draft") if entry else "draft",
        "domain": sheet.name.partition(".")[0],
        "description": {"purpose": content.description_zh},
        "schema": [
            {
                "name": sheet.contract.name,
                "logicalType": "object",
                "physicalType": "table",
                "physicalName": sheet.resource.table,
                "businessName": sheet.resource.label.zh,
                "properties": list(_properties(sheet)),
            }
        ],
        "team": {"name": sheet.department, "description": sheet.department_zh},
        "slaProperties": [{"property": "frequency", "value": declared["update_cycle"]}],
        "customProperties": [_custom(name, columns[column]) for name, column in _CUSTOM.items()],
    }
    if content.contact:
        made["support"] = [{"channel": content.contact}]
    return made


def text(sheet: Sheet) -> str:
    """Return it as YAML."""
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(document(sheet), out)
    return out.getvalue()


def read(name: str, content: bytes) -> Row:
    """Return what a file of the standard says of a resource.

    Raises: ConfigError where it is no YAML, too large, of another version, or not shaped as an export is.
    """
    if len(content) > _MOST_BYTES:
        msg = f"{name}: larger than {_MOST_BYTES // 1024} KiB; the contract of one resource is wanted"
        raise ConfigError(msg)
    source = yaml_source.parse(textfile.decoded(content, name).removeprefix(textfile.BYTE_ORDER_MARK), name)
    if source.problems:
        raise ConfigError(source.report(source.problems), source.problems)
    seen = source.data
    if not isinstance(seen, dict) or seen.get("apiVersion") != VERSION or seen.get("kind") != "DataContract":
        msg = f"{name}: a contract with apiVersion {VERSION} and kind DataContract is wanted"
        raise ConfigError(msg)
    try:
        return _row(name, seen)
    except (AttributeError, KeyError, TypeError, IndexError, ValueError):
        msg = (
            f"{name}: not shaped as `exchange catalogue export --format odcs` writes it: one schema with "
            "properties, description.purpose and customProperties are wanted"
        )
        raise ConfigError(msg) from None


def _row(where: str, seen: Mapping[str, Any]) -> Row:
    (table,) = seen["schema"]
    custom = {one["property"]: _plain(one["value"]) for one in seen["customProperties"]}
    columns = {column: custom[name] for name, column in _CUSTOM.items() if name in custom}
    columns |= {
        "name_zh": _plain(seen["name"]),
        "contract_version": _plain(seen["version"]),
        "description_zh": _plain(seen["description"]["purpose"]),
        "department": _plain(seen["team"]["name"]),
        "table": _plain(table["physicalName"]),
        "contract": _plain(table["name"]),
        "contact": _plain(seen["support"][0]["channel"]) if seen.get("support") else "",
    }
    for one in seen.get("slaProperties", ()):
        if one["property"] == "frequency":
            columns["update_cycle"] = _plain(one["value"])
    fields = {path: {"classification": grade} for path, grade in _leaves(table["properties"], "")}
    return Row(where, columns.pop("resource", _plain(seen["id"])), columns, fields)


def _leaves(properties: list[Mapping[str, Any]], step: str) -> Iterator[tuple[str, str]]:
    for one in properties:
        path = f"{step}{one['name']}"
        inside = one.get("properties") or one.get("items", {}).get("properties")
        if inside:
            yield from _leaves(inside, f"{path}[]." if "items" in one else f"{path}.")
        else:
            yield path, _plain(one.get("classification", ""))


def _properties(sheet: Sheet) -> Iterator[dict[str, Any]]:
    for field in sheet.contract.fields.values():
        made = _property(field)
        if field.name in sheet.contract.key:
            made |= {"primaryKey": True, "primaryKeyPosition": sheet.contract.key.index(field.name) + 1}
        yield made


def _property(field: ContractField) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": field.name,
        "physicalName": field.source,
        "businessName": field.label_zh,
        "description": field.label_en,
        "required": not field.type.nullable,
        "classification": str(field.classification),
    } | _type(field.type)
    custom = {"sensitivity": field.sensitivity, "dataElement": field.element}
    if told := [_custom(name, value) for name, value in custom.items() if value]:
        made["customProperties"] = told
    return made


def _type(type_: FieldType) -> dict[str, Any]:
    made: dict[str, Any] = {"logicalType": _LOGICAL[type_.kind], "physicalType": type_.describe()}
    if type_.kind == "record":
        made["properties"] = [_property(nested) for nested in type_.fields]
    if type_.items is not None:
        made["items"] = _type(type_.items)
    return made


def _custom(name: str, value: str | None) -> dict[str, Any]:
    return {"property": name, "value": value}


def _plain(value: Any) -> str:
    if isinstance(value, dict | list):
        raise TypeError
    return "" if value is None else str(value)
