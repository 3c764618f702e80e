"""The topics of a topology as Kafka shall have them, and what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from exchange.apply.ledger import BY_CONNECTOR, INTENDED, Ledger, Made
from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.cluster import BUS_TOPICS, DAY_MS, Cluster, TopicSpec, check_partitions
from exchange.counting import counted
from exchange.errors import ConfigError
from exchange.plan import raw_topic, view_topic
from exchange.topology.model import Topology

_DATA_CONFIG: Final = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY_MS),
    "max.message.bytes": "1048576",
}
_QUARANTINE_CONFIG: Final = _DATA_CONFIG | {"retention.ms": str(90 * DAY_MS)}


def data_topics(topology: Topology) -> list[TopicSpec]:
    """Return the topics of all resources and views, as Kafka shall have them."""
    return [
        TopicSpec(
            topic,
            topology.resources[resource].partitions,
            _QUARANTINE_CONFIG if topic.startswith("quarantine.") else _DATA_CONFIG,
        )
        for topic, resource in sorted(topology.data_topics().items())
    ]


def make_view_topics(cluster: Cluster, ledger: Ledger, partitions: Mapping[str, int]) -> None:
    """Make topics of views, apart from all others, and write down that they were made here.

    partitions: topic → how many it has; ledger: was read.

    Raises: as `Cluster.ensure_topics`.
    """
    there = cluster.topics()
    ledger.write(Made("topic", name) for name in sorted(partitions.keys() - there.keys()))
    cluster.ensure_topics(TopicSpec(name, count, _DATA_CONFIG) for name, count in sorted(partitions.items()))
    open_ = [made.name for made in ledger.of("topic") if made.mark == INTENDED and made.name in partitions]
    ledger.mark("topic", cluster.topic_ids(open_))


class Topics:
    """Brings a topology's topics in line."""

    def __init__(self, cluster: Cluster, ledger: Ledger, topology: Topology) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._topology = topology
        self._specs = [*BUS_TOPICS, *data_topics(topology)]

    def settings(self, existing: Mapping[str, int]) -> dict[str, dict[str, str]]:
        """Return what Kafka says of those that exist. Raises: PartError when Kafka doesn't answer."""
        return self._cluster.topic_config(spec.name for spec in self._specs if spec.name in existing)

    def survey(
        self, seen: Survey, existing: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Look at every topic. existing: topic → partitions; configs: its settings."""
        try:
            check_partitions(self._specs, existing)
        except ConfigError as error:
            seen.problems.append(str(error))
        lines = tuple(_line(spec, configs.get(spec.name)) for spec in self._specs)
        missing = {spec.name for spec in self._specs} - existing.keys()
        seen.stages.append(Stage(lines, lambda: self._make(missing)))
        seen.notes += _histories(self._topology, missing, existing)

    def mark(self) -> None:
        """Write down the ids of those that were made here, where that is still to be done."""
        open_ = [made.name for made in self._ledger.of("topic") if made.mark == INTENDED]
        there = self._cluster.topics() if open_ else {}
        declared = {spec.name for spec in self._specs}
        ids = self._cluster.topic_ids(name for name in open_ if name in there and name in declared)
        self._ledger.mark("topic", ids)

    def _make(self, missing: set[str]) -> None:
        self._cluster.ensure_topics(BUS_TOPICS)
        new = sorted(missing - {spec.name for spec in BUS_TOPICS})
        self._ledger.write(Made("topic", name) for name in new)
        self._ledger.write(
            Made("schema", f"{name}-{part}", BY_CONNECTOR)
            for name in new
            if name.startswith("raw.")
            for part in ("key", "value")
        )
        self._cluster.ensure_topics(self._specs)
        self.mark()


def _line(spec: TopicSpec, config: Mapping[str, str] | None) -> Line:
    if config is None:
        return Line(Mark.CREATED, "topic", spec.name, counted(spec.partitions, "partition"))
    changes = [
        f"{key} {config.get(key)} → {value}" for key, value in spec.config.items() if config.get(key) != value
    ]
    return Line(Mark.CHANGED if changes else Mark.UNCHANGED, "topic", spec.name, ", ".join(changes))


def _histories(topology: Topology, missing: set[str], existing: Mapping[str, int]) -> Iterator[str]:
    """Yield how views that are added to running resources get the rows that are there already."""
    for name, resource in topology.resources.items():
        if topology.systems[resource.system].kind != "postgres":
            continue
        beginning = view_topic(name, "")
        for topic in sorted(missing):
            if topic.startswith(beginning) and raw_topic(resource.system, resource.table) in existing:
                yield history_told(resource.system, resource.table, name, topic.removeprefix(beginning))


def history_told(system: str, table: str, resource: str, view: str) -> str:
    """Return how a view that is added to a running resource of PostgreSQL gets the rows that are there."""
    return (
        f"view {resource}.{view} is new and shows what changes from now on; "
        f"`exchange snapshot start {system} --table {table} --view {view}` sends it the rows that are there"
    )
