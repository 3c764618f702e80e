"""Where a delivery goes on, what it accounts, and what a batch leaves."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from connectors.ledger import accounts_of
from connectors.sink import Column, DeliveredView
from connectors.sinks.clickhouse.cells import Cells
from connectors.sinks.files.content import content_of
from connectors.sinks.files.names import file_of, next_offsets
from connectors.sinks.laststate import last_state
from connectors.viewdelivery import start_places
from exchange.change import Op, Position, RecordHeader
from exchange.subscriber.batches import Place
from exchange.subscriber.reader import Received

COLUMNS = (Column("id", "long"), Column("day", "date"), Column("text", "string"))
VIEW = DeliveredView("a.b.c", "a.b", "share.a.b.c", 3, ("id",), COLUMNS)


def record(
    op: Op,
    key: int,
    offset: int,
    *,
    partition: int = 0,
    tombstone: bool = False,
    source_ms: int = 0,
    **row: Any,
) -> Received:
    header = RecordHeader(Position(1, offset, 0), op, source_ms, tombstone=tombstone)
    after = {"id": key, **row} if op not in (Op.DELETE, Op.TRUNCATE) else None
    return Received(VIEW.topic, partition, offset, header, {"id": key}, {"after": after}, 0)


@pytest.mark.parametrize(
    ("accounted", "there", "wanted"),
    [
        pytest.param({0: Place(5, "m")}, None, {0: Place(5, "m")}, id="the target keeps none: Kafka's"),
        pytest.param({0: Place(5, "m")}, {0: Place(9)}, {0: Place(5, "m")}, id="written, not yet accounted"),
        pytest.param({0: Place(9)}, {0: Place(5)}, {0: Place(5)}, id="the target was set back"),
        pytest.param({0: Place(9)}, {}, {}, id="the target was made anew: from the first record"),
        pytest.param({}, {0: Place(5)}, {0: Place(5)}, id="Kafka has forgotten its group"),
        pytest.param({0: Place(5, "m")}, {0: Place(5)}, {0: Place(5, "m")}, id="both: with the marks"),
    ],
)
def test_it_goes_on_where_both_are(
    accounted: dict[int, Place], there: dict[int, Place] | None, wanted: dict[int, Place]
) -> None:
    assert start_places(accounted, there) == wanted


def test_a_delete_and_its_tombstone_are_one_change_and_what_was_parked_is_refused() -> None:
    records = [record(Op.CREATE, 1, 7), record(Op.DELETE, 1, 8), record(Op.DELETE, 1, 9, tombstone=True)]
    (account,) = accounts_of("deliver", "w", VIEW.resource, VIEW.topic, 3, records, {(0, 7)})
    assert (account.stage, account.topic, account.partition) == ("deliver", VIEW.topic, 0)
    assert (account.first_offset, account.last_offset, account.changes) == (7, 9, 2)
    assert (account.views[VIEW.topic].delivered, sum(account.refused.values())) == (1, 1)


def test_a_truncate_empties_its_own_partition_and_what_came_after_stays() -> None:
    left = last_state(
        [
            record(Op.CREATE, 1, 1),
            record(Op.CREATE, 2, 1, partition=1),
            record(Op.DELETE, 3, 2),
            record(Op.TRUNCATE, 0, 3),
            record(Op.CREATE, 4, 4),
        ],
        VIEW.key,
    )
    assert (set(left.rows), set(left.deleted), left.emptied) == ({(2,), (4,)}, set(), {0: 3})


def test_the_names_of_files_say_how_far_a_folder_is() -> None:
    names = [file_of(hour, partition, first, last, "csv") for hour, partition, first, last in FILES]
    assert str(names[0]) == "1970-01-01/23-0-000000000000-000000000004.csv"
    strangers = [Path("_parked/0-000000000099.txt"), Path("1970-01-01/.draft-23-0-5-99.csv")]
    assert next_offsets([*names, *strangers]) == {0: 9, 1: 3}


FILES = [(23, 0, 0, 4), (24, 0, 5, 8), (23, 1, 0, 2)]


def test_a_csv_tells_null_from_an_empty_text() -> None:
    rows = [record(Op.CREATE, 1, 5, text="", day=date(2024, 2, 29)), record(Op.DELETE, 1, 6)]
    text = content_of("csv", VIEW)(rows).decode()
    assert text.split("\r\n") == [
        "_op,_partition,_offset,_source_ms,id,day,text",
        'c,0,5,0,1,2024-02-29,""',
        "d,0,6,0,1,,",
        "",
    ]


def test_clickhouse_is_not_given_a_date_that_it_would_change() -> None:
    cells = Cells(VIEW)
    assert cells.values(record(Op.CREATE, 1, 5, day=date(1900, 1, 1))) == [1, date(1900, 1, 1), None]
    with pytest.raises(ValueError, match=r"day: a date outside of the years 1900 to 2299"):
        cells.values(record(Op.CREATE, 1, 5, day=date(1899, 12, 31)))
