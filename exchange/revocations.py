"""The topic `_exchange.revocations`: which grants do not hold, whatever topology.yaml says of them.

One record a grant, kept when it is lifted too, so that nobody takes a lost record for one that never was.
Written as the cluster's admin by `exchange revoke` and `exchange restore`; read by `exchange apply`, which
gives no such grant, and by deliveries, which stop at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, ValidationError

from exchange.compacted import CompactedTopic
from exchange.errors import PartError
from exchange.librdkafka import explain, write
from exchange.model import Model
from exchange.plan import REVOCATIONS_TOPIC

MOST_CHARACTERS: Final = 500
_ANSWER_S: Final = 20.0


class Lifted(Model):
    """That a revocation holds no longer: who lifted it, when and why."""

    actor: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    reason: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    at: AwareDatetime


class Revocation(Model):
    """One grant that was taken away, and the certificate of it once its access was seen to be gone."""

    subscriber: str = Field(min_length=1)
    view: str = Field(min_length=1, description="<domain>.<resource>.<view>")
    kind: Literal["revoked", "suspended"] = Field(description="suspended: `exchange restore` lifts it as is.")
    actor: str = Field(min_length=1, max_length=MOST_CHARACTERS, description="Who took it away.")
    reason: str = Field(min_length=1, max_length=MOST_CHARACTERS)
    ordered_at: AwareDatetime
    certificate: dict[str, JsonValue] | None = None
    lifted: Lifted | None = None

    @property
    def key(self) -> str:
        """The grant, as keys of the topic and the plan name it."""
        return key_of(self.subscriber, self.view)

    @property
    def in_force(self) -> bool:
        """Whether the grant does not hold."""
        return self.lifted is None

    def __str__(self) -> str:
        return f"{self.kind} {self.ordered_at:%Y-%m-%d %H:%M:%S %Z} by {self.actor}: {self.reason}"


class Revocations:
    """Reads all revocations once, then those that are new; `in_force` has the grants that do not hold."""

    def __init__(self, client: dict[str, Any]) -> None:
        """`client`: librdkafka properties of a principal that may read `_exchange.revocations`."""
        self.in_force: frozenset[str] = frozenset()
        self._topic = CompactedTopic(client, REVOCATIONS_TOPIC)

    def read(self) -> dict[str, Revocation]:
        """Return every revocation by its key, lifted ones too.

        Raises: PartError when one cannot be read; TransientError when Kafka is away.
        """
        found = _parsed(self._topic.read())
        self.in_force = frozenset(key for key, one in found.items() if one.in_force)
        return found

    def newer(self) -> bool:
        """Take in what was revoked or lifted since the last call; return whether anything was. Never waits.

        Raises: as `read`.
        """
        news = _parsed(self._topic.poll())
        taken = {key for key, one in news.items() if one.in_force}
        self.in_force = (self.in_force - news.keys()) | taken
        return bool(news)

    def close(self) -> None:
        """Close the reader."""
        self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def key_of(subscriber: str, view: str) -> str:
    """Return how a grant is named in the topic."""
    return f"{subscriber}|{view}"


def read_revocations(client: dict[str, Any]) -> dict[str, Revocation]:
    """Return every revocation by its key, lifted ones too. Raises: as `Revocations.read`."""
    with Revocations(client) as topic:
        return topic.read()


def remember(client: dict[str, Any], revocation: Revocation) -> None:
    """Put a revocation in place of what is known of its grant. `client`: of the cluster's admin.

    Returns when all replicas in sync have it. The producer is not idempotent: such a one waits for half a
    second first, and the same record twice says the same.

    Raises: PartError when Kafka refuses it; TransientError when it does not answer.
    """
    record = {
        "topic": REVOCATIONS_TOPIC,
        "key": revocation.key.encode(),
        "value": revocation.model_dump_json().encode(),
        "partition": 0,
    }
    if failed := write(client | {"acks": "all", "linger.ms": 0}, [record], _ANSWER_S):
        raise explain(REVOCATIONS_TOPIC, failed[0])


def now() -> dt.datetime:
    """Return the time, in whole milliseconds of UTC."""
    found = dt.datetime.now(dt.UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def _parsed(records: Mapping[bytes, bytes | None]) -> dict[str, Revocation]:
    """Return records by key. A removed one is an error: the bus never removes any."""
    found: dict[str, Revocation] = {}
    for key, document in records.items():
        try:
            revocation = Revocation.model_validate_json(document or b"")
        except ValidationError as error:
            places = "; ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:5])
            msg = (
                f"{REVOCATIONS_TOPIC}: a record does not fit this version ({places or 'no JSON'}); while it "
                "is there nobody can tell what was revoked. Use the version that wrote it, or mend the topic"
            )
            raise PartError(msg) from None
        if revocation.key.encode() != key:
            msg = f"{REVOCATIONS_TOPIC}: a record has the key of another grant; restore the topic"
            raise PartError(msg)
        found[revocation.key] = revocation
    return found
