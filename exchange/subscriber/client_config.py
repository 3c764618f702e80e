"""What a subscriber's own client needs to connect, in the formats that clients read.

The texts hold the subscriber's password, as a client's configuration must: keep what you store to yourself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal

from exchange.settings import Settings

Format = Literal["librdkafka", "java", "json"]
_SCRAM_LOGIN: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"


@dataclass(frozen=True)
class ClientConfig:
    """One subscriber's connection."""

    subscriber: str
    kafka: dict[str, Any]
    """librdkafka properties."""
    registry: str
    topics: tuple[str, ...] | None
    """Topics granted; None where no topology is known."""

    @property
    def group_prefix(self) -> str:
        """What every group.id of this subscriber begins with."""
        return f"{self.subscriber}."


def client_config(settings: Settings, subscriber: str, topics: tuple[str, ...] | None) -> ClientConfig:
    """Return a subscriber's connection: only committed records, from the beginning, in a group of its own.

    Raises: ConfigError when an address or the password is missing.
    """
    kafka = settings.kafka_client(subscriber) | {
        "group.id": f"{subscriber}.main",
        # Kafka's own default shows records of aborted transactions as well.
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }
    return ClientConfig(subscriber, kafka, settings.endpoints().registry, topics)


def render(config: ClientConfig, form: Format) -> str:
    """Return the text to store: librdkafka and java are properties files, json is one object."""
    if form == "json":
        return _json(config)
    properties = config.kafka if form == "librdkafka" else _java(config)
    notes = [
        f"Subscriber {config.subscriber}. Holds its password: keep this file to yourself (chmod 600).",
        f"Schema registry: {config.registry}",
        f'Every group.id must begin with "{config.group_prefix}"',
        "Topics granted: " + _topics_text(config.topics),
    ]
    if form == "librdkafka":
        notes.append(
            "librdkafka 2.6.1 or newer: older ones fail SCRAM against Kafka 4 (confluentinc/librdkafka#4895)"
        )
    lines = [f"# {note}" for note in notes] + [f"{name}={value}" for name, value in properties.items()]
    return "\n".join(lines) + "\n"


def _json(config: ClientConfig) -> str:
    document = {
        "subscriber": config.subscriber,
        "kafka": config.kafka,
        "registry": {"url": config.registry},
        "group_id_prefix": config.group_prefix,
        "topics": list(config.topics) if config.topics is not None else None,
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _java(config: ClientConfig) -> dict[str, Any]:
    """Return the properties as Java's client names them.

    Source: Apache Kafka, consumer configs; Confluent's Avro deserializer for schema.registry.url.
    """
    renamed = {"sasl.username", "sasl.password", "ssl.ca.location"}
    properties = {name: value for name, value in config.kafka.items() if name not in renamed}
    login = " ".join(f"{name}={_quoted(config.kafka[f'sasl.{name}'])}" for name in ("username", "password"))
    properties["sasl.jaas.config"] = f"{_SCRAM_LOGIN} required {login};".replace("\\", "\\\\")
    if "ssl.ca.location" in config.kafka:
        properties["ssl.truststore.type"] = "PEM"
        properties["ssl.truststore.location"] = config.kafka["ssl.ca.location"]
    return properties | {"schema.registry.url": config.registry}


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _topics_text(topics: tuple[str, ...] | None) -> str:
    if topics is None:
        return "unknown here, no topology file was found"
    return ", ".join(topics) or "none yet"
