"""A Kafka that a Debezium writes to: how it is reached, and what its topics must be like to be adopted.

`exchange apply` and the connector ask the same questions. Nothing is changed there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    ConfigResource,
    ResourceType,
)
from pydantic import SecretStr

from exchange.admin import admin_client
from exchange.errors import ConfigError, PartError, SourceError, TransientError
from exchange.librdkafka import AUTHENTICATION, explain

_T = TypeVar("_T")

ANSWER_S: Final = 15.0
_TURN_S: Final = 2.0
_WANTED: Final = (
    "wanted are lines like `bootstrap.servers=kafka:9093`, `security.protocol=SASL_SSL`, "
    "`sasl.mechanism=SCRAM-SHA-512`, `sasl.username=…`, `sasl.password=…` (librdkafka's names)"
)
_OURS: Final = frozenset({"group.id", "enable.auto.commit", "isolation.level", "auto.offset.reset"})


def client_properties(system: str, name: str, secret: SecretStr) -> dict[str, Any]:
    """Return the librdkafka properties that a secret holds, one `name=value` a line, # for a comment.

    Raises: ConfigError when a line is none, or the address is missing; without what stands there.
    """
    found: dict[str, Any] = {}
    for number, line in enumerate(secret.get_secret_value().splitlines(), 1):
        key, separator, value = (part.strip() for part in line.partition("="))
        if line.strip().startswith("#") or not line.strip():
            continue
        if not separator or key in _OURS:
            why = "sets what the bus sets itself" if separator else "is no name=value"
            msg = f"system {system}: secret {name}: line {number} {why}; {_WANTED}"
            raise ConfigError(msg)
        found[key] = value
    if "bootstrap.servers" not in found:
        msg = f"system {system}: secret {name} has no bootstrap.servers; {_WANTED}"
        raise ConfigError(msg)
    return found


class TheirKafka:
    """Asks a Kafka about topics. Errors are in the bus's words, and hold no property of the client."""

    def __init__(self, system: str, client: dict[str, Any]) -> None:
        """client: librdkafka properties of one who may read and describe the topics.

        Raises: ConfigError when librdkafka does not take them.
        """
        self.system = system
        self._login_refused: KafkaError | None = None
        self.properties = client | {"error_cb": self._note_error, "allow.auto.create.topics": False}
        admin = {name: value for name, value in self.properties.items() if name != "allow.auto.create.topics"}
        self._admin = self.made(admin_client, admin)

    def made(self, make: Callable[[dict[str, Any]], _T], properties: dict[str, Any]) -> _T:
        """Return a client of librdkafka.

        Raises: ConfigError when it does not take the properties; without their values.
        """
        try:
            return make(properties)
        except KafkaException as error:
            told = error.args[0].str()
        # Of an unknown name it quotes the name, of a wrong value the value.
        why = told if told.startswith("No such configuration property") else "a property's value is not taken"
        msg = f"system {self.system}: the properties of its Kafka client: {why}; {_WANTED}"
        raise ConfigError(msg)

    def cluster(self) -> str:
        """Return the id of the cluster."""
        return str(self.answer(self._metadata).cluster_id)

    def _metadata(self) -> Any:
        """Ask in short turns: a refused login is told meanwhile, and not worth the rest of the wait."""
        ends_at = time.monotonic() + ANSWER_S
        while True:
            try:
                return self._admin.list_topics(timeout=_TURN_S)
            except KafkaException:
                self._admin.poll(0)
                if self._login_refused is not None or time.monotonic() > ends_at:
                    raise

    def described(self, topics: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return id and number of partitions of each topic.

        Raises: SourceError when one is not there, or may not be read.
        """
        futures = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=ANSWER_S)
        found = {}
        for topic, future in futures.items():
            told = self._result(topic, future, "READ and DESCRIBE")
            found[topic] = str(told.topic_id), len(told.partitions)
        return found

    def refuse_compaction(self, topics: Collection[str]) -> None:
        """Refuse a topic that forgets a key's changes but the last: what it still told would not be all.

        Raises: SourceError when there is one, or it may not be asked.
        """
        wanted = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        for resource, future in self._admin.describe_configs(wanted, request_timeout=ANSWER_S).items():
            policy = self._result(resource.name, future, "DESCRIBE_CONFIGS")["cleanup.policy"].value
            if "compact" in policy:
                msg = (
                    f"source {self.system}: topic {resource.name} is compacted: Kafka drops changes that "
                    "were not read yet. Set its cleanup.policy to delete, with a retention longer than the "
                    "connector may ever be away"
                )
                raise SourceError(msg)

    def answer(self, ask: Callable[[], _T]) -> _T:
        """Return what Kafka answers. Raises: TransientError, PartError when it does not."""
        try:
            return ask()
        except KafkaException as error:
            refused = self.explained("its Kafka", error.args[0])
        raise refused

    def explained(self, what: str, error: KafkaError) -> Exception:
        """Return an error in our words; a refused login is told to the callback alone."""
        self._admin.poll(0)
        if self._login_refused is not None:
            return PartError(f"source {self.system}: its Kafka refuses user or password; mend the secret")
        return explain(f"source {self.system}: {what}", error)

    def _result(self, topic: str, future: Future[Any], rights: str) -> Any:
        try:
            return future.result(ANSWER_S + 5)
        except TimeoutError:
            msg = f"source {self.system}: Kafka gave no answer within {ANSWER_S:.0f} s"
            raise TransientError(msg) from None
        except KafkaException as error:
            refused = self._refused(topic, error.args[0], rights)
        raise refused

    def _refused(self, topic: str, error: KafkaError, rights: str) -> Exception:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return SourceError(
                f"source {self.system}: there is no topic {topic}; is it the name that Debezium writes to "
                "(<topic.prefix>.<schema>.<table>), and is it this Kafka?"
            )
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return SourceError(
                f"source {self.system}: topic {topic}: Kafka denies access; the user needs {rights} on it"
            )
        return self.explained(topic, error)

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._login_refused = error
