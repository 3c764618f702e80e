"""Published plans to ClickHouse: which views each plan version makes, so that a missing one is noticed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from exchange import log
from exchange.librdkafka import PARTITION_EOF
from exchange.plan import PLAN_TOPIC, PublishedPlan
from monitor import kafka
from monitor.clickhouse.client import ClickHouse

_SELDOM: Final = {"fetch.wait.max.ms": 5_000}
"""A new plan comes at once all the same; nothing else is asked over the connection meanwhile."""
_COLUMNS: Final = ("plan_version", "resource", "topic", "view_topic")

_log = log.get(__name__)


class Plans:
    """Reads the topic of plans from its start; it is compacted, so that is little."""

    def __init__(self, client: dict[str, Any], clickhouse: ClickHouse, stop: threading.Event) -> None:
        self.newest: PublishedPlan | None = None
        self.version: int | None = None
        self.budgets_ms: dict[str, int] = {}
        """View topic → delay that its newest plan allows."""
        self._client = client
        self._clickhouse = clickhouse
        self._stop = stop

    def session(self, ready: Callable[[], None]) -> None:
        """Store every plan until stopped; `ready` is called once Kafka has answered.

        Raises: TransientError while Kafka or ClickHouse does not answer.
        """
        consumer = Consumer(kafka.reader(self._client) | _SELDOM)
        partition = TopicPartition(PLAN_TOPIC, 0)
        try:
            low, _ = consumer.get_watermark_offsets(partition, timeout=kafka.TIMEOUT_S)
            consumer.assign([TopicPartition(PLAN_TOPIC, 0, low)])
            ready()
            while not self._stop.is_set():
                if (message := consumer.poll(0.5)) is not None:
                    self._take(message)
        except KafkaException as error:
            raise kafka.trouble(PLAN_TOPIC, kafka.cause_of(error)) from None
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            if error.code() != PARTITION_EOF:
                raise kafka.trouble(PLAN_TOPIC, error)
            return
        try:
            plan = PublishedPlan.model_validate_json(kafka.as_bytes(message.value()) or b"")
        except ValidationError:
            _log.error("plan_unreadable", topic=PLAN_TOPIC, offset=message.offset())
            return
        if rows := plan_rows(plan):
            self._clickhouse.insert("plan_views", _COLUMNS, rows)
        self.budgets_ms = {
            view.topic: view.spec.delay_budget_ms
            for resource in plan.resources
            for view in resource.views
            if view.spec.delay_budget_ms is not None
        }
        self.newest = plan
        self.version = plan.version


def plan_rows(plan: PublishedPlan) -> list[tuple[int, str, str, str]]:
    """Return version, resource, raw topic and view topic of every view."""
    return [
        (plan.version, resource.name, resource.raw_topic, view.topic)
        for resource in plan.resources
        for view in resource.views
    ]
