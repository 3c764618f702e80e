"""What `exchange apply` makes of revocations: a topology without the grants that do not hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from exchange.plan import REVOCATIONS_TOPIC
from exchange.revocations import Revocation, key_of
from exchange.topology.model import Topology


def in_force(known: Mapping[str, Revocation]) -> dict[str, Revocation]:
    """Return the revocations that nobody has lifted, by key, in order."""
    return {key: known[key] for key in sorted(known) if known[key].in_force}


def without_revoked(topology: Topology, revoked: Iterable[str]) -> Topology:
    """Return the topology with only those grants that hold. revoked: their keys."""
    taken = frozenset(revoked)
    left = tuple(grant for grant in topology.grants if key_of(grant.subscriber, grant.view) not in taken)
    return topology.model_copy(update={"grants": left})


def cut_off(topology: Topology, revoked: Mapping[str, Revocation], today: dt.date) -> frozenset[str]:
    """Return the subscribers whose last grant was revoked: they have no login. topology: without these."""
    found = {one.subscriber for one in revoked.values()} & topology.subscribers.keys()
    return frozenset(name for name in found if not topology.granted_views(name, today))


def told(topology: Topology, revoked: Mapping[str, Revocation]) -> list[str]:
    """Return, for each grant that is declared and does not hold, why."""
    declared = {key_of(grant.subscriber, grant.view): grant for grant in topology.grants}
    return [
        f"grant of {one.view} to {one.subscriber}: {one}; it is not given, "
        f"until `exchange restore {one.subscriber} {one.view}`"
        for key, one in revoked.items()
        if key in declared
    ]


def problem_of_lost(known: Mapping[str, Revocation], planned: Iterable[str]) -> str | None:
    """Return what is wrong when the topic lacks what the plan in force says was revoked."""
    lost = sorted(set(planned) - known.keys())
    if not lost:
        return None
    return (
        f"topic {REVOCATIONS_TOPIC} has lost what was revoked ({', '.join(lost)}), so no access is given. "
        "Restore it, or revoke these again (`exchange revoke SUBSCRIBER VIEW`)"
    )
