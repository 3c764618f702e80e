"""The kinds of sink, by the name that topology.yaml uses. postgres is the one to copy for a new kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connectors.sink import DeliveredView, Sink
from connectors.sinks.clickhouse.sink import ClickhouseSink
from connectors.sinks.files.sink import FilesSink
from connectors.sinks.postgres.sink import PostgresSink
from connectors.sinks.webhook.sink import WebhookSink
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets

Make = Callable[[PlannedDelivery, DeliveredView, Secrets], Sink]
"""Of the delivery as planned, one view of it, and the secrets; nothing connects before `open`."""

SINKS: Final[dict[str, Make]] = {
    "postgres": PostgresSink,
    "clickhouse": ClickhouseSink,
    "files": FilesSink,
    "webhook": WebhookSink,
}
"""Kind → maker."""
