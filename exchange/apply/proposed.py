"""Views that requests propose, brought into force by themselves: nothing else that was edited is applied.

1. the topic, empty or of this very view; 2. its schemas; 3. a plan that has it beside all that it had.

A topic that holds records of an earlier view of the name is not used: those may show more than was granted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # re-exported without a word

from exchange.apply import publish, schemas
from exchange.apply.ledger import Ledger
from exchange.apply.steps import Survey
from exchange.apply.topics import history_told, make_view_topics
from exchange.cluster import ADMIN, Cluster
from exchange.contract import Contract
from exchange.errors import ConfigError, ContractError, PartError
from exchange.plan import PLAN_TOPIC, PlannedResource, PlannedView, PublishedPlan, view_topic
from exchange.settings import Settings
from exchange.topology.model import Topology
from exchange.view import View, ViewSpec, compile_view

_TIMEOUT_S: Final = 30.0


@dataclass(slots=True)
class BroughtIn:
    """What came of it: the plan in force, notes for people, and view → why it is not in force."""

    plan: PublishedPlan
    notes: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Added:
    """One view, fit to be added to a resource that runs."""

    name: str
    spec: ViewSpec
    resource: PlannedResource
    view: View
    topic: str


def bring_in(
    settings: Settings, topology: Topology, plan: PublishedPlan, views: Collection[str]
) -> BroughtIn:
    """Add views to the plan in force, each by the contract that runs; what cannot be added is told.

    topology: that has the views.

    Raises: PartError when Kafka does not do what is asked, PlanError when another plan came in between.
    """
    cluster, client = Cluster(settings), settings.kafka_client(ADMIN)
    done = BroughtIn(plan)
    wanted = list(fit(topology, views, done))
    used = _with_records(cluster, [one.topic for one in wanted])
    if used:  # unless it is another process that brought the view in just now
        publish.expect_in_force(client, plan)
    done.refused |= {one.name: _told(one.topic) for one in wanted if one.topic in used}
    wanted = [one for one in wanted if one.topic not in used]
    if not wanted:
        return done
    ledger = Ledger(client)
    ledger.read()
    make_view_topics(cluster, ledger, {one.topic: one.resource.partitions for one in wanted})
    ids = _registered(settings, ledger, wanted, done)
    added = [one for one in wanted if one.name not in done.refused]
    if added:
        resources = tuple(_with_views(one, added, ids) for one in plan.resources)
        done.plan = publish.publish_next(client, plan, resources=resources)
        done.notes += _histories(plan, added)
    return done


def without_used_names(
    settings: Settings, desired: Topology, declared: Collection[str]
) -> tuple[Topology, list[str]]:
    """Return a topology without proposed views whose topics hold records of earlier ones, and their grants.

    declared: the views that no request proposes. The second part tells which, and what to do.

    Raises: PartError when Kafka does not answer.
    """
    proposed = {name: view for name, view in desired.views.items() if name not in declared}
    if not proposed:
        return desired, []
    cluster = Cluster(settings)
    running = _running(settings) if PLAN_TOPIC in cluster.topics() else {}
    topics = {_topic(name): name for name, view in proposed.items() if running.get(name) != view}
    used = {topics[topic]: _told(topic) for topic in sorted(_with_records(cluster, topics))}
    left = {name: view for name, view in desired.views.items() if name not in used}
    grants = tuple(grant for grant in desired.grants if grant.view not in used)
    bare = desired.model_copy(update={"views": {}, "grants": grants})
    return bare.with_views(left), [f"view {name}: {told}" for name, told in used.items()]


def running_views(plan: PublishedPlan | None) -> dict[str, ViewSpec]:
    """Return the views of a plan by their full names."""
    resources = plan.resources if plan is not None else ()
    return {f"{resource.name}.{view.name}": view.spec for resource in resources for view in resource.views}


def _running(settings: Settings) -> dict[str, ViewSpec]:
    return running_views(publish.read_last(settings.kafka_client(ADMIN)).plan)


def fit(topology: Topology, views: Iterable[str], done: BroughtIn) -> Iterator[Added]:
    """Yield what can be added to the plan; `done.refused` is told the rest. topology: that has the views."""
    resources = {one.name: one for one in done.plan.resources}
    running = running_views(done.plan)
    for name in sorted(views):
        spec = topology.views[name]
        resource = resources.get(spec.resource)
        if resource is None:
            done.refused[name] = f"resource {spec.resource} was never applied; {_BY_APPLY}"
        elif name in running:
            done.refused[name] = f"another view of this name runs; {_BY_APPLY}"
        else:
            try:
                contract = Contract.parse(resource.contract, f"contract of {spec.resource} that runs")
                view = compile_view(contract, spec, name.rpartition(".")[2])
            except (ConfigError, ContractError) as error:
                done.refused[name] = f"it does not fit the contract that runs ({error}); {_BY_APPLY}"
                continue
            yield Added(name, spec, resource, view, _topic(name))


_BY_APPLY: Final = "run `exchange apply`, which gives the access too"


def _with_records(cluster: Cluster, topics: Iterable[str]) -> set[str]:
    """Return those topics that exist and hold records."""
    there = cluster.topics()
    places = [TopicPartition(topic, n) for topic in topics for n in range(there.get(topic, 0))]
    if not places:
        return set()
    first = _offsets(cluster, places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    end = _offsets(cluster, places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    return {topic for topic, partition in end if end[topic, partition] > first[topic, partition]}


def _offsets(cluster: Cluster, places: list[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    asked = cluster.client.list_offsets(dict.fromkeys(places, spec), request_timeout=_TIMEOUT_S)
    try:
        return {(one.topic, one.partition): answer.result(_TIMEOUT_S).offset for one, answer in asked.items()}
    except (KafkaException, TimeoutError) as error:
        msg = (
            f"Kafka does not tell where topics of views begin and end ({type(error).__name__}); run it again"
        )
        raise PartError(msg) from None


def _told(topic: str) -> str:
    return (
        f"topic {topic} holds records of an earlier view of this name, which may show more than was granted. "
        f"`exchange apply --delete {topic}` deletes it where apply made it, and makes it anew; or propose "
        "the view under another name"
    )


def _registered(
    settings: Settings, ledger: Ledger, views: Iterable[Added], done: BroughtIn
) -> Mapping[str, int]:
    """Register the schemas of views and return the ids by subject; `done.refused` is told what cannot be."""
    registry = schemas.Schemas(settings, ledger)
    for one in views:
        seen = Survey()
        registry.survey(seen, schemas.of_views({one.topic: one.view}), registry.look(one.topic))
        if seen.problems:
            done.refused[one.name] = "; ".join(seen.problems)
            continue
        for stage in seen.stages:
            if stage.changes:
                stage.run()
    return registry.ids


def _with_views(resource: PlannedResource, added: Iterable[Added], ids: Mapping[str, int]) -> PlannedResource:
    new = [
        PlannedView(
            name=one.view.name,
            topic=one.topic,
            spec=one.spec,
            key_schema_id=ids[f"{one.topic}-key"],
            value_schema_id=ids[f"{one.topic}-value"],
        )
        for one in added
        if one.resource.name == resource.name
    ]
    views = sorted([*resource.views, *new], key=lambda view: view.name)
    return resource.model_copy(update={"views": tuple(views)})


def _histories(plan: PublishedPlan, added: Iterable[Added]) -> list[str]:
    """Return how each view gets the rows that are there, where a snapshot of its own can be had."""
    kinds = {system.name: system.kind for system in plan.systems}
    return [
        history_told(one.resource.system, one.resource.table, one.resource.name, one.view.name)
        for one in added
        if kinds[one.resource.system] == "postgres"
    ]


def _topic(view: str) -> str:
    resource, _, name = view.rpartition(".")
    return view_topic(resource, name)
