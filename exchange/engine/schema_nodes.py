"""An Avro schema as rows of numbers, for the kernel to walk values that it needs no more of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from exchange.engine import codes

_PRIMITIVES: Final = {
    "null": codes.NULL,
    "boolean": codes.BOOLEAN,
    "int": codes.INT,
    "long": codes.LONG,
    "float": codes.FLOAT,
    "double": codes.DOUBLE,
    "bytes": codes.BYTES,
    "string": codes.STRING,
}


class Nodes:
    """The rows of all schemas that were added; see exchange/engine/codes.py.

    The schemas have been read by exchange/encoding/avroread.py, which refuses those that are not Avro or that
    refer to themselves.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.kids: list[int] = []
        self._named: dict[str, int] = {}

    def kind(self, node: int) -> int:
        """Return a node's kind."""
        return self.rows[node * codes.NODE_WIDTH]

    def node(self, schema: Any, namespace: str = "") -> int:
        """Add a schema, its parts first, and return the number of its node."""
        if isinstance(schema, list):
            return self._union(schema, namespace)
        if isinstance(schema, str):
            return self._add(_PRIMITIVES[schema]) if schema in _PRIMITIVES else self._find(schema, namespace)
        kind = schema["type"]
        if kind == "array":
            return self._add(codes.ARRAY, self.node(schema["items"], namespace))
        if kind == "map":
            return self._add(codes.MAP, self.node(schema["values"], namespace))
        if kind in ("record", "enum", "fixed"):
            return self._define(schema, namespace)
        return self.node(kind, namespace)

    def _add(self, kind: int, first: int = 0, second: int = 0) -> int:
        self.rows += [kind, first, second]
        return len(self.rows) // codes.NODE_WIDTH - 1

    def _union(self, branches: list[Any], namespace: str) -> int:
        if len(branches) == 2 and branches[0] == "null":
            return self._add(codes.NULLABLE, self.node(branches[1], namespace))
        return self._add(codes.UNION, *self._children([self.node(branch, namespace) for branch in branches]))

    def _children(self, nodes: list[int]) -> tuple[int, int]:
        self.kids += nodes
        return len(self.kids) - len(nodes), len(nodes)

    def _find(self, name: str, namespace: str) -> int:
        return self._named[name if "." in name or not namespace else f"{namespace}.{name}"]

    def _define(self, schema: Mapping[str, Any], namespace: str) -> int:
        name, inner = str(schema.get("name", "")), namespace_of(schema, namespace)
        if schema["type"] == "record":
            fields = [self.node(field["type"], inner) for field in schema["fields"]]
            node = self._add(codes.RECORD, *self._children(fields))
        elif schema["type"] == "enum":
            node = self._add(codes.ENUM, len(schema["symbols"]))
        else:
            node = self._add(codes.FIXED, int(schema["size"]))
        self._named[name if "." in name or not inner else f"{inner}.{name}"] = node
        return node


def namespace_of(schema: Mapping[str, Any], outer: str) -> str:
    """Return the namespace that holds inside a named type. Source: Avro 1.12 specification, "Names"."""
    name = str(schema.get("name", ""))
    return name.rpartition(".")[0] if "." in name else str(schema.get("namespace", outer))
