"""Kafka's objects as the bus wants them: topics, SCRAM users, access rules; made or mended where needed.

Every function may be called again with the same wish and then changes nothing. The principal is `admin`,
which only `exchange up` and `exchange apply` use.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from exchange.admin import admin_client
from exchange.counting import counted
from exchange.errors import ConfigError, PartError
from exchange.plan import (
    ACCOUNTS_TOPIC,
    CORRECTIONS_TOPIC,
    DECISIONS_TOPIC,
    MADE_TOPIC,
    PARKED_TOPIC,
    PAUSES_TOPIC,
    PLAN_BYTES,
    PLAN_TOPIC,
    POSITIONS_TOPIC,
    RECEIPTS_TOPIC,
    RESNAPSHOTS_TOPIC,
    REVOCATIONS_TOPIC,
    SNAPSHOTS_TOPIC,
)
from exchange.settings import Settings, kafka_secret

ADMIN: Final = "admin"
SCHEMAS_TOPIC: Final = "_schemas"
BROKER_DEFAULT: Final = -1
"""Replication factor: what the brokers' default.replication.factor says (1 on the embedded node)."""
DAY_MS: Final = 24 * 3600 * 1000
_TIMEOUT_S: Final = 30.0
_SETTLE_POLL_S: Final = 0.02
_SCRAM_ITERATIONS: Final = (4097, 8191)
"""Drawn between these, above Kafka's least (4096): a credential set by others hardly has the same number."""
# The access list knows the cluster by the resource type that librdkafka calls BROKER.
_RESOURCE_TYPES: Final = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
_READS: Final = (AclOperation.READ, AclOperation.ALL)
_B = TypeVar("_B", bound=AclBinding)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as wanted; settings it doesn't name are left as they are."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One ALLOW rule for any host, in lower-case words.

    resource_type: topic, group, transactional_id or cluster; pattern: literal or prefixed;
    operation: read, write, create, describe, idempotent_write, …
    """

    principal: str
    resource_type: str
    name: str
    pattern: str
    operation: str


_COMPACTED: Final = {"cleanup.policy": "compact"}
_FOR_GOOD: Final = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
BUS_TOPICS: Final = (
    TopicSpec(PLAN_TOPIC, 1, _COMPACTED | {"max.message.bytes": str(PLAN_BYTES)}),
    TopicSpec(POSITIONS_TOPIC, 1, _COMPACTED),
    TopicSpec(PARKED_TOPIC, 1, _COMPACTED),
    TopicSpec(SNAPSHOTS_TOPIC, 1, _COMPACTED),
    TopicSpec(PAUSES_TOPIC, 1, _COMPACTED),
    TopicSpec(RESNAPSHOTS_TOPIC, 1, _COMPACTED),
    TopicSpec(MADE_TOPIC, 1, _COMPACTED),
    TopicSpec(REVOCATIONS_TOPIC, 1, _COMPACTED),
    TopicSpec(RECEIPTS_TOPIC, 1, {"cleanup.policy": "delete", "retention.ms": str(2 * DAY_MS)}),
    TopicSpec(ACCOUNTS_TOPIC, 1, {"cleanup.policy": "delete", "retention.ms": str(90 * DAY_MS)}),
    TopicSpec(DECISIONS_TOPIC, 1, _FOR_GOOD),
    TopicSpec(CORRECTIONS_TOPIC, 1, _COMPACTED),
    TopicSpec(SCHEMAS_TOPIC, 1, _COMPACTED),
)
"""The bus's own topics, which are there before any topology is applied."""


class Cluster:
    """A Kafka cluster, seen by its administrator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def client(self) -> AdminClient:
        """The admin connection; made at first use. Connection errors are raised by calls, not logged."""
        return admin_client(self._settings.kafka_client(ADMIN))

    def topics(self) -> dict[str, int]:
        """Return all topics with their partition counts.

        Raises: PartError when Kafka doesn't answer.
        """
        try:
            found = self.client.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as error:
            what = "list of topics"
            raise _part_error(what, error) from None
        return {name: len(topic.partitions) for name, topic in found.items()}

    def topic_config(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings in force of each topic, defaults included.

        Raises: PartError naming the topic whose settings cannot be read.
        """
        wanted = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        if not wanted:
            return {}
        answers = self.client.describe_configs(wanted, request_timeout=_TIMEOUT_S)
        return {
            resource.name: {
                name: entry.value
                for name, entry in _result(f"topic {resource.name}", answer).items()
                if entry.value is not None
            }
            for resource, answer in answers.items()
        }

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Return Kafka's id of each topic; one that was deleted and made anew has another.

        Raises: PartError naming the topic that Kafka does not know.
        """
        wanted = list(topics)
        if not wanted:
            return {}
        answers = self.client.describe_topics(TopicCollection(wanted), request_timeout=_TIMEOUT_S)
        return {name: str(_result(f"topic {name}", answer).topic_id) for name, answer in answers.items()}

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with all its records.

        Raises: PartError when Kafka refuses.
        """
        answers = self.client.delete_topics([topic], request_timeout=_TIMEOUT_S)
        _result(f"topic {topic}", answers[topic])
        _settle(f"removal of topic {topic}", lambda: topic not in self.topics())

    def ensure_topics(self, wanted: Iterable[TopicSpec]) -> list[str]:
        """Create what is missing, set what differs; return the names of the topics touched.

        Raises:
            ConfigError: a topic exists with another number of partitions. Kafka could add some, but then the
                same key would be found in two of them and its order be lost.
            PartError: Kafka refuses a topic or doesn't answer.
        """
        specs = {spec.name: spec for spec in wanted}
        existing = self.topics()
        check_partitions(specs.values(), existing)
        missing = [spec for spec in specs.values() if spec.name not in existing]
        self._create(missing)
        there = [spec for spec in specs.values() if spec.name in existing]
        return [spec.name for spec in missing] + self._mend(there)

    def scram_users(self) -> frozenset[str]:
        """Return the principals that have a SCRAM-SHA-512 credential.

        Raises: PartError when Kafka doesn't answer.
        """
        return frozenset(self.scram_iterations())

    def scram_iterations(self) -> dict[str, int]:
        """Return the principals that have a SCRAM-SHA-512 credential, each with its number of iterations.

        Raises: PartError when Kafka doesn't answer.
        """
        answer: Any = self.client.describe_user_scram_credentials(request_timeout=_TIMEOUT_S)
        users = _result("list of SCRAM users", answer)
        return {
            name: info.iterations
            for name, user in users.items()
            for info in user.scram_credential_infos
            if info.mechanism == ScramMechanism.SCRAM_SHA_512
        }

    def ensure_scram_user(self, principal: str) -> bool:
        """Make one user as `ensure_scram_users` does; return whether Kafka was changed."""
        return bool(self.ensure_scram_users([principal]))

    def ensure_scram_users(self, principals: Iterable[str]) -> list[str]:
        """Make users with the passwords of their secrets; return those that Kafka was changed for.

        A new password is set as well when the secret was missing here and had to be made afresh.

        Raises: PartError when Kafka refuses.
        """
        before = self.scram_users()
        known = self._settings.secrets
        missing = [
            user for user in principals if user not in before or known.find(kafka_secret(user)) is None
        ]
        changes = [self._credential(user) for user in missing]
        if changes:
            answers = self.client.alter_user_scram_credentials(changes, request_timeout=_TIMEOUT_S)
            for user, answer in answers.items():
                _result(f"SCRAM user {user}", answer)
            _settle("new SCRAM users", lambda: self.scram_users() >= set(missing))
        return missing

    def _credential(self, principal: str) -> UserScramCredentialAlteration:
        password = self._settings.secrets.ensure(kafka_secret(principal)).get_secret_value()
        least, most = _SCRAM_ITERATIONS
        iterations = least + secrets.randbelow(most - least + 1)
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, iterations)
        return UserScramCredentialUpsertion(principal, info, password.encode(), secrets.token_bytes(24))

    def remove_scram_user(self, principal: str) -> None:
        """Take away a user's SCRAM-SHA-512 credential, so that it can no longer log in.

        Raises: PartError when Kafka refuses.
        """
        change = UserScramCredentialDeletion(principal, ScramMechanism.SCRAM_SHA_512)
        answers = self.client.alter_user_scram_credentials([change], request_timeout=_TIMEOUT_S)
        for user, answer in answers.items():
            _result(f"SCRAM user {user}", answer)
        _settle(f"removal of SCRAM user {principal}", lambda: principal not in self.scram_users())

    def acls(self) -> frozenset[Acl]:
        """Return all ALLOW rules for any host.

        Raises: PartError when Kafka doesn't answer.
        """
        anything: Any = None  # the stubs ask for str, the documentation for None
        everything = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            anything,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        found = _result("access rules", self.client.describe_acls(everything, request_timeout=_TIMEOUT_S))
        names = {kind: name for name, kind in _RESOURCE_TYPES.items()}
        return frozenset(
            Acl(
                principal=rule.principal.removeprefix("User:"),
                resource_type=names[rule.restype],
                name=rule.name,
                pattern=rule.resource_pattern_type.name.lower(),
                operation=rule.operation.name.lower(),
            )
            for rule in found
            if rule.permission_type == AclPermissionType.ALLOW and rule.host == "*" and rule.restype in names
        )

    def ensure_acls(self, wanted: Iterable[Acl]) -> list[Acl]:
        """Add the rules that are missing and return them, in order.

        Raises: PartError naming the rule that Kafka refuses.
        """
        missing = sorted(set(wanted) - self.acls())
        if missing:
            answers = self.client.create_acls(
                [_binding(acl, AclBinding) for acl in missing], request_timeout=_TIMEOUT_S
            )
            for rule, answer in answers.items():
                _result(f"access rule for {rule.principal} on {rule.name}", answer)
            _settle("new access rules", lambda: self.acls() >= set(missing))
        return missing

    def remove_acls(self, unwanted: Iterable[Acl]) -> list[Acl]:
        """Take away the rules that exist among these and return them, in order.

        Raises: PartError naming the rule that Kafka doesn't take away.
        """
        present = sorted(set(unwanted) & self.acls())
        if present:
            filters = [_binding(acl, AclBindingFilter) for acl in present]
            answers = self.client.delete_acls(filters, request_timeout=_TIMEOUT_S)
            for rule, answer in answers.items():
                _result(f"access rule for {rule.principal} on {rule.name}", answer)
            _settle("removal of access rules", lambda: self.acls().isdisjoint(present))
        return present

    def readers_of(self, topic: str) -> frozenset[str]:
        """Return who may read a topic by any rule, also a prefixed one or one for a single host; `*`: all.

        Raises: PartError when Kafka doesn't answer.
        """
        anybody: Any = None
        rules = _topic_rules(topic, anybody, AclOperation.ANY)
        found = _result(f"readers of {topic}", self.client.describe_acls(rules, request_timeout=_TIMEOUT_S))
        return frozenset(rule.principal.removeprefix("User:") for rule in found if rule.operation in _READS)

    def close_topic(self, topic: str, principals: Iterable[str]) -> frozenset[str]:
        """Take away every rule by which any of these may read a topic; return those who could.

        A prefixed rule goes as a whole, and with it what else it opened.

        Raises: PartError when Kafka refuses.
        """
        names = frozenset(principals)
        rules = [_topic_rules(topic, f"User:{name}", operation) for name in names for operation in _READS]
        answers = self.client.delete_acls(rules, request_timeout=_TIMEOUT_S)
        removed = [rule for answer in answers.values() for rule in _result(f"readers of {topic}", answer)]
        _settle(f"removal of readers of {topic}", lambda: self.readers_of(topic).isdisjoint(names))
        return frozenset(rule.principal.removeprefix("User:") for rule in removed)

    def _create(self, missing: list[TopicSpec]) -> None:
        if not missing:
            return
        new = [
            NewTopic(spec.name, spec.partitions, BROKER_DEFAULT, config=dict(spec.config)) for spec in missing
        ]
        answers = self.client.create_topics(new, operation_timeout=_TIMEOUT_S, request_timeout=_TIMEOUT_S)
        for name, answer in answers.items():
            _result(f"topic {name}", answer)
        _settle("new topics", lambda: self.topics().keys() >= {spec.name for spec in missing})

    def _mend(self, specs: list[TopicSpec]) -> list[str]:
        """Set the settings in which topics differ; return the names of those topics."""
        wrong = self._differences(specs)
        changes = [
            ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
            for topic, entries in wrong.items()
        ]
        if changes:
            answers = self.client.incremental_alter_configs(changes, request_timeout=_TIMEOUT_S)
            for resource, answer in answers.items():
                _result(f"settings of topic {resource.name}", answer)
            _settle("settings of topics", lambda: not self._differences(specs))
        return list(wrong)

    def _differences(self, specs: list[TopicSpec]) -> dict[str, list[ConfigEntry]]:
        """Return, for each topic that isn't as wanted, the settings to make."""
        now = self.topic_config(spec.name for spec in specs)
        found = {
            spec.name: [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in spec.config.items()
                if now[spec.name].get(name) != value
            ]
            for spec in specs
        }
        return {topic: entries for topic, entries in found.items() if entries}


def check_partitions(specs: Iterable[TopicSpec], existing: Mapping[str, int]) -> None:
    """Raise ConfigError when a topic exists with another number of partitions than asked for."""
    problems = [
        f"topic {spec.name} has {counted(existing[spec.name], 'partition')}, "
        f"{spec.partitions} {'is' if spec.partitions == 1 else 'are'} asked for"
        for spec in specs
        if existing.get(spec.name, spec.partitions) != spec.partitions
    ]
    if problems:
        msg = (
            "; ".join(problems) + ". The number of partitions is fixed for a topic's life, because a change "
            "would break the order of a key's records; put the old number back, or use a new topic"
        )
        raise ConfigError(msg)


def _binding(acl: Acl, kind: Callable[..., _B]) -> _B:
    return kind(
        _RESOURCE_TYPES[acl.resource_type],
        acl.name,
        ResourcePatternType[acl.pattern.upper()],
        f"User:{acl.principal}",
        "*",
        AclOperation[acl.operation.upper()],
        AclPermissionType.ALLOW,
    )


def _topic_rules(topic: str, principal: str, operation: AclOperation) -> AclBindingFilter:
    any_host: Any = None
    return AclBindingFilter(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.MATCH,
        principal,
        any_host,
        operation,
        AclPermissionType.ALLOW,
    )


def _result(name: str, answer: Future[Any]) -> Any:
    """Return a future's result; its error names the object it is about."""
    try:
        return answer.result(timeout=_TIMEOUT_S + 5)
    except KafkaException as error:
        raise _part_error(name, error) from None
    except TimeoutError:
        msg = f"Kafka: {name}: no answer after {_TIMEOUT_S:.0f} s"
        raise PartError(msg) from None


def _settle(name: str, visible: Callable[[], bool]) -> None:
    """Return when the brokers show a change that the controller has accepted: they follow it a moment later.

    Raises: PartError when they don't in time.
    """
    deadline = time.monotonic() + _TIMEOUT_S
    while not visible():
        if time.monotonic() > deadline:
            msg = f"Kafka: {name}: accepted, but not in force after {_TIMEOUT_S:.0f} s"
            raise PartError(msg)
        time.sleep(_SETTLE_POLL_S)


def _part_error(name: str, error: KafkaException) -> PartError:
    problem = error.args[0]
    return PartError(f"Kafka: {name}: {problem.str()} ({problem.name()})")
