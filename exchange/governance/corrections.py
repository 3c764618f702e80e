"""Corrections as records in `_exchange.corrections`: which change was wrong, and which later one mends it.

One record an objection, under its number: places in the source alone. Who objected, to which fields and why
is not in it.
"""

from __future__ import annotations

from typing import Any, Final

from exchange.compacted import CompactedTopic
from exchange.governance.objection import Objection
from exchange.governance.objection_desk import corrected
from exchange.governance.store import Store
from exchange.librdkafka import explain, write
from exchange.model import Model
from exchange.plan import CORRECTIONS_TOPIC
from exchange.topology.model import Topology

_ANSWER_S: Final = 30.0


class Correction(Model):
    """A marker: readers of the resource's views find both positions in the header of their records."""

    objection: int
    resource: str
    partition: int
    wrong: str
    corrected: str
    at: str


def marker(objection: Objection) -> Correction:
    """Return the marker of an objection that was corrected."""
    return Correction(
        objection=objection.id,
        resource=objection.resource,
        partition=objection.partition,
        wrong=objection.change.position,
        corrected=objection.correction.position if objection.correction else "",
        at=objection.since.isoformat(),
    )


def announce(store: Store, client: dict[str, Any]) -> int:
    """Write the markers that are not in Kafka yet; return how many. May be repeated at any time.

    client: librdkafka properties of the cluster's admin.

    Raises: TransientError when Kafka does not answer, PartError when it refuses.
    """
    wanted = {str(one.id).encode(): marker(one).model_dump_json().encode() for one in corrected(store)}
    if not wanted:
        return 0
    there = _read(client)
    missing = {key: value for key, value in wanted.items() if there.get(key) != value}
    records = ({"topic": CORRECTIONS_TOPIC, "key": key, "value": value} for key, value in missing.items())
    for error in write(client, records, _ANSWER_S):
        raise explain(CORRECTIONS_TOPIC, error)
    return len(missing)


def corrections_for(client: dict[str, Any], topology: Topology, views: tuple[str, ...]) -> list[Correction]:
    """Return the markers of the resources of some views, by objection. Raises: as `announce`."""
    resources = {topology.views[view].resource for view in views}
    found = [Correction.model_validate_json(value) for value in _read(client).values()]
    return sorted((one for one in found if one.resource in resources), key=lambda one: one.objection)


def _read(client: dict[str, Any]) -> dict[bytes, bytes]:
    with CompactedTopic(client, CORRECTIONS_TOPIC) as topic:
        return topic.read()
