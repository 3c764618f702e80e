"""Sends what is parked of a view again, in the order of its topic, one record a request.

What is refused again stays parked, and everything behind it of the same key. A record that Kafka no longer
has counts as refused, unless the order says to give it up; which one it was is in the log by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Final

from connectors.parked import At, HeldKeys, ParkedView
from connectors.sink import ParkingSink
from exchange import log
from exchange.subscriber.batches import Place
from exchange.subscriber.places import PlaceReader
from exchange.subscriber.reader import Received

_MOST_AT_ONCE: Final = 100

_log = log.get(__name__)


def redrive(
    view: str, sink: ParkingSink, reader: PlaceReader, done: Mapping[int, Place], until: Callable[[], bool]
) -> Iterator[list[Received]]:
    """Yield what was accepted, some at a time: each time the changes of `sink.parked` are to be kept.

    done: how far the view is delivered; what lies beyond comes again by itself, and is taken off the list.

    The last time the order is ended with them, unless `until` said so before: then it is gone on with later.

    Raises: TransientError, GoneError, DeniedError: what was accepted since the last time is sent again.
    """
    stuck, tried, accepted = HeldKeys(), 0, list[Received]()
    _release_what_comes_again(sink.parked, done)
    for partition, found in groupby(sorted(sink.parked.entries), key=lambda at: at[0]):
        for offset, record in reader.read(partition, [at[1] for at in found]):
            if until():
                yield accepted
                return
            if _try(view, sink, (partition, offset), record, stuck) and record is not None:
                accepted.append(record)
            tried += 1
            if tried % _MOST_AT_ONCE == 0:
                yield accepted
                accepted = []
    sink.parked.end_order()
    yield accepted


def _release_what_comes_again(parked: ParkedView, done: Mapping[int, Place]) -> None:
    """Take off what was parked in a batch that was not kept: it is read again, and sent in its turn."""
    for partition, offset in list(parked.entries):
        if partition not in done or offset >= done[partition].offset:
            parked.drop((partition, offset))


def _try(view: str, sink: ParkingSink, at: At, record: Received | None, stuck: HeldKeys) -> bool:
    """Send one record unless it waits behind another; return whether it was accepted."""
    parked, partition = sink.parked, at[0]
    digest = parked.entries[at].key_digest
    if stuck.any(partition) and stuck.holds(partition, digest):
        return False
    if record is None or not parked.is_entry_of(at, record):
        return _gone(view, parked, at, stuck)
    status = sink.send_one(record)
    if status:
        parked.renew(at, status)
        stuck.add(partition, digest)
        return False
    parked.drop(at)
    return True


def _gone(view: str, parked: ParkedView, at: At, stuck: HeldKeys) -> bool:
    """Report a record that Kafka no longer has; give it up when that is ordered."""
    partition, offset = at
    given_up = parked.order is not None and parked.order.forget_gone
    _log.error("parked_record_gone", view=view, partition=partition, offset=offset, given_up=given_up)
    if given_up:
        parked.drop(at)
    else:
        stuck.add(partition, parked.entries[at].key_digest)
    return False
