"""What `exchange apply` has made, in the compacted topic `_exchange.made`: only that may ever be deleted.

An object is written down before it is made, where there was none, and again with its mark once it is there.
The mark is what an object of the same name that somebody else makes would not have:

| kind | mark |
| --- | --- |
| topic | Kafka's id of the topic |
| user | the number of iterations of its SCRAM credential, drawn at random |
| schema | the ids of all versions that were registered; of a raw topic, whose connector registers, none |
| publication | the server's identifier and the publication's oid |
| slot | none: the connector makes it, and `_exchange.positions` says so |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from exchange.compacted import CompactedTopic
from exchange.errors import PartError
from exchange.librdkafka import TIMED_OUT, write
from exchange.plan import MADE_TOPIC

INTENDED: Final = ""
BY_CONNECTOR: Final = "connector"
_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, order=True)
class Made:
    """One object. mark: INTENDED until it is there.

    system, connection_env: where a publication or slot is.
    """

    kind: str
    name: str
    mark: str = INTENDED
    system: str = ""
    connection_env: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is known by; publications of two systems may share a name."""
        return self.kind, self.name, self.system


class Ledger:
    """Reads and writes the topic as the cluster's administrator; `read` comes first.

    Every method raises PartError when Kafka does not take or hold what it should, TransientError when it is
    away.
    """

    def __init__(self, client: dict[str, Any]) -> None:
        """`client`: librdkafka properties of the administrator."""
        self._client = client
        self._entries: dict[tuple[str, str, str], Made] = {}

    def read(self) -> None:
        """Take in all that stands in the topic."""
        with CompactedTopic(self._client, MADE_TOPIC) as topic:
            documents = topic.read().values()
        try:
            found = [Made(**json.loads(document)) for document in documents]
        except (ValueError, TypeError):
            msg = f"{MADE_TOPIC}: a record was not written by this version; restore the topic before applying"
            raise PartError(msg) from None
        self._entries = {made.key: made for made in found}

    def of(self, kind: str) -> list[Made]:
        """Return the entries of a kind, in order."""
        return sorted(made for made in self._entries.values() if made.kind == kind)

    def find(self, kind: str, name: str, system: str = "") -> Made | None:
        """Return an object's entry."""
        return self._entries.get((kind, name, system))

    def write(self, made: Iterable[Made]) -> None:
        """Write objects down, each in the place of what stood there; returns when it is safe."""
        news = [one for one in made if self._entries.get(one.key) != one]
        self._write((_key(one), json.dumps(asdict(one)).encode()) for one in news)
        self._entries |= {one.key: one for one in news}

    def mark(self, kind: str, marks: Mapping[str, str]) -> None:
        """Give objects that stand in it their marks; what was not made here is passed over."""
        found = ((self.find(kind, name), mark) for name, mark in marks.items())
        self.write(replace(made, mark=mark) for made, mark in found if made is not None)

    def forget(self, made: Made) -> None:
        """Strike out an object that is gone."""
        self._write([(_key(made), None)])
        self._entries.pop(made.key, None)

    def _write(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        told = [{"topic": MADE_TOPIC, "key": key, "value": value, "partition": 0} for key, value in records]
        if not told:
            return
        # Without idempotence, whose start takes half a second: a record that comes twice says the same.
        if failed := write(self._client | {"acks": "all"}, told, _TIMEOUT_S):
            why = "no answer" if failed[0].code() == TIMED_OUT else failed[0].name()
            msg = f"Kafka: topic {MADE_TOPIC}: {why}; what was made is not written down, run this again"
            raise PartError(msg)


def _key(made: Made) -> bytes:
    return json.dumps(made.key).encode()
