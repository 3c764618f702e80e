from __future__ import annotations

import json
from typing import Any

import pytest

from monitor.registry.compatibility import InvalidSchemaError, Level, incompatibilities, parse


def record(*fields: dict[str, Any], name: str = "Person") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


AGE = {"name": "age", "type": "int"}
NICK = {"name": "nick", "type": ["null", "string"], "default": None}
REQUIRED = {"name": "phone", "type": "string"}
PLAIN = record(AGE)


def decimal(scale: int) -> dict[str, Any]:
    return {
        "name": "pay",
        "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": scale}],
        "default": None,
    }


@pytest.mark.parametrize(
    ("level", "new", "accepted"),
    [
        (Level.BACKWARD, record(AGE, NICK), True),
        (Level.BACKWARD, record(AGE, REQUIRED), False),
        (Level.BACKWARD, record(), True),
        (Level.FORWARD, record(AGE, REQUIRED), True),
        (Level.FORWARD, record(), False),
        (Level.FULL, record(AGE, NICK), True),
        (Level.FULL, record(AGE, REQUIRED), False),
        (Level.NONE, record({"name": "age", "type": "string"}), True),
        (Level.BACKWARD, record({"name": "age", "type": "long"}), True),
        (Level.FULL, record({"name": "age", "type": "long"}), False),
    ],
)
def test_level_decides_whether_a_change_is_accepted(level: Level, new: str, accepted: bool) -> None:
    assert (incompatibilities(new, [(1, PLAIN)], level) == []) is accepted


def test_only_transitive_levels_look_at_older_versions() -> None:
    history = [(1, record(AGE)), (2, record())]
    new = record({"name": "age", "type": "string", "default": ""})

    assert incompatibilities(new, history, Level.BACKWARD) == []
    assert "version 1" in incompatibilities(new, history, Level.BACKWARD_TRANSITIVE)[0]


def test_message_names_direction_version_path_and_field() -> None:
    [problem] = incompatibilities(record(AGE, REQUIRED), [(3, PLAIN)], Level.BACKWARD)

    assert "new schema cannot read version 3" in problem
    assert "/fields/1 (phone)" in problem
    assert "reader_field_missing_default_value" in problem


def test_path_of_a_nested_field_is_named() -> None:
    def nested(kind: str) -> str:
        inner = {"type": "record", "name": "Inner", "fields": [{"name": "code", "type": kind}]}
        return record({"name": "homes", "type": {"type": "array", "items": inner}})

    [problem] = incompatibilities(nested("int"), [(1, nested("string"))], Level.BACKWARD)

    assert "(homes.code)" in problem


def test_narrowed_enum_is_refused() -> None:
    def coloured(*symbols: str) -> str:
        return record({"name": "sex", "type": {"type": "enum", "name": "Sex", "symbols": list(symbols)}})

    assert incompatibilities(coloured("M"), [(1, coloured("M", "F"))], Level.BACKWARD) != []


def test_changed_decimal_scale_is_refused_though_the_bytes_still_decode() -> None:
    [problem] = incompatibilities(record(decimal(4)), [(1, record(decimal(2)))], Level.BACKWARD)

    assert "/pay" in problem
    assert "decimal" in problem


def test_equal_decimals_are_accepted() -> None:
    assert incompatibilities(record(decimal(2)), [(1, record(decimal(2)))], Level.FULL) == []


def test_recursive_schema_is_checked_to_its_end() -> None:
    tree = record({"name": "next", "type": ["null", "Person"], "default": None})

    assert incompatibilities(tree, [(1, tree)], Level.FULL_TRANSITIVE) == []


@pytest.mark.parametrize(
    "text",
    ["{", "[]x", '{"type":"record"}', '{"type":"nonsense"}', "17", '{"type":"enum","name":"e"}', "null"],
)
def test_text_that_is_no_schema_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSchemaError, match="not"):
        parse(text)


def test_unknown_logical_types_are_no_obstacle() -> None:
    parse(record({"name": "at", "type": {"type": "long", "logicalType": "local-timestamp-micros"}}))
