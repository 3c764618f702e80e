from __future__ import annotations

from unittest.mock import Mock

import pytest

from connectors.source import Captured
from connectors.sources.postgres.catalog import Catalog, SourceTable
from connectors.sources.postgres.marks import Marks
from connectors.sources.postgres.pgoutput import (
    UNCHANGED,
    Begin,
    Column,
    Commit,
    Decoded,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
)
from connectors.sources.postgres.shapes import Shapes
from connectors.sources.postgres.transaction import Transactions
from exchange.change import Op, Position, Reason
from exchange.errors import SourceError
from exchange.position import SourcePosition

TEXT = 25
COLUMNS = (Column("id", TEXT, -1, identity=True), Column("name", TEXT, -1, identity=False))
PERSON, OTHER = (
    Relation(oid, "public", table, "d", COLUMNS) for oid, table in enumerate(("person", "other"), 1)
)
BEGIN, COMMIT = Begin(commit_lsn=100, commit_us=5_000, xid=7), Commit(100, 108, 5_000)
STREAM = 9
ROW = (b"1", b"w")


def transactions(
    commit: int = 0, index: int = 0, relation: Relation = PERSON, since: int = 0
) -> Transactions:
    """Those after a position; of the two tables only `person` is captured, its snapshot as of `since`."""
    catalog = Mock(spec=Catalog, system="town")
    catalog.database.return_value = "db"
    table = SourceTable("public.person", False, relation, ("id",), ("text",))
    marks = Marks("town")
    marks.complete(table.name, since, table.identity)
    shapes = Shapes(catalog, {"public.person": table}, marks)
    for told in (relation, OTHER):
        shapes.learn(told)
    return Transactions(STREAM, shapes, SourcePosition("town", "1", 1, "slot", 90, commit, index))


def taken(into: Transactions, *messages: Decoded) -> list[Captured]:
    return [change for message in messages for change in into.take(message)]


def places(changes: list[Captured]) -> list[tuple[Op, int, int]]:
    assert all(change.rejected is None for change in changes)
    return [(change.op, change.position.index, change.position.part) for change in changes]


def test_every_change_is_numbered_whether_captured_or_not() -> None:
    messages = (BEGIN, Insert(1, ROW), Insert(2, ROW), Truncate((2, 1)), Delete(1, ROW, full=False), COMMIT)
    changes = taken(transactions(), *messages)
    assert places(changes) == [(Op.CREATE, 0, 0), (Op.TRUNCATE, 3, 0), (Op.DELETE, 4, 0)]
    assert {change.position.commit for change in changes} == {100}


def test_changes_up_to_the_stored_one_are_left_out_and_the_rest_keep_their_numbers() -> None:
    messages = (BEGIN, Insert(1, ROW), Insert(1, ROW), Insert(1, ROW))
    assert places(taken(transactions(commit=100, index=1), *messages)) == [(Op.CREATE, 2, 0)]


def test_numbers_begin_anew_with_each_transaction() -> None:
    later = Begin(commit_lsn=200, commit_us=6_000, xid=8)
    changes = taken(transactions(), BEGIN, Insert(1, ROW), COMMIT, later, Insert(1, ROW))
    assert [change.position for change in changes] == [Position(STREAM, 100, 0), Position(STREAM, 200, 0)]


def test_changed_key_is_a_delete_and_a_create_at_one_place() -> None:
    update = Update(1, (b"1", None), full=False, new=(b"2", b"w"))
    assert places(taken(transactions(), BEGIN, update)) == [(Op.DELETE, 0, 0), (Op.CREATE, 0, 1)]


@pytest.mark.parametrize(
    ("old", "full", "new"),
    [
        ((b"1", b"large"), True, (b"1", UNCHANGED)),
        ((b"large", b"w"), True, (UNCHANGED, b"w")),
        ((b"large", None), False, (UNCHANGED, b"w")),
    ],
)
def test_unchanged_large_value_comes_from_the_old_row(old: Row, full: bool, new: Row) -> None:
    (update,) = taken(transactions(), BEGIN, Update(1, old, full, new))
    assert places([update]) == [(Op.UPDATE, 0, 0)]
    assert b"large" in update.value


def test_large_part_of_a_key_stays_when_the_other_part_changes() -> None:
    columns = (COLUMNS[0], Column("part", TEXT, -1, identity=True))
    relation = Relation(1, "public", "person", "d", columns)
    update = Update(1, (b"large", b"1"), full=False, new=(UNCHANGED, b"2"))
    changes = taken(transactions(relation=relation), BEGIN, update)
    assert places(changes) == [(Op.DELETE, 0, 0), (Op.CREATE, 0, 1)]
    assert all(b"large" in (change.key or b"") for change in changes)


def test_unchanged_large_value_that_was_not_sent_is_refused() -> None:
    (update,) = taken(transactions(), BEGIN, Update(1, None, full=False, new=(b"1", UNCHANGED)))
    assert update.rejected is not None
    assert (update.rejected.reason, update.rejected.field) == (Reason.UNCHANGED_TOAST, "name")


def test_the_log_is_read_again_from_the_end_of_the_last_complete_transaction() -> None:
    read = transactions()
    taken(read, BEGIN, Insert(1, ROW))
    read.reached(104)
    assert read.resume == 90
    taken(read, COMMIT)
    assert read.resume == 108
    read.reached(120)
    assert read.resume == 120


def test_change_outside_a_transaction_is_refused() -> None:
    with pytest.raises(SourceError, match="a change outside a transaction"):
        taken(transactions(), Insert(1, ROW))


def test_changes_that_a_tables_snapshot_holds_are_left_out_of_its_stream() -> None:
    stream = transactions(since=150)
    assert taken(stream, BEGIN, Insert(1, ROW), Truncate((1,)), COMMIT) == []
    later = Begin(commit_lsn=150, commit_us=5_000, xid=8)
    assert places(taken(stream, later, Insert(1, ROW))) == [(Op.CREATE, 0, 0)]


def test_table_of_the_same_name_and_another_oid_is_halted_and_its_changes_are_not_taken() -> None:
    stream = transactions()
    anew = Relation(77, "public", "person", "d", COLUMNS)
    assert taken(stream, BEGIN, anew, Insert(77, ROW), Insert(1, ROW)) != []
    assert stream._shapes.of_relation(77) is None
    assert "was dropped and made anew" in stream._shapes._marks.halted["public.person"]
