"""What HTTP pull decides without a network: cursors, and which record comes next."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors.http.problem import Problem
from connectors.pull import corrections
from connectors.pull.corrections import CorrectionPages, Reader
from connectors.pull.cursor import Cursor, CursorCodec, Place
from connectors.pull.lane import Lane
from connectors.pull.question import JSON, Question
from connectors.pull.taking import Taking, Wish
from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.corrections import Correction, Placed
from exchange.subscriber.decoder import WireDecoder
from exchange.subscriber.seen import Seen
from tests.unit.exchange.topologies import changed, load

CODEC = CursorCodec(SecretStr("secret"))
CURSOR = Cursor("id", 1, {0: Place(5, "1f/2/3/0/0"), 1: Place(0), 2: Place(2**40)})


def test_a_cursor_comes_back_as_it_was() -> None:
    assert CODEC.decode(CODEC.encode(CURSOR, "tax", "a.b.c"), "tax", "a.b.c") == CURSOR


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_cursor_can_be_altered(place: int, change: int) -> None:
    text = CODEC.encode(CURSOR, "tax", "a.b.c")
    at = place % len(text)
    altered = text[:at] + chr((ord(text[at]) ^ change) or 1) + text[at + 1 :]

    try:
        assert CODEC.decode(altered, "tax", "a.b.c") == CURSOR  # the unused bits of the last character
    except ValueError:
        return
    assert at == len(text) - 1


@pytest.mark.parametrize(("subscriber", "view"), [("ta", "xa.b.c"), ("taxi", "a.b.c"), ("tax", "a.b.d")])
def test_a_cursor_is_for_one_subscriber_and_view(subscriber: str, view: str) -> None:
    text = CODEC.encode(CURSOR, "tax", "a.b.c")

    with pytest.raises(ValueError, match="not a cursor"):
        CODEC.decode(text, subscriber, view)
    with pytest.raises(ValueError, match="not a cursor"):
        CursorCodec(SecretStr("other")).decode(text, "tax", "a.b.c")


class NoSchemas:
    """Stands for a registry that is never asked, as the records have no value."""

    def schema(self, schema_id: int) -> dict[str, object]:
        raise LookupError


def message(partition: int, offset: int, *, tombstone: bool = False) -> Message:
    header = RecordHeader(Position(partition, offset, 0), Op.UPDATE, 1000, tombstone=tombstone).pack()
    return Message(topic="t", partition=partition, offset=offset, headers=[(HEADER, header)])


def taken(
    log: list[list[bool]], arrivals: list[int], most: int, turn: int
) -> tuple[list[tuple[int, int]], Cursor]:
    """Return what a page holds of a log (per partition: whether each record is a tombstone)."""
    lanes = {number: Lane(0, Seen(), most) for number in range(len(log))}
    messages = [[message(n, at, tombstone=t) for at, t in enumerate(one)] for n, one in enumerate(log)]
    order = iter(arrivals)

    def poll(into: Mapping[int, Lane]) -> None:
        number = next(order, None)
        for lane in range(len(log)) if number is None else [number % len(log)]:
            if messages[lane]:
                into[lane].put(messages[lane].pop(0))
            else:
                into[lane].reach(len(log[lane]))

    taking = Taking(lanes, turn, poll, WireDecoder(NoSchemas()))
    taking.run(Wish("v", "earliest", most, 0), lambda: False)
    found = [(one["partition"], one["offset"]) for one in map(json.loads, taking.records)]
    return found, Cursor("", taking.turn, {number: lane.place() for number, lane in lanes.items()})


LOGS = st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=4)


@given(LOGS, st.lists(st.integers(0, 3), max_size=60), st.integers(1, 12), st.integers(0, 3))
def test_which_records_a_page_holds_never_hangs_on_which_partition_answers_first(
    log: list[list[bool]], arrivals: list[int], most: int, turn: int
) -> None:
    found, cursor = taken(log, arrivals, most, turn % len(log))
    again, _ = taken(log, [], most, turn % len(log))
    wanted = [(n, at) for n, one in enumerate(log) for at, tombstone in enumerate(one) if not tombstone]

    assert found == again
    assert len(found) == min(most, len(wanted))
    given_out = {(n, at) for n, at in wanted if at < cursor.places[n].offset}
    assert set(found) == given_out


def test_a_full_lane_lets_all_that_follows_pass_by() -> None:
    """A record that came after one that was let by would leave a gap."""
    lane = Lane(0, Seen(), 2)
    for offset in range(3):
        lane.put(message(0, offset))
    assert lane.take() is not None
    lane.put(message(0, 3))
    lane.reach(4)

    assert lane.take() is not None
    assert lane.take() is None
    assert (lane.place().offset, lane.is_done) == (2, False)


SUBSCRIBER = "subscribers:\n"


def test_a_key_is_one_readers_alone() -> None:
    entry = "  {}:\n    department: police\n    label: {{zh: 甲, en: A}}\n    pull_keys_env: SAME\n"
    text = changed((SUBSCRIBER, SUBSCRIBER + entry.format("first") + entry.format("second")))

    with pytest.raises(Exception, match="that of subscriber 'first' too"):
        load(text)


PAGES = CorrectionPages(SecretStr("secret"))
READER = Reader("tax", "own.thing.basic")
MARKERS = [
    Placed(
        offset,
        Correction(
            objection=offset, resource=resource, partition=1, wrong=f"w{offset}", corrected="c", at=""
        ),
    )
    for offset, resource in enumerate(["own.thing", "other.thing", "own.thing", "own.thing2", "own.thing"])
]


def corrections_walked(reader: Reader = READER, markers: list[Placed] = MARKERS) -> list[str]:
    """Follow the cursors, one marker a page, and return which positions were wrong."""
    found, after = list[str](), "earliest"
    while True:
        page = json.loads(PAGES.body(markers, reader, Question(after, 1, 0, JSON)))
        assert set(page) == {"corrections", "next", "more"}
        found += [one["wrong"] for one in page["corrections"]]
        after = page["next"]
        if not page["more"]:
            return found


def test_a_walk_through_corrections_is_those_of_the_views_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    assert corrections_walked() == ["w0", "w2", "w4"]
    assert corrections_walked(Reader("tax", "another.thing.basic")) == []
    with monkeypatch.context() as fault:  # planted: nothing is cut
        fault.setattr(corrections, "of_resources", lambda known, _resources: list(known))
        assert corrections_walked() != ["w0", "w2", "w4"]


def test_a_cursor_of_corrections_goes_on_behind_its_marker_and_is_one_readers() -> None:
    page = json.loads(PAGES.body(MARKERS, READER, Question("earliest", 3, 0, JSON)))
    later = [*MARKERS, Placed(9, MARKERS[0].correction.model_copy(update={"objection": 9, "wrong": "w9"}))]
    news = json.loads(PAGES.body(later, READER, Question(page["next"], 3, 0, JSON)))
    assert [one["wrong"] for one in news["corrections"]] == ["w9"]
    anew = [one._replace(offset=one.offset + 7) for one in MARKERS]
    for markers, reader in ((MARKERS, READER._replace(subscriber="x")), (anew, READER)):
        with pytest.raises(Problem) as refused:
            PAGES.body(markers, reader, Question(page["next"], 3, 0, JSON))
        assert refused.value.status == 410
