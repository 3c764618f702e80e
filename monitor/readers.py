"""Who may read which view, as Kafka's own access rules say it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from exchange import log
from exchange.apply.access import MONITOR, PULL, WORKER
from monitor import kafka

_EVERY_S: Final = 15.0
_OWN: Final = frozenset({MONITOR, PULL, WORKER})
_DELIVERERS: Final = "deliver-"

_log = log.get(__name__)


class Rule(NamedTuple):
    """One principal may read topics of a name, or of names that begin so."""

    principal: str
    name: str
    prefixed: bool


class Readers:
    """Asks Kafka now and then; None is known until it has answered, or where it refuses to tell."""

    def __init__(self) -> None:
        self._rules: frozenset[Rule] | None = None
        self._asked_at = -_EVERY_S
        self._refused = False

    def look(self, admin: AdminClient) -> None:
        """Ask again where it is time. Raises: KafkaException while Kafka does not answer."""
        now = time.monotonic()
        if now - self._asked_at < _EVERY_S:
            return
        try:
            found = admin.describe_acls(_read_rules(), request_timeout=kafka.TIMEOUT_S).result()
        except KafkaException as error:
            if not kafka.is_denied(kafka.cause_of(error)):
                raise
            if not self._refused:
                _log.warning("readers_unknown", remedy="run `exchange apply`, which lets the monitor ask")
            self._refused, self._rules = True, None
        else:
            self._rules = rules_of(found)
        self._asked_at = now

    def of(self, topic: str) -> tuple[str, ...] | None:
        """Return the subscribers who may read a view's topic, sorted; None where that is not known."""
        if self._rules is None:
            return None
        return tuple(sorted({rule.principal for rule in self._rules if _is_about(rule, topic)}))

    def by_topic(self, topics: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the same for many topics; none where it is not known."""
        if self._rules is None:
            return {}
        literal: dict[str, set[str]] = {}
        wide = [rule for rule in self._rules if rule.prefixed or rule.name == "*"]
        for rule in self._rules:
            literal.setdefault(rule.name, set()).add(rule.principal)
        return {
            topic: tuple(
                sorted(literal.get(topic, set()) | {one.principal for one in wide if _is_about(one, topic)})
            )
            for topic in topics
        }


def rules_of(found: Iterable[Any]) -> frozenset[Rule]:
    """Return the rules by which subscribers may read views; the bus's own users are left out."""
    return frozenset(
        Rule(principal, rule.name, rule.resource_pattern_type == ResourcePatternType.PREFIXED)
        for rule in found
        if (principal := rule.principal.removeprefix("User:")) not in _OWN
        and not principal.startswith(_DELIVERERS)
        and rule.permission_type == AclPermissionType.ALLOW
        and rule.operation in (AclOperation.READ, AclOperation.ALL)
    )


def _is_about(rule: Rule, topic: str) -> bool:
    if rule.prefixed:
        return topic.startswith(rule.name)
    return rule.name in ("*", topic)


def _read_rules() -> AclBindingFilter:
    anything: Any = None  # the stubs ask for str, the documentation for None
    return AclBindingFilter(
        ResourceType.TOPIC,
        anything,
        ResourcePatternType.ANY,
        anything,
        anything,
        AclOperation.ANY,
        AclPermissionType.ALLOW,
    )
