"""A strict Avro decoder: whatever the schema does not allow is an error.

fastavro takes negative union and enum indexes (they count from the end), any byte as a boolean and 64 bits
as an `int`. Where bytes that mean two things could pass a mask, each of these is refused. Logical types are
not applied: values stay as Avro stores them. Source: Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

Read = Callable[[bytes, int], tuple[Any, int]]
"""(all bytes, where the value begins) → (value, where it ends); raises ValueError or IndexError."""

_FLOAT: Final = struct.Struct("<f")
_DOUBLE: Final = struct.Struct("<d")
_MAX_LONG_BYTES: Final = 10


def compile_reader(schema: Any) -> Callable[[bytes, int], Any]:
    """Return the function that reads one value from `start` to the very end of the bytes.

    It raises ValueError when they are cut short, have a tail, or are not of the schema; its text holds
    nothing of them.

    Raises: ValueError when the schema is not Avro, or refers to itself.
    """
    read = _reader(schema, {}, "")

    def read_all(encoded: bytes, start: int) -> Any:
        try:
            value, end = read(encoded, start)
        except (IndexError, struct.error, UnicodeDecodeError):
            msg = "cut short, or not of this schema"
            raise ValueError(msg) from None
        if end != len(encoded):
            msg = "bytes left over"
            raise ValueError(msg)
        return value

    return read_all


def _reader(schema: Any, named: dict[str, Read | None], namespace: str) -> Read:
    if isinstance(schema, list):
        return _union([_reader(branch, named, namespace) for branch in schema], schema)
    if isinstance(schema, str):
        return _PRIMITIVES[schema] if schema in _PRIMITIVES else _named(schema, named, namespace)
    if not isinstance(schema, Mapping) or "type" not in schema:
        msg = "not an Avro schema"
        raise ValueError(msg)
    kind = schema["type"]
    if kind == "array":
        return _blocks(_reader(schema["items"], named, namespace), list)
    if kind == "map":
        return _blocks(_pair(_reader(schema["values"], named, namespace)), dict)
    if kind in ("record", "enum", "fixed"):
        return _define(schema, named, namespace)
    return _reader(kind, named, namespace)


def _named(name: str, named: dict[str, Read | None], namespace: str) -> Read:
    full = name if "." in name or not namespace else f"{namespace}.{name}"
    found = named.get(full)
    if found is None:
        msg = "refers to itself" if full in named else f"unknown type {name!r}"
        raise ValueError(msg)
    return found


def _define(schema: Mapping[str, Any], named: dict[str, Read | None], namespace: str) -> Read:
    name = str(schema.get("name", ""))
    inner = name.rpartition(".")[0] if "." in name else str(schema.get("namespace", namespace))
    full = name if "." in name or not inner else f"{inner}.{name}"
    named[full] = None
    if schema["type"] == "record":
        fields = [(field["name"], _reader(field["type"], named, inner)) for field in schema["fields"]]
        read = _record(fields)
    elif schema["type"] == "enum":
        read = _enum(tuple(schema["symbols"]))
    else:
        read = _fixed(int(schema["size"]))
    named[full] = read
    return read


def _record(fields: list[tuple[str, Read]]) -> Read:
    def read(encoded: bytes, at: int) -> tuple[Any, int]:
        record = {}
        for name, read_field in fields:
            record[name], at = read_field(encoded, at)
        return record, at

    return read


def _union(branches: list[Read], schema: list[Any]) -> Read:
    if len(schema) == 2 and schema[0] == "null":
        read_value = branches[1]

        def read_nullable(encoded: bytes, at: int) -> tuple[Any, int]:
            branch = encoded[at]
            if branch == 2:
                return read_value(encoded, at + 1)
            if branch:
                raise ValueError
            return None, at + 1

        return read_nullable

    def read(encoded: bytes, at: int) -> tuple[Any, int]:
        branch, at = _long(encoded, at)
        if not 0 <= branch < len(branches):
            raise ValueError
        return branches[branch](encoded, at)

    return read


def _enum(symbols: tuple[str, ...]) -> Read:
    def read(encoded: bytes, at: int) -> tuple[Any, int]:
        index, at = _long(encoded, at)
        if not 0 <= index < len(symbols):
            raise ValueError
        return symbols[index], at

    return read


def _fixed(size: int) -> Read:
    return lambda encoded, at: _slice(encoded, at, size)


def _blocks(read_item: Read, collect: Callable[[list[Any]], Any]) -> Read:
    def read(encoded: bytes, at: int) -> tuple[Any, int]:
        items: list[Any] = []
        while True:
            count, at = _long(encoded, at)
            if count == 0:
                return collect(items), at
            if count < 0:
                count = -count
                _, at = _long(encoded, at)
            if count > len(encoded) - at:  # every item takes a byte; a lie here must not cost time
                raise ValueError
            for _ in range(count):
                item, at = read_item(encoded, at)
                items.append(item)

    return read


def _pair(read_value: Read) -> Read:
    def read(encoded: bytes, at: int) -> tuple[Any, int]:
        name, at = _string(encoded, at)
        value, at = read_value(encoded, at)
        return (name, value), at

    return read


def _null(_encoded: bytes, at: int) -> tuple[Any, int]:
    return None, at


def _boolean(encoded: bytes, at: int) -> tuple[Any, int]:
    if encoded[at] > 1:
        raise ValueError
    return encoded[at] == 1, at + 1


def _int(encoded: bytes, at: int) -> tuple[Any, int]:
    value, at = _long(encoded, at)
    if not -0x8000_0000 <= value <= 0x7FFF_FFFF:
        raise ValueError
    return value, at


def _long(encoded: bytes, at: int) -> tuple[int, int]:
    byte = encoded[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    zigzag, shift, end = byte & 0x7F, 7, at + _MAX_LONG_BYTES
    while True:
        at += 1
        if at == end:
            raise ValueError
        byte = encoded[at]
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    if zigzag >> 64:
        raise ValueError
    return (zigzag >> 1) ^ -(zigzag & 1), at + 1


def _float(encoded: bytes, at: int) -> tuple[Any, int]:
    return _FLOAT.unpack_from(encoded, at)[0], at + 4


def _double(encoded: bytes, at: int) -> tuple[Any, int]:
    return _DOUBLE.unpack_from(encoded, at)[0], at + 8


def _bytes(encoded: bytes, at: int) -> tuple[Any, int]:
    length, at = _long(encoded, at)
    return _slice(encoded, at, length)


def _slice(encoded: bytes, at: int, length: int) -> tuple[Any, int]:
    end = at + length
    found = encoded[at:end]
    if len(found) != length:
        raise ValueError
    return found, end


def _string(encoded: bytes, at: int) -> tuple[Any, int]:
    length, at = _long(encoded, at)
    end = at + length
    text = encoded[at:end]
    if len(text) != length:
        raise ValueError
    return text.decode(), end


_PRIMITIVES: Final[dict[str, Read]] = {
    "null": _null,
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _float,
    "double": _double,
    "bytes": _bytes,
    "string": _string,
}
