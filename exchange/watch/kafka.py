"""What subscribers are seen to do in Kafka: where their groups stand, and what the authorizer denied them.

A group's offsets tell what it read; who reads without committing is not seen. Kafka writes denials to its
authorizer's log, from which the embedded Kafka's own log and any file of that form are read.
Source: Apache Kafka, StandardAuthorizerData.buildAuditMessage.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from exchange.errors import TransientError
from exchange.watch.rules import Act, Seen
from exchange.watch.windows import Place

_VIEWS: Final = "share."
_TIMEOUT_S: Final = 15.0
_DENIED: Final = re.compile(rb"Principal = User:(\S+) is Denied ")
_MOST_BYTES: Final = 16 * 1024 * 1024
"""Of the log at one look: what is denied faster than that is told all the same."""


def positions(admin: AdminClient, subscribers: Iterable[str]) -> dict[Place, int]:
    """Return where all groups of subscribers stand on views; a group's name begins with its subscriber's.

    Raises: TransientError when Kafka does not answer.
    """
    known = frozenset(subscribers)
    try:
        listed = admin.list_consumer_groups(request_timeout=_TIMEOUT_S).result(timeout=_TIMEOUT_S + 5).valid
        groups = [group.group_id for group in listed if subscriber_of(group.group_id) in known]
        found: dict[Place, int] = {}
        for group in groups:
            asked = [ConsumerGroupTopicPartitions(group)]
            answer = admin.list_consumer_group_offsets(asked, request_timeout=_TIMEOUT_S)[group]
            for at in answer.result(timeout=_TIMEOUT_S + 5).topic_partitions:
                if at.topic.startswith(_VIEWS) and at.error is None and at.offset >= 0:
                    found[group, at.topic, at.partition] = at.offset
    except (KafkaException, TimeoutError) as error:
        why = error.args[0].name() if isinstance(error, KafkaException) else "no answer"
        msg = f"Kafka: positions of subscribers' groups: {why}"
        raise TransientError(msg) from None
    return found


def moves(before: Mapping[Place, int], now: Mapping[Place, int], at: dt.datetime) -> Iterator[Seen]:
    """Yield what each group did on each view between two looks; one not seen before did nothing yet."""
    read: Counter[tuple[str, str]] = Counter()
    back: Counter[tuple[str, str, str]] = Counter()
    for (group, topic, partition), offset in now.items():
        earlier = before.get((group, topic, partition), offset)
        who, view = subscriber_of(group), topic.removeprefix(_VIEWS)
        if offset > earlier:
            read[who, view] += offset - earlier
        elif offset < earlier:
            back[who, view, group] += earlier - offset
    for (who, view), records in read.items():
        yield Seen(Act.READ, who, view, records, at)
    for (who, view, _group), records in back.items():
        yield Seen(Act.WENT_BACK, who, view, records, at)


def subscriber_of(group: str) -> str:
    """Return the subscriber whose group it is by its name."""
    return group.partition(".")[0]


class DenialLog:
    """Reads what is added to an authorizer's log from the first look on, also when it is rotated."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode = 0
        self._at = -1
        self._rest = b""

    def read(self) -> Counter[str]:
        """Return user → denials since the last look; nothing where there is no file just now."""
        try:
            with self._file.open("rb") as log:
                added = self._added(log.fileno())
        except OSError:
            return Counter()
        *lines, self._rest = (self._rest + added).split(b"\n")
        found = (_DENIED.search(line) for line in lines)
        return Counter(match.group(1).decode(errors="replace") for match in found if match)

    def _added(self, descriptor: int) -> bytes:
        status = os.fstat(descriptor)
        if self._at < 0:
            self._at = status.st_size
        elif status.st_ino != self._inode or status.st_size < self._at:
            self._at, self._rest = 0, b""
        self._inode = status.st_ino
        added = os.pread(descriptor, _MOST_BYTES, self._at)
        self._at += len(added)
        return added
