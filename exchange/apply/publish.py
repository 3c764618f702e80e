"""Publishing a plan: the writing end of `_exchange.plan` (the reading end is exchange/plan_topic.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PartError, PlanError
from exchange.librdkafka import TIMED_OUT, write
from exchange.plan import PLAN_BYTES, PLAN_TOPIC, PublishedPlan
from exchange.plan_topic import PLAN_KEY

_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class LastPlan:
    """The plan in force: its version (0: none yet), and itself unless another release wrote it."""

    version: int
    plan: PublishedPlan | None


def read_last(client: dict[str, Any]) -> LastPlan:
    """Return the plan in force.

    Raises: PlanError when the record isn't a plan; TransientError when Kafka is away.
    """
    topic = CompactedTopic(client, PLAN_TOPIC)
    try:
        document = topic.read().get(PLAN_KEY)
    finally:
        topic.close()
    if document is None:
        return LastPlan(0, None)
    try:
        plan = PublishedPlan.model_validate_json(document)
    except ValidationError:
        return LastPlan(_version_alone(document), None)
    return LastPlan(plan.version, plan)


def publish_next(client: dict[str, Any], before: PublishedPlan, **changed: Any) -> PublishedPlan:
    """Write the next plan, which differs in some fields from the one that was read; return it.

    Raises: PlanError when another one is in force by now; else as `publish`.
    """
    expect_in_force(client, before)
    after = before.model_copy(update={"version": before.version + 1, **changed})
    publish(client, after)
    return after


def expect_in_force(client: dict[str, Any], read: PublishedPlan) -> None:
    """Raise PlanError unless the plan that was read is still the last one."""
    if read_last(client).version != read.version:
        msg = f"{PLAN_TOPIC}: another plan was published in the meantime; run `exchange apply`"
        raise PlanError(msg)


def publish(client: dict[str, Any], plan: PublishedPlan) -> None:
    """Write a plan; returns when all replicas in sync have it.

    Raises: PartError when Kafka does not take it.
    """
    record = {"topic": PLAN_TOPIC, "key": PLAN_KEY, "value": plan.model_dump_json().encode(), "partition": 0}
    properties = {"acks": "all", "enable.idempotence": True, "message.max.bytes": PLAN_BYTES}
    if failed := write(client | properties, [record], _TIMEOUT_S):
        error = failed[0]
        why = f"no answer within {_TIMEOUT_S:.0f} s" if error.code() == TIMED_OUT else error.name()
        msg = f"Kafka: topic {PLAN_TOPIC}: {why}"
        raise PartError(msg)


def _version_alone(document: bytes) -> int:
    """Return the version of a plan that another release wrote, so that the next one counts on from it."""
    try:
        return int(json.loads(document)["version"])
    except (ValueError, KeyError, TypeError):
        msg = f"{PLAN_TOPIC}: the last record is not a plan; restore the topic before applying"
        raise PlanError(msg) from None
