"""What holds for systems that Debezium captures: by topics that it writes, or by its engine."""

from __future__ import annotations

from collections.abc import Iterator

from exchange.topology.model import DebeziumSystem, Topology
from exchange.topology.push import Told

_OURS = frozenset(
    {
        "connector.class",
        "decimal.handling.mode",
        "name",
        "provide.transaction.metadata",
        "skipped.operations",
        "slot.drop.on.stop",
        "snapshot.mode",
        "table.exclude.list",
        "table.include.list",
        "tasks.max",
        "tombstones.on.delete",
        "topic.prefix",
        "unavailable.value.placeholder",
    }
)
_OURS_BEGIN = (
    "converter", "errors.", "incremental.", "internal.", "key.", "offset.", "predicates", "record.",
    "signal.", "topic.naming", "transaction.", "transforms", "value.",
)  # fmt: skip
_SECRET_WORDS = ("password", "secret", "token", "passphrase")
_BUS_TOPICS = ("raw.", "share.", "quarantine.", "_exchange.", "_schemas")


def debezium_problems(topology: Topology) -> Iterator[Told]:
    """Yield everything wrong with systems of kind debezium, their resources and the views of these."""
    for name, system in topology.systems.items():
        if isinstance(system, DebeziumSystem):
            yield from _registry(name, system)
            yield from _engine(name, system)
    yield from _topics(topology)
    for name, view in topology.views.items():
        resource = topology.resources.get(view.resource)
        owner = topology.systems.get(resource.system) if resource is not None else None
        if isinstance(owner, DebeziumSystem) and owner.before == "none" and view.rows:
            told = (
                f"a view of some rows needs the whole row before each change; where the source of "
                f"'{view.resource}' tells it, say `before: complete` of its system"
            )
            yield Told(("views", name, "rows"), told, key=True)


def _registry(name: str, system: DebeziumSystem) -> Iterator[Told]:
    if system.registry is not None and system.converter != "avro":
        told = "only converter 'avro' has a schema registry; take it out, or set converter"
        yield Told(("systems", name, "registry"), told, key=True)
    if system.registry_env is not None and system.registry is None:
        told = "of which registry? Give its URL as 'registry'; the bus's own needs none"
        yield Told(("systems", name, "registry_env"), told, key=True)


def _engine(name: str, system: DebeziumSystem) -> Iterator[Told]:
    engine = system.engine
    if engine is None:
        return
    for key, given in (("connection_env", system.connection_env), ("registry", system.registry)):
        if given is not None:
            told = "the engine reads no topics; take it out"
            yield Told(("systems", name, key), told, key=True)
    for section, names in (("properties", engine.properties), ("secrets", engine.secrets)):
        for key in names:
            steps = ("systems", name, "engine", section, key)
            if key in _OURS or key.startswith(_OURS_BEGIN):
                told = f"'{key}' is set by the bus: its guarantees hang on it; take it out"
                yield Told(steps, told, key=True)
            elif section == "properties" and any(word in key for word in _SECRET_WORDS):
                told = f"'{key}' is a secret; name the variable that holds it under 'secrets'"
                yield Told(steps, told, key=True)
            elif section == "properties" and key in engine.secrets:
                yield Told(steps, f"'{key}' stands under 'secrets' too; keep one", key=True)


def _topics(topology: Topology) -> Iterator[Told]:
    first: dict[tuple[str | None, str], str] = {}
    for name, resource in topology.resources.items():
        system = topology.systems.get(resource.system)
        steps = ("resources", name, "topic")
        if isinstance(system, DebeziumSystem) and system.engine is not None:
            if resource.topic is not None:
                told = f"'{resource.system}' runs Debezium's engine, which writes no topic; remove it"
                yield Told(steps, told, key=True)
            continue
        if isinstance(system, DebeziumSystem) and resource.topic is None:
            told = f"'{resource.system}' is a system of kind debezium; say which topic holds the changes"
            yield Told(steps[:2], f"'topic' is missing: {told}", key=True)
        elif system is not None and not isinstance(system, DebeziumSystem) and resource.topic is not None:
            yield Told(steps, f"'{resource.system}' is a system of kind {system.kind}; remove it", key=True)
        if not isinstance(system, DebeziumSystem) or resource.topic is None:
            continue
        if resource.topic.startswith(_BUS_TOPICS):
            yield Told(steps, f"'{resource.topic}' is a topic of the bus itself; Debezium's is wanted")
        other = first.setdefault((system.connection_env, resource.topic), name)
        if other != name:
            yield Told(steps, f"the topic is that of '{other}' too; each resource needs its own")
