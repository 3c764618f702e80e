"""What orders make of a snapshot beside the stream; its chunks are tested on a real server."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from connectors.sources.postgres.catalog import SourceTable
from connectors.sources.postgres.chunkread import ChunkReader
from connectors.sources.postgres.incremental import Incremental
from connectors.sources.postgres.marks import Marks
from connectors.sources.postgres.pgoutput import Column, Relation
from connectors.sources.postgres.shapes import Shapes
from exchange.position import IncrementalProgress, IncrementalState
from exchange.snapshot_orders import SnapshotOrder, Wish

TABLE = "public.person"
RELATION = Relation(1, "public", "person", "d", (Column("id", 25, -1, identity=True),))
ORDER = SnapshotOrder(operation="1f", table=TABLE)
HALF_WAY = IncrementalProgress("1f", TABLE, rows=500, chunks=2, key=("id text",), last_key=("499",))


def incremental(progress: IncrementalProgress | None = None, *tables: str) -> Incremental:
    captured = {name: SourceTable(name, False, RELATION, ("id",), ("text",)) for name in tables or (TABLE,)}
    reader = Mock(spec=ChunkReader, is_idle=False)
    reader.result.return_value = None
    return Incremental(reader, Mock(spec=Shapes), Marks("town"), captured, 9, progress)


def state(of: Incremental) -> IncrementalState | None:
    return None if of.progress is None else of.progress.state


def test_without_an_order_there_is_none() -> None:
    made = incremental()
    assert (made.progress, made.figures, made.is_running, made.due(99)) == (None, {}, False, None)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish.RUN, IncrementalState.RUNNING),
        (Wish.PAUSE, IncrementalState.PAUSED),
        (Wish.STOP, IncrementalState.STOPPED),
    ],
)
def test_an_order_is_taken_up_as_it_is_wished(wish: Wish, expected: IncrementalState) -> None:
    made = incremental()
    made.obey(ORDER.model_copy(update={"wish": wish}))
    assert state(made) == expected
    assert made.is_running == (wish is Wish.RUN)


def test_the_same_order_goes_on_where_it_was() -> None:
    made = incremental(HALF_WAY)
    made.obey(ORDER)
    assert made.progress == HALF_WAY
    made.obey(ORDER.model_copy(update={"wish": Wish.PAUSE}))
    assert made.progress is not None
    assert (made.progress.state, made.progress.last_key) == (IncrementalState.PAUSED, ("499",))


def test_an_operation_that_has_ended_is_over_and_keeps_no_key() -> None:
    made = incremental(HALF_WAY)
    made.obey(ORDER.model_copy(update={"wish": Wish.STOP}))
    made.obey(ORDER)
    assert made.progress is not None
    assert (made.progress.state, made.progress.rows) == (IncrementalState.STOPPED, 500)
    assert made.progress.last_key == ()


def test_another_operation_begins_at_the_beginning() -> None:
    made = incremental(HALF_WAY)
    made.obey(ORDER.model_copy(update={"operation": "2f"}))
    assert made.progress == IncrementalProgress("2f", TABLE)


def test_a_table_that_is_not_captured_fails_with_the_reason() -> None:
    made = incremental(None, "public.other")
    made.obey(ORDER)
    assert made.due(99) is None
    assert made.progress is not None
    assert made.progress.state is IncrementalState.FAILED
    assert f"table {TABLE} is not captured" in made.progress.reason
