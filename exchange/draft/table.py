"""A live table as a draft needs it, whatever kind of database it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import NAME
from exchange.draft.guess import Shapes
from exchange.encoding.avroname import avro_name

SAMPLE_ROWS: Final = 1000
DATE: Final[Mapping[str, str]] = {"type": "int", "logicalType": "date"}
TIME: Final[Mapping[str, str]] = {"type": "long", "logicalType": "time-micros"}
LOCAL_TIMESTAMP: Final[Mapping[str, str]] = {"type": "long", "logicalType": "local-timestamp-micros"}
TIMESTAMP: Final[Mapping[str, str]] = {"type": "long", "logicalType": "timestamp-micros"}


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column. kind: what its database calls its type; avro: type of its field, none where it gets none.

    unfit: why it gets none; most_characters: of a text that has a limit; labels: the only values it takes;
    key_at: its place in the primary key, or none.
    """

    name: str
    kind: str
    avro: Any
    nullable: bool
    comment: str
    key_at: int | None
    shapes: Shapes
    unfit: str = ""
    most_characters: int = 0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table as it is now."""

    name: str
    comment: str
    columns: tuple[LiveColumn, ...]


def decimal(precision: int, scale: int) -> dict[str, Any]:
    """Return the type of an exact number."""
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def labelled(column: str, labels: tuple[str, ...]) -> Any:
    """Return the type of a column that takes certain labels only: an enum where Avro can name them."""
    if labels and all(NAME.fullmatch(label) for label in labels):
        return {"type": "enum", "name": f"{avro_name(column)}_symbol", "symbols": list(labels)}
    return "string"
