"""Is Kafka set up so that nothing leaks and nothing is lost by its settings. Only looks.

| check | asks |
| --- | --- |
| open_by_default | may a user read what no rule gives it (`allow.everyone.if.no.acl.found`, no authorizer) |
| plaintext_listener | is a listener without TLS reachable from other machines |
| auto_create_topics | would a mistyped topic come into being, without rules and settings |
| unclean_election | may a broker become leader that lacks committed records |
| few_copies | does one lost disk lose acknowledged records |
| certificate | has the certificate that is shown ended, or will it soon |

The first is found out by trying: the setting is the authorizer's own, and no broker tells it.
Source: Apache Kafka, broker configs; StandardAuthorizer.configure.
"""

from __future__ import annotations

import datetime as dt
import secrets
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    ConfigResource,
    ResourceType,
)

from exchange.admin import admin_client
from exchange.cluster import Cluster
from exchange.counting import counted
from exchange.doctor.finding import Finding, Level
from exchange.errors import PartError, TransientError
from exchange.settings import Settings, is_here
from exchange.tls import authority, handshake
from exchange.tls.files import RENEW_BEFORE_DAYS

Configs = Mapping[str, Mapping[str, str]]
"""Broker's id → name of a setting → its value; what brokers keep to themselves is left out."""
_MANY_BROKERS: Final = 3
"""From so many on each record is wanted on two disks before it counts as written."""
_TIMEOUT_S: Final = 30.0
_OURS: Final = ("raw.", "share.", "quarantine.", "_exchange.")
_LOSES: Final = "acknowledged changes would be lost with a broker, and nobody would be told"
_LEAKS: Final = "records of raw topics are in clear; who is not refused by name reads them"


def examine(settings: Settings, principals: Iterable[str]) -> Iterator[Finding]:
    """Yield what is wrong with a cluster. principals: those of the bus's users that have a password by now.

    Raises: PartError when Kafka does not answer; ConfigError when its certificate is not believed.
    """
    cluster = Cluster(settings)
    configs = broker_configs(cluster)
    yield from of_brokers(configs)
    yield from of_copies(cluster, configs, settings.kafka_min_insync_replicas)
    for name in principals:
        if is_open(settings.kafka_client(name)):
            yield open_by_default(name)
    yield from _certificates(settings)


def is_open(client: Mapping[str, Any]) -> bool:
    """Whether Kafka lets a user look at a topic that no rule gives it; client: its librdkafka properties.

    Raises: TransientError when Kafka does not answer that question.
    """
    asked = ConfigResource(ResourceType.TOPIC, f"_exchange-is-it-open-{secrets.token_hex(8)}")
    admin = admin_client(client)
    try:
        admin.describe_configs([asked], request_timeout=_TIMEOUT_S)[asked].result(timeout=_TIMEOUT_S + 5)
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return False
        if code != KafkaError.UNKNOWN_TOPIC_OR_PART:
            msg = f"Kafka: whether it denies by default: no answer ({error.args[0].name()})"
            raise TransientError(msg) from None
    except TimeoutError:
        msg = f"Kafka: whether it denies by default: no answer after {_TIMEOUT_S:.0f} s"
        raise TransientError(msg) from None
    return True


def open_by_default(principal: str) -> Finding:
    """Return that Kafka lets a user do what no rule gives it."""
    return Finding(
        "open_by_default",
        Level.ERROR,
        f"user {principal} may look at a topic for which it has no rule; wanted is that Kafka denies it",
        _LEAKS,
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer and "
        "allow.everyone.if.no.acl.found=false on every broker, no rule for User:* on topic *; then restart",
    )


def broker_configs(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return the settings of each broker.

    Raises: PartError when Kafka does not answer, or does not tell them to user admin.
    """
    try:
        brokers = cluster.client.list_topics(timeout=_TIMEOUT_S).brokers
        asked = [ConfigResource(ResourceType.BROKER, str(broker)) for broker in sorted(brokers)]
        answers = cluster.client.describe_configs(asked, request_timeout=_TIMEOUT_S)
        return {
            resource.name: {
                name: entry.value
                for name, entry in answer.result(timeout=_TIMEOUT_S + 5).items()
                if entry.value is not None
            }
            for resource, answer in answers.items()
        }
    except (KafkaException, TimeoutError) as error:
        why = error.args[0].name() if isinstance(error, KafkaException) else "no answer"
        msg = (
            f"Kafka: settings of its brokers: {why}; user admin must be a super user, or may DESCRIBE_CONFIGS"
        )
        raise PartError(msg) from None


def of_brokers(configs: Configs) -> Iterator[Finding]:
    """Yield what is wrong with the settings of single brokers."""
    for broker, config in configs.items():
        where = f"broker {broker}: "
        if config.get("auto.create.topics.enable") == "true":
            yield Finding(
                "auto_create_topics",
                Level.ERROR,
                f"{where}auto.create.topics.enable=true; wanted is false",
                "a mistyped or deleted topic would come into being without settings, and take records",
                "auto.create.topics.enable=false in its properties; then restart it",
            )
        if config.get("unclean.leader.election.enable") == "true":
            yield Finding(
                "unclean_election",
                Level.ERROR,
                f"{where}unclean.leader.election.enable=true; wanted is false",
                _LOSES,
                f"kafka-configs --alter --entity-type brokers --entity-name {broker} "
                "--add-config unclean.leader.election.enable=false",
            )
        if "authorizer.class.name" in config and not config["authorizer.class.name"]:
            yield Finding(
                "open_by_default",
                Level.ERROR,
                f"{where}authorizer.class.name is empty; wanted is Kafka's StandardAuthorizer or another one",
                _LEAKS,
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer; then restart",
            )
        yield from _listeners(where, config)


def _listeners(where: str, config: Mapping[str, str]) -> Iterator[Finding]:
    pairs = (pair.split(":") for pair in config.get("listener.security.protocol.map", "").split(","))
    protocols = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    for listener in filter(None, config.get("listeners", "").split(",")):
        name, _, address = listener.strip().partition("://")
        protocol = protocols.get(name, name)
        if protocol in ("PLAINTEXT", "SASL_PLAINTEXT") and not is_here(address):
            host = urlsplit(f"//{address}").hostname or "every address"
            yield Finding(
                "plaintext_listener",
                Level.ERROR,
                f"{where}listener {name} speaks {protocol} on {host}; wanted is SASL_SSL beyond this machine",
                "who is on the way reads the records",
                f"{name}:SASL_SSL in listener.security.protocol.map with a certificate (`exchange ca issue`)",
            )


def of_copies(cluster: Cluster, configs: Configs, wanted: int | None) -> Iterator[Finding]:
    """Yield what is kept on too few disks. wanted: copies that count as written; None: what fits."""
    least = wanted or (2 if len(configs) >= _MANY_BROKERS else 1)
    if least == 1:
        return
    need = {
        "min.insync.replicas": least,
        "transaction.state.log.min.isr": least,
        "default.replication.factor": least + 1,
        "offsets.topic.replication.factor": least + 1,
        "transaction.state.log.replication.factor": least + 1,
    }
    for broker, config in configs.items():
        for name, number in need.items():
            if int(config.get(name, number)) < number:
                seen = f"broker {broker}: {name}={config[name]}; wanted is {number}"
                yield Finding("few_copies", Level.ERROR, seen, _LOSES, f"{name}={number}; then restart it")
    yield from _topics(cluster, least)


def _topics(cluster: Cluster, least: int) -> Iterator[Finding]:
    found = cluster.client.list_topics(timeout=_TIMEOUT_S).topics
    ours = [name for name in sorted(found) if name.startswith(_OURS)]
    configs = cluster.topic_config(ours)
    for name in ours:
        copies = min((len(part.replicas) for part in found[name].partitions.values()), default=0)
        if copies < least + 1:
            seen = f"topic {name}: {counted(copies, 'replica')}; wanted are {least + 1}"
            yield Finding("few_copies", Level.ERROR, seen, _LOSES, "kafka-reassign-partitions adds replicas")
        if int(configs[name]["min.insync.replicas"]) < least:
            seen = (
                f"topic {name}: min.insync.replicas={configs[name]['min.insync.replicas']}; wanted is {least}"
            )
            mend = f"kafka-configs --alter --topic {name} --add-config min.insync.replicas={least}"
            yield Finding("few_copies", Level.ERROR, seen, _LOSES, mend)


def _certificates(settings: Settings) -> Iterator[Finding]:
    endpoints = settings.endpoints()
    if settings.kafka_protocol(endpoints) != "SASL_SSL":
        return
    context = handshake.client_context(settings.kafka_authority(endpoints))
    for server in endpoints.kafka.split(","):
        try:
            shown = handshake.shown_certificate(server.strip(), context)
        except OSError:
            continue  # another server of the list answers, or nothing would have been found at all
        pem = ssl.DER_cert_to_PEM_cert(shown).encode()
        left = authority.describe(pem, server).days_left(dt.datetime.now(dt.UTC))
        level = Level.WARNING if left < RENEW_BEFORE_DAYS else Level.NOTE
        seen = f"{server.strip()}: its certificate ends in {counted(left, 'day')}"
        why = "no client connects from then on" if level is Level.WARNING else ""
        mend = "`exchange ca renew` for the embedded Kafka, else issue a new one" if why else ""
        yield Finding("certificate", level, seen, why, mend)
