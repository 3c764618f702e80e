"""Objections that were corrected, brought into `_exchange.corrections` as markers."""

from __future__ import annotations

from typing import Any, Final

from exchange.corrections import Correction, of_resources, read_corrections
from exchange.governance.objection import Objection
from exchange.governance.objection_desk import corrected
from exchange.governance.store import Store
from exchange.librdkafka import explain, write
from exchange.plan import CORRECTIONS_TOPIC
from exchange.topology.model import Topology

_ANSWER_S: Final = 30.0


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
    wanted = {one.id: marker(one) for one in corrected(store)}
    if not wanted:
        return 0
    there = {one.correction.objection: one.correction for one in read_corrections(client)}
    missing = [one for one in wanted.values() if there.get(one.objection) != one]
    records = (
        {
            "topic": CORRECTIONS_TOPIC,
            "key": str(one.objection).encode(),
            "value": one.model_dump_json().encode(),
            "partition": 0,
        }
        for one in missing
    )
    for error in write(client, records, _ANSWER_S):
        raise explain(CORRECTIONS_TOPIC, error)
    return len(missing)


def corrections_for(client: dict[str, Any], topology: Topology, views: tuple[str, ...]) -> list[Correction]:
    """Return the markers of the resources of some views, by objection. Raises: as `announce`."""
    resources = {topology.views[view].resource for view in views}
    found = [one.correction for one in of_resources(read_corrections(client), resources)]
    return sorted(found, key=lambda one: one.objection)
