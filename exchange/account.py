"""Accounts: the small records that say what a committed batch moved. They are the metrics of the bus.

Each stage writes its accounts inside the Kafka transaction that moves the data, so a committed batch has
exactly one set of accounts and an aborted one has none. A batch's figures are kept per source minute, so that
captured = delivered + refused + filtered can be checked for every table and minute.

Sums are taken modulo 2**64 and do not depend on order: the sum over positions finds loss and duplicates,
the sum over position and bytes finds alteration.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from exchange.change import Position, Reason, mix64
from exchange.encoding import singleobject

MS_PER_MINUTE: Final = 60_000
_U64: Final = 0xFFFF_FFFF_FFFF_FFFF
_DELAY_GROWTH: Final = 1.1
"""Each delay bucket is 10 % wider than the one before: a percentile is within 5 % of its bucket's middle."""

Stage = Literal["capture", "process", "redrive", "deliver", "pull"]
"""deliver: from a view's topic into a subscriber's own store; pull: into an answer over HTTP. Topic and
offsets of these two are the view topic's."""

_STAGES: Final = ["capture", "process", "redrive", "deliver", "pull"]

SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "Account",
    "namespace": "exchange",
    "fields": [
        {
            "name": "stage",
            "type": {"type": "enum", "name": "Stage", "symbols": _STAGES},
        },
        {"name": "writer", "type": "string", "doc": "transactional.id of the producer"},
        {"name": "resource", "type": "string"},
        {"name": "topic", "type": "string", "doc": "topic the figures are about: raw, or of a view"},
        {
            "name": "partition",
            "type": "int",
            "doc": "of that topic; -1 where the stage writes it, not reads",
        },
        {"name": "first_offset", "type": "long", "doc": "of that topic, -1 where the stage writes it"},
        {"name": "last_offset", "type": "long"},
        {"name": "minute", "type": "long", "doc": "source commit time, minutes since 1970-01-01 UTC"},
        {"name": "plan_version", "type": "long"},
        {"name": "changes", "type": "long", "doc": "changes that came in"},
        {"name": "position_sum", "type": "long"},
        {"name": "content_sum", "type": "long"},
        {"name": "foreign", "type": "long", "doc": "records that this bus did not write; not in `changes`"},
        {
            "name": "views",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "ViewFigures",
                    "fields": [
                        {"name": "topic", "type": "string"},
                        {"name": "delivered", "type": "long", "doc": "changes"},
                        {"name": "delivered_sum", "type": "long", "doc": "over positions"},
                        {"name": "filtered", "type": "long", "doc": "changes outside the view's row scope"},
                        {"name": "filtered_sum", "type": "long", "doc": "over positions"},
                        {"name": "records", "type": "long", "doc": "Kafka records written, tombstones too"},
                        {"name": "content_sum", "type": "long", "doc": "over positions and bytes as written"},
                    ],
                },
            },
        },
        {
            "name": "refused",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "RefusedFigures",
                    "fields": [
                        {"name": "reason", "type": "string"},
                        {"name": "field", "type": "string"},
                        {"name": "changes", "type": "long"},
                    ],
                },
            },
        },
        {"name": "refused_sum", "type": "long", "doc": "over positions"},
        {"name": "made_at_ms", "type": "long"},
        {"name": "delay_bucket", "type": {"type": "array", "items": "int"}, "doc": "see delay_bucket()"},
        {"name": "delay_count", "type": {"type": "array", "items": "long"}},
    ],
}


def _of_stages(symbols: list[str]) -> dict[str, Any]:
    """Return the schema as it was when there were only these stages."""
    stage = {"name": "stage", "type": {"type": "enum", "name": "Stage", "symbols": symbols}}
    return SCHEMA | {"fields": [stage, *SCHEMA["fields"][1:]]}


_CODEC: Final = singleobject.Codec(SCHEMA, _of_stages(_STAGES[:3]), _of_stages(_STAGES[:4]))


@dataclass(slots=True)
class ViewFigures:
    """What one batch did to one view topic; sums are unsigned 64-bit."""

    topic: str
    delivered: int = 0
    delivered_sum: int = 0
    filtered: int = 0
    filtered_sum: int = 0
    records: int = 0
    content_sum: int = 0


@dataclass(slots=True)
class Account:
    """The figures of one batch for one raw topic partition and source minute; sums are unsigned 64-bit."""

    stage: Stage
    writer: str
    resource: str
    topic: str
    minute: int
    partition: int = -1
    first_offset: int = -1
    last_offset: int = -1
    plan_version: int = 0
    changes: int = 0
    position_sum: int = 0
    content_sum: int = 0
    foreign: int = 0
    views: dict[str, ViewFigures] = field(default_factory=dict)
    refused: dict[tuple[Reason, str], int] = field(default_factory=dict)
    refused_sum: int = 0
    made_at_ms: int = 0
    delays: dict[int, int] = field(default_factory=dict)

    def came_in(self, position_hash: int, content_hash: int) -> None:
        """Count one change that entered the stage."""
        self.took_in(1, position_hash, content_hash, {})

    def took_in(self, changes: int, position_sum: int, content_sum: int, delays: Mapping[int, int]) -> None:
        """Count changes that entered the stage; sums are unsigned 64-bit, delays by bucket."""
        self.changes += changes
        self.position_sum = (self.position_sum + position_sum) & _U64
        self.content_sum = (self.content_sum + content_sum) & _U64
        for bucket, count in delays.items():
            self.delays[bucket] = self.delays.get(bucket, 0) + count

    def delivered(self, topic: str, changes: int, position_sum: int, records: int, content_sum: int) -> None:
        """Count changes that a view shows, and the records they became."""
        view = self._view(topic)
        view.delivered += changes
        view.delivered_sum = (view.delivered_sum + position_sum) & _U64
        view.records += records
        view.content_sum = (view.content_sum + content_sum) & _U64

    def filtered(self, topic: str, changes: int, position_sum: int) -> None:
        """Count changes that lie outside a view's row scope."""
        view = self._view(topic)
        view.filtered += changes
        view.filtered_sum = (view.filtered_sum + position_sum) & _U64

    def was_refused(self, reason: Reason, field_path: str, position_hash: int) -> None:
        """Count one change that went to quarantine instead."""
        self.refused[reason, field_path] = self.refused.get((reason, field_path), 0) + 1
        self.refused_sum = (self.refused_sum + position_hash) & _U64

    def was_foreign(self) -> None:
        """Count one record that went to quarantine because the bus never wrote it."""
        self.foreign += 1

    def was_delivered(self, topic: str, position_hash: int, content_hashes: list[int]) -> None:
        """Count one change that a view shows, and the records it became."""
        self.delivered(topic, 1, position_hash, len(content_hashes), sum(content_hashes))

    def was_filtered(self, topic: str, position_hash: int) -> None:
        """Count one change that lies outside a view's row scope."""
        self.filtered(topic, 1, position_hash)

    def took(self, delay_ms: int) -> None:
        """Count one change's delay from source commit to `made_at_ms`."""
        bucket = delay_bucket(delay_ms)
        self.delays[bucket] = self.delays.get(bucket, 0) + 1

    def encode(self) -> bytes:
        """Return Avro single-object bytes of SCHEMA."""
        return _CODEC.encode(
            {
                "stage": self.stage,
                "writer": self.writer,
                "resource": self.resource,
                "topic": self.topic,
                "partition": self.partition,
                "first_offset": self.first_offset,
                "last_offset": self.last_offset,
                "minute": self.minute,
                "plan_version": self.plan_version,
                "changes": self.changes,
                "position_sum": _signed(self.position_sum),
                "content_sum": _signed(self.content_sum),
                "foreign": self.foreign,
                "views": [
                    {
                        "topic": view.topic,
                        "delivered": view.delivered,
                        "delivered_sum": _signed(view.delivered_sum),
                        "filtered": view.filtered,
                        "filtered_sum": _signed(view.filtered_sum),
                        "records": view.records,
                        "content_sum": _signed(view.content_sum),
                    }
                    for view in self.views.values()
                ],
                "refused": [
                    {"reason": reason.value, "field": path, "changes": changes}
                    for (reason, path), changes in self.refused.items()
                ],
                "refused_sum": _signed(self.refused_sum),
                "made_at_ms": self.made_at_ms,
                "delay_bucket": list(self.delays),
                "delay_count": list(self.delays.values()),
            }
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Account:
        """Return the account held in single-object bytes.

        Raises: ValueError when the bytes are not an account.
        """
        seen = _CODEC.decode(encoded)
        views = {
            view["topic"]: ViewFigures(
                topic=view["topic"],
                delivered=view["delivered"],
                delivered_sum=view["delivered_sum"] & _U64,
                filtered=view["filtered"],
                filtered_sum=view["filtered_sum"] & _U64,
                records=view["records"],
                content_sum=view["content_sum"] & _U64,
            )
            for view in seen["views"]
        }
        refused = {(Reason(entry["reason"]), entry["field"]): entry["changes"] for entry in seen["refused"]}
        return cls(
            stage=seen["stage"],
            writer=seen["writer"],
            resource=seen["resource"],
            topic=seen["topic"],
            partition=seen["partition"],
            first_offset=seen["first_offset"],
            last_offset=seen["last_offset"],
            minute=seen["minute"],
            plan_version=seen["plan_version"],
            changes=seen["changes"],
            position_sum=seen["position_sum"] & _U64,
            content_sum=seen["content_sum"] & _U64,
            foreign=seen["foreign"],
            views=views,
            refused=refused,
            refused_sum=seen["refused_sum"] & _U64,
            made_at_ms=seen["made_at_ms"],
            delays=dict(zip(seen["delay_bucket"], seen["delay_count"], strict=True)),
        )

    def _view(self, topic: str) -> ViewFigures:
        if topic not in self.views:
            self.views[topic] = ViewFigures(topic)
        return self.views[topic]


def content_hash(position: Position, key: bytes | None, value: bytes | None) -> int:
    """Return an unsigned 64-bit hash over a record's position and its bytes as written."""
    key_crc = zlib.crc32(key) if key is not None else 0
    value_crc = zlib.crc32(value) if value is not None else 0
    return mix64(position.hash64() ^ (key_crc << 32) ^ value_crc)


def minute_of(source_ms: int) -> int:
    """Return the minute since 1970-01-01 UTC that a source commit time falls into."""
    return source_ms // MS_PER_MINUTE


def delay_bucket(delay_ms: int) -> int:
    """Return the number of the histogram bucket that holds a delay; bucket 0 is below 1 ms."""
    return 0 if delay_ms < 1 else 1 + int(math.log(delay_ms) / math.log(_DELAY_GROWTH))


def bucket_middle_ms(bucket: int) -> float:
    """Return the delay that stands for a bucket: its geometric middle."""
    return 0.5 if bucket == 0 else float(_DELAY_GROWTH ** (bucket - 0.5))


def _signed(unsigned: int) -> int:
    """Avro's long is signed; the same 64 bits as two's complement."""
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned
