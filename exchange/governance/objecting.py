"""What an objection needs to be found in Kafka, for commands and for every other way in."""

from __future__ import annotations

from exchange import rawkeys
from exchange.cluster import ADMIN
from exchange.errors import GovernanceError
from exchange.governance import authority, objected
from exchange.governance.objection import Objection, Place
from exchange.governance.objection_desk import Objected
from exchange.plan import raw_topic, view_topic
from exchange.settings import Settings
from exchange.topology.model import Topology


def objected_change(settings: Settings, topology: Topology, about: Objected) -> Place:
    """Return the change that a record shows; the record is read as the subscriber.

    Raises: as `objected.shown` and `objected.change_of`.
    """
    resource, _, name = about.view.rpartition(".")
    client, group = settings.kafka_client(about.subscriber), f"{about.subscriber}.objections"
    header = objected.shown(client, view_topic(resource, name), about.partition, about.offset, group)
    raw, opener = _raw_topic(topology, resource), rawkeys.opener(settings.secrets)
    return objected.change_of(settings.kafka_client(ADMIN), raw, about.partition, header, opener)


def correcting_change(settings: Settings, topology: Topology, one: Objection, position: str = "") -> Place:
    """Return the later change of the same row that is named by its position, else the last one.

    Raises: GovernanceError when there is none; as `objected.later_changes`.
    """
    raw, opener = _raw_topic(topology, one.resource), rawkeys.opener(settings.secrets)
    client = settings.kafka_client(ADMIN)
    later = objected.later_changes(client, raw, one.partition, one.change, opener)
    if not later:
        msg = (
            f"objection {one.id}: the row was not changed since; correct it in the source, "
            "and do this again once the change is captured"
        )
        raise GovernanceError(msg)
    chosen = [change for change in later if change.position == position] if position else later
    if not chosen:
        msg = (
            f"objection {one.id}: the position is none of the row's later changes; leave it out for the last"
        )
        raise GovernanceError(msg)
    return chosen[-1]


def _raw_topic(topology: Topology, name: str) -> str:
    authority.expect_known(topology, resource=name)
    return raw_topic(topology.resources[name].system, topology.resources[name].table)
