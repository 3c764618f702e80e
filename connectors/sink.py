"""What delivery gives to a sink, and the protocol it follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from connectors.parked import ParkedView
from exchange.errors import SinkError, TransientError
from exchange.fieldtype import LOGICAL
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received

Parked = Collection[tuple[int, int]]
"""Partition and offset of records that the target cannot hold."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a view as its Avro schema says.

    kind: a primitive's name, a logical type as exchange/fieldtype.py names it, or enum, array, record.
    """

    name: str
    kind: str
    precision: int = 0
    scale: int = 0
    doc: str = ""


@dataclass(frozen=True, slots=True)
class DeliveredView:
    """A view as the plan in force has it: what a target must be able to hold.

    name: <domain>.<resource>.<view>; key: names of its key fields; columns: all its fields, in order.
    """

    name: str
    resource: str
    topic: str
    partitions: int
    key: tuple[str, ...]
    columns: tuple[Column, ...]


class GoneError(SinkError):
    """The target wants nothing more: no other try until the plan changes or the process is started again."""


class RefusedError(SinkError):
    """The target refuses a request for good. status: its answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class OvertakenError(TransientError):
    """Another process has written to the target meanwhile: the one before us, or the one after us."""


class Sink(Protocol):
    """open → write* → close, for one view, in a thread of its own.

    A sink that raises is closed and a new one is opened: after TransientError soon, after SinkError (a person
    must act at the target) once a minute, after GoneError not by itself; its other views go on meanwhile.
    """

    linger_s: ClassVar[float]
    """How long records are gathered before they are written; 0: what is there goes at once."""
    max_records: ClassVar[int]
    """At most so many records in a batch."""

    def open(self) -> Mapping[int, Place] | None:
        """Make the target ready for the view, and return how far each partition is there. Called once.

        None: the target keeps no places, Kafka's group does; then a batch may come again after a failure, cut
        in another way. Where it keeps them, a partition that is not named is read from its first record.

        Raises: SinkError when the target is not as wanted, with what mends it.
        """

    def write(self, batch: Batch) -> Parked:
        """Put a batch into the target, whole or not at all, with its places; return what was parked.

        Durable when this returns: only then Kafka hears of it. Records that lie before the places that `open`
        returned are in the target already and only answered for: their account is not yet in Kafka.
        Parked is what the target cannot hold, and what came undecodable (`problem`); it keeps their place and
        the reason, never a value. Tombstones follow their delete and need no writing.

        Raises: OvertakenError, with nothing written.
        """

    def begin_anew(self) -> str:
        """Return what a person does so that the view is delivered from its first record again."""

    def close(self) -> None:
        """Give up connections. May be called twice."""


@runtime_checkable
class ParkingSink(Sink, Protocol):
    """A sink whose refused records are kept on a list in Kafka, as the target has no place for them."""

    parked: ParkedView
    """Loaded before `open`; `write` adds to it, what it adds is kept together with the batch's account."""

    def send_one(self, record: Received) -> int:
        """Send a record by itself; return 0 when it was accepted, else the status with which it was refused.

        Raises: TransientError where nobody knows yet; GoneError.
        """


def delivered_view(
    name: str,
    topic: str,
    partitions: int,
    key_schema: Mapping[str, Any],
    value_schema: Mapping[str, Any],
) -> DeliveredView:
    """Return a view by its registered schemas: the key's record, and the envelope."""
    before = next(field for field in value_schema["fields"] if field["name"] == "before")
    fields = next(branch for branch in before["type"] if isinstance(branch, dict))["fields"]
    return DeliveredView(
        name=name,
        resource=name.rpartition(".")[0],
        topic=topic,
        partitions=partitions,
        key=tuple(field["name"] for field in key_schema["fields"]),
        columns=tuple(_column(field) for field in fields),
    )


_COMPLEX: Final = frozenset({"enum", "array", "record"})


def _column(field: Mapping[str, Any]) -> Column:
    type_ = field["type"]
    if isinstance(type_, list):
        type_ = next(branch for branch in type_ if branch != "null")
    schema = type_ if isinstance(type_, dict) else {"type": type_}
    kind = str(schema["type"])
    if kind not in _COMPLEX:
        kind = LOGICAL.get((kind, schema.get("logicalType", "")), kind)
    return Column(
        name=field["name"],
        kind=kind,
        precision=schema.get("precision", 0),
        scale=schema.get("scale", 0),
        doc=field.get("doc", ""),
    )
