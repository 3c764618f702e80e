"""What Debezium's engine is set to: what the bus's guarantees hang on, and what the topology adds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import SecretStr

from connectors.sources.debezium.slot import POSTGRES
from exchange.plan import PlannedEngine, publication_name, slot_name

_OURS: Final = {
    "snapshot.mode": "initial",
    "provide.transaction.metadata": "true",
    "tombstones.on.delete": "false",
    "skipped.operations": "none",
    "errors.max.retries": "0",
    "offset.flush.interval.ms": "0",
    "converter.schemas.enable": "true",
}
_DEFAULTS: Final = {
    "heartbeat.interval.ms": "1000",
    "poll.interval.ms": "50",
    "interval.handling.mode": "string",
}


def engine_properties(
    system: str, engine: PlannedEngine, secrets: Mapping[str, SecretStr], tables: Sequence[str]
) -> dict[str, str]:
    """Return all properties; secrets: value by property; tables: <schema>.<table>."""
    defaults = dict(_DEFAULTS)
    if engine.connector_class == POSTGRES:
        defaults |= {
            "plugin.name": "pgoutput",
            "slot.name": slot_name(system),
            "publication.name": publication_name(system),
            "publication.autocreate.mode": "filtered",
            "hstore.handling.mode": "json",
        }
    return (
        defaults
        | engine.properties
        | {name: value.get_secret_value() for name, value in secrets.items()}
        | _OURS
        | {
            "name": system,
            "topic.prefix": system,
            "connector.class": engine.connector_class,
            "table.include.list": ",".join(map(re.escape, tables)),
        }
    )


def destinations(system: str, tables: Sequence[str]) -> dict[str, str]:
    """Return the tables by the topics that Debezium would write them to, without a database's name in it."""
    return {_topic(f"{system}.{table}"): table for table in tables}


def _topic(name: str) -> str:
    """Source: io.debezium.schema.AbstractTopicNamingStrategy: what Kafka does not take becomes `_`."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name, flags=re.ASCII)
