"""How far each topic is read: the mark of a source position, and what it is compared with.

A mark is a JSON object: <schema>.<table> → [topic, its id, [next offset of partition 0, of 1, …]].
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from exchange.errors import GapError
from exchange.position import SourcePosition


@dataclass(frozen=True, slots=True)
class TopicPlace:
    """One table's topic, and the next offset to read of each of its partitions."""

    topic: str
    identity: str
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicNow:
    """A topic as Kafka has it: its id, and the first and the end offset of each partition."""

    topic: str
    identity: str
    spans: tuple[tuple[int, int], ...]


def read_mark(mark: str) -> dict[str, TopicPlace]:
    """Return the places that a position holds, by table."""
    return {
        table: TopicPlace(topic, identity, tuple(offsets))
        for table, (topic, identity, offsets) in json.loads(mark or "{}").items()
    }


def write_mark(places: Mapping[str, TopicPlace]) -> str:
    """Return the places as a position's mark."""
    return json.dumps(
        {table: [place.topic, place.identity, place.offsets] for table, place in sorted(places.items())}
    )


def read_places(stored: SourcePosition, cluster: str, now: Mapping[str, TopicNow]) -> dict[str, TopicPlace]:
    """Return what was read, after a look at the topics as they are; of tables never read nothing is said.

    Raises: GapError when records between the two may be missing, or their order is no longer known.
    """
    if stored.system_identifier != cluster:
        raise gap(
            stored.system, f"the position is of cluster {stored.system_identifier}, and this one is {cluster}"
        )
    places = read_mark(stored.mark)
    for table in sorted(places.keys() & now.keys()):
        if problem := _problem(places[table], now[table]):
            raise gap(stored.system, f"table {table}: {problem}")
    return places


def gap(system: str, problem: str) -> GapError:
    """Return the error for records that may be missing."""
    return GapError(
        f"source {system}: {problem}. Changes may be missing, so nothing was captured since. Have Debezium "
        "take a new snapshot into a new topic, name that topic in topology.yaml, run `exchange apply`, then "
        f"`exchange resnapshot {system}`"
    )


def _problem(place: TopicPlace, now: TopicNow) -> str:
    if place.topic != now.topic:
        return f"it was read from topic {place.topic}, and the topology now says {now.topic}"
    if place.identity != now.identity:
        return f"topic {now.topic} was deleted and made anew"
    if len(place.offsets) != len(now.spans):
        return (
            f"topic {now.topic} had {len(place.offsets)} partitions and has {len(now.spans)}: "
            "the order of a key's changes is no longer known"
        )
    for number, (offset, (first, end)) in enumerate(zip(place.offsets, now.spans, strict=True)):
        if offset < first:
            return (
                f"topic {now.topic}[{number}] begins at offset {first}, and {offset} was to be read next: "
                "its retention was shorter than the connector was away"
            )
        if offset > end:
            return (
                f"topic {now.topic}[{number}] ends at offset {end}, and {offset} was to be read next: "
                "Kafka lost its end"
            )
    return ""
