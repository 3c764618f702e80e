"""The topic `_exchange.plan`: how connectors and workers get the published plan, and learn of a new one."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from pydantic import ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PlanError
from exchange.plan import PLAN_TOPIC, PublishedPlan

PLAN_KEY: Final = b"plan"


class PlanTopic:
    """Reads the plan once, then tells when another one was published."""

    def __init__(self, client: dict[str, Any]) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.plan`."""
        self._topic = CompactedTopic(client, PLAN_TOPIC)

    def read(self) -> PublishedPlan | None:
        """Return the published plan, None when there is none yet.

        Raises: PlanError when it cannot be read; TransientError when Kafka is away.
        """
        return _parsed(self._topic.read().get(PLAN_KEY))

    def newer(self) -> PublishedPlan | None:
        """Return a plan published since the last call, None when there is none; never waits.

        Raises: as `read`.
        """
        return _parsed(self._topic.poll().get(PLAN_KEY))

    def close(self) -> None:
        """Close the reader."""
        self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_plan(client: dict[str, Any]) -> PublishedPlan | None:
    """Return the published plan, None when there is none yet. Raises: as `PlanTopic.read`."""
    with PlanTopic(client) as topic:
        return topic.read()


def no_plan() -> PlanError:
    """Return the error for a caller that needs a plan and found none."""
    return PlanError(f"{PLAN_TOPIC}: no plan has been published; run `exchange apply`")


def _parsed(document: bytes | None) -> PublishedPlan | None:
    if document is None:
        return None
    try:
        return PublishedPlan.model_validate_json(document)
    except ValidationError as error:
        places = "; ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:5])
        msg = (
            f"{PLAN_TOPIC}: the published plan does not fit this version of the exchange ({places}); "
            "run `exchange apply` with the version that runs here"
        )
        raise PlanError(msg) from None
