"""One subscriber's grants carried out at once, apart from the rest: access, and what is delivered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from exchange.apply import access, publish
from exchange.apply.proposed import BroughtIn, bring_in, running_views
from exchange.apply.revoked import in_force, told, without_revoked
from exchange.cluster import ADMIN, Acl, Cluster
from exchange.errors import PlanError
from exchange.plan import PublishedPlan
from exchange.revocations import Revocation, read_revocations
from exchange.settings import Settings
from exchange.topology.file import today
from exchange.topology.model import Topology

_VIEW_TOPICS = "share."


def carry_out(
    settings: Settings, desired: Callable[[], Topology], subscriber: str, declared: Collection[str]
) -> list[str]:
    """Give a subscriber the access that it is granted now, and take away what it is not.

    desired: the topology with all grants, asked again afterwards: what was decided meanwhile is carried out
    too, so that of two decisions the later one holds, whichever was carried out first; declared: its views
    that no request proposes. Another one that is granted is brought into force first, where it is not.

    Returns a line for each grant of the subscriber that was revoked, which does not hold, whoever approved
    it, and one for each view that came into force without its history.

    Raises: PlanError when a granted view is not in force as the topology has it; that one is not given.
    """
    notes: list[str] = []
    while True:
        topology, revoked = desired(), _revoked(settings, subscriber)
        notes += _carry_out(settings, without_revoked(topology, revoked), subscriber, declared)
        if desired().grants == topology.grants and _revoked(settings, subscriber) == revoked:
            return [f"not in force: {one}" for one in told(topology, revoked)] + notes


def _revoked(settings: Settings, subscriber: str) -> dict[str, Revocation]:
    known = in_force(read_revocations(settings.kafka_client(ADMIN)))
    return {key: one for key, one in known.items() if one.subscriber == subscriber}


def catch_up(
    settings: Settings, desired: Callable[[], Topology], applied: Topology, declared: Collection[str]
) -> None:
    """Carry out what was decided on grants while a topology was being applied. Raises: as `carry_out`."""
    missed = set(desired().grants) ^ set(applied.grants)
    for subscriber in sorted({grant.subscriber for grant in missed}):
        carry_out(settings, desired, subscriber, declared)


def _carry_out(
    settings: Settings, topology: Topology, subscriber: str, declared: Collection[str]
) -> list[str]:
    cluster, client = Cluster(settings), settings.kafka_client(ADMIN)
    users = {subscriber, access.deliverer(subscriber)}
    wanted = frozenset(_of_views(access.rules(topology, today()), users))
    observed = frozenset(_of_views(cluster.acls(), users))
    cluster.remove_acls(observed - wanted)
    plan = publish.read_last(client).plan
    unready = _unready(topology, plan, subscriber)
    brought: BroughtIn | None = None
    if plan is not None and (proposed := unready.difference(declared)):
        brought = bring_in(settings, topology, plan, proposed)
        plan = brought.plan
        unready = _unready(topology, plan, subscriber)
    cluster.ensure_acls(acl for acl in wanted if acl.name.removeprefix(_VIEW_TOPICS) not in unready)
    if plan is not None:
        _deliver(client, topology, plan, subscriber, unready)
    if unready:
        raise _not_in_force(unready, {} if brought is None else brought.refused)
    return [] if brought is None else brought.notes


def _not_in_force(unready: set[str], reasons: Mapping[str, str]) -> PlanError:
    """Return the error of views, by what is known of each."""
    edited = ", ".join(sorted(unready - reasons.keys()))
    lines = [f"view {view}: {reason}" for view, reason in sorted(reasons.items())]
    if edited:
        lines.append(
            f"view {edited}: not in force as the topology has it; run `exchange apply`, which gives the "
            "access too"
        )
    return PlanError("\n".join(lines))


def _of_views(acls: Iterable[Acl], users: set[str]) -> Iterable[Acl]:
    for acl in acls:
        if acl.principal in users and acl.resource_type == "topic" and acl.name.startswith(_VIEW_TOPICS):
            yield acl


def _unready(topology: Topology, plan: PublishedPlan | None, subscriber: str) -> set[str]:
    """Return granted views that run otherwise than they are declared, and so than they were approved."""
    running = running_views(plan)
    granted = topology.granted_views(subscriber, today())
    return {view for view in granted if running.get(view) != topology.views[view]}


def _deliver(
    client: dict[str, Any], topology: Topology, plan: PublishedPlan, subscriber: str, unready: set[str]
) -> None:
    """Publish the plan anew when another set of views is to be delivered."""
    wanted = tuple(view for view in topology.delivered_views(subscriber, today()) if view not in unready)
    deliveries = tuple(
        one.model_copy(update={"views": wanted}) if one.subscriber == subscriber else one
        for one in plan.deliveries
    )
    if deliveries == plan.deliveries:
        return
    publish.publish_next(client, plan, deliveries=deliveries)
