"""The source side of `exchange apply` for Debezium: it only looks, nothing is made there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exchange.cluster import ADMIN
from exchange.debezium import TheirKafka, client_properties
from exchange.errors import ConfigError
from exchange.settings import Settings
from exchange.topology.model import DebeziumSystem, Topology


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of one system. connection_env: empty where its topics are in the bus's own Kafka.

    engine_secrets: names of the secrets of an engine, which reads no topics.
    """

    system: str
    connection_env: str
    registry_env: str
    topics: tuple[str, ...]
    engine_secrets: tuple[str, ...] = ()


def wanted(topology: Topology) -> Iterator[Wanted]:
    """Yield what a valid topology reads by Debezium, by system."""
    for name, system in sorted(topology.systems.items()):
        if isinstance(system, DebeziumSystem) and system.engine is not None:
            yield Wanted(name, "", "", (), tuple(sorted(set(system.engine.secrets.values()))))
            continue
        topics = tuple(sorted(one.topic or "" for one in topology.resources_of(name).values()))
        if isinstance(system, DebeziumSystem) and topics:
            yield Wanted(name, system.connection_env or "", system.registry_env or "", topics)


def check(wish: Wanted, settings: Settings) -> None:
    """See that topics can be adopted as asked.

    Raises:
        ConfigError: a secret is missing or malformed.
        SourceError: a topic is not there, may not be read, or does not keep every change.
        TransientError: Kafka cannot be reached now.
    """
    for name in wish.engine_secrets:
        if settings.secrets.find(name) is None:
            msg = f"system {wish.system}: set the environment variable {name}: a secret of Debezium's engine"
            raise ConfigError(msg)
    if not wish.topics:
        return
    if wish.registry_env and settings.secrets.find(wish.registry_env) is None:
        msg = (
            f"system {wish.system}: no login for its schema registry: set the environment variable "
            f"{wish.registry_env} to <user>:<password>"
        )
        raise ConfigError(msg)
    kafka = TheirKafka(wish.system, _client(wish, settings))
    kafka.described(wish.topics)
    kafka.refuse_compaction(wish.topics)


def _client(wish: Wanted, settings: Settings) -> dict[str, Any]:
    if not wish.connection_env:
        return settings.kafka_client(ADMIN)
    secret = settings.secrets.find(wish.connection_env)
    if secret is None:
        msg = (
            f"system {wish.system}: no properties of its Kafka client: set the environment variable "
            f"{wish.connection_env} to lines of name=value, the first like bootstrap.servers=kafka:9093"
        )
        raise ConfigError(msg)
    return client_properties(wish.system, wish.connection_env, secret)
