"""What reads a topic's keys and values, and the schema registry of those in Avro."""

from __future__ import annotations

from pydantic import SecretStr

from connectors.sources.debezium.messages import AvroMessages, JsonMessages, Messages
from exchange.errors import ConfigError
from exchange.plan import PlannedSystem
from exchange.registry import Registry, for_writing
from exchange.settings import Secrets, Settings


def readers(settings: Settings, system: PlannedSystem) -> tuple[Messages, Messages]:
    """Return readers of one topic's keys and values.

    Raises: ConfigError when a secret is missing or malformed.
    """
    if system.converter == "json":
        return JsonMessages(), JsonMessages()
    registry = _registry(settings.secrets, system) if system.registry else for_writing(settings)
    return AvroMessages(registry), AvroMessages(registry)


def _registry(secrets: Secrets, system: PlannedSystem) -> Registry:
    if not system.registry_env:
        return Registry(system.registry)
    user, separator, password = secrets.get(system.registry_env).get_secret_value().partition(":")
    if not separator:
        msg = f"system {system.name}: secret {system.registry_env} is not <user>:<password>"
        raise ConfigError(msg)
    return Registry(system.registry, SecretStr(password), (user, system.registry_env))
