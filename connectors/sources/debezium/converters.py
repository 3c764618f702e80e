"""What reads the topics' keys and values, and the schema registry of those in Avro."""

from __future__ import annotations

from pydantic import SecretStr

from connectors.sources.debezium.messages import AvroMessages, JsonMessages, Messages
from exchange.errors import ConfigError
from exchange.plan import PlannedSystem
from exchange.registry import Registry, for_writing
from exchange.settings import Secrets, Settings


class Converters:
    """Makes readers for one system; those in Avro share one registry."""

    def __init__(self, settings: Settings, system: PlannedSystem) -> None:
        """Prepare. Raises: ConfigError when a secret is missing or malformed."""
        self._registry: Registry | None = None
        if system.converter == "avro":
            given = bool(system.registry)
            self._registry = _registry(settings.secrets, system) if given else for_writing(settings)

    def pair(self) -> tuple[Messages, Messages]:
        """Return readers of one topic's keys and values."""
        if self._registry is None:
            return JsonMessages(), JsonMessages()
        return AvroMessages(self._registry), AvroMessages(self._registry)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._registry is not None:
            self._registry.close()


def _registry(secrets: Secrets, system: PlannedSystem) -> Registry:
    if not system.registry_env:
        return Registry(system.registry)
    user, separator, password = secrets.get(system.registry_env).get_secret_value().partition(":")
    if not separator:
        msg = f"system {system.name}: secret {system.registry_env} is not <user>:<password>"
        raise ConfigError(msg)
    return Registry(system.registry, SecretStr(password), (user, system.registry_env))
