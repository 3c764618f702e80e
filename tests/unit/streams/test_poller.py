"""How large a round may be, and that dropped messages do not hide the consumer's end."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, Message

from exchange.block import NONE, Record
from exchange.blockio import ReadError, record_of
from exchange.change import HEADER
from streams.poller import goes_back, next_limit, raise_if_fatal
from streams.transaction import Fatal
from tests.unit.streams.fakes import block


def test_full_rounds_that_are_quick_grow_up_to_a_bound() -> None:
    limit = 200
    for _ in range(10):
        limit = next_limit(limit, records=limit, busy_s=0.01)
    assert limit == 26_000


def test_a_round_that_took_too_long_makes_the_next_one_smaller() -> None:
    assert next_limit(8_000, records=8_000, busy_s=2.0) == 2_000
    assert next_limit(8_000, records=1_000, busy_s=1.0) == 500


def test_a_round_that_became_too_much_makes_the_next_one_smaller() -> None:
    assert next_limit(8_000, records=8_000, busy_s=0.1, written_bytes=24 * 1024 * 1024) == 4_000


def test_small_rounds_leave_the_limit_alone() -> None:
    assert next_limit(8_000, records=3, busy_s=0.01) == 8_000


def test_the_limit_never_falls_so_low_that_commits_take_all_the_time() -> None:
    assert next_limit(200, records=200, busy_s=60.0) == 200


def gathered(*codes: int) -> list[ReadError]:
    return [ReadError("raw.a", 0, 7, KafkaError(code)) for code in codes]


def test_the_end_of_the_consumer_is_seen_among_what_is_dropped() -> None:
    with pytest.raises(Fatal, match="Kafka ended this consumer"):
        raise_if_fatal(gathered(KafkaError._PARTITION_EOF, KafkaError._FATAL))


def test_other_errors_among_what_is_dropped_are_no_end() -> None:
    raise_if_fatal(gathered(KafkaError._PARTITION_EOF, KafkaError._TRANSPORT))


def test_record_keeps_its_parts_and_the_one_header_that_is_ours() -> None:
    message = Message("raw.a", 1, 7, b"k", b"v", [("other", b"o"), (HEADER, b"h")])
    assert record_of(message) == Record(7, NONE, b"k", b"v", b"h")


def test_two_headers_of_our_name_are_as_good_as_none() -> None:
    message = Message("raw.a", 1, 7, b"k", None, [(HEADER, b"h"), (HEADER, b"h")])
    assert record_of(message) == Record(7, NONE, b"k", None, None)


def test_records_that_come_a_second_time_are_noticed() -> None:
    assert not goes_back(block([5, 6, 9]), fetched=5)
    assert goes_back(block([5, 6, 9]), fetched=6)
    assert goes_back(block([5, 6, 6]), fetched=5)
    assert goes_back(block([6, 5]), fetched=5)
