"""A view is added to a running resource: its history is filled, and nobody else hears of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.checkers.committed import CommittedReader
from tests.stack import wait_for
from tests.trial.growing import LAST, NEW, NEW_VIEW, OLD, SYSTEM, Bus, growing_bus, writing

ROWS = 3_000


@pytest.fixture
def bus() -> Iterator[Bus]:
    with growing_bus(ROWS) as running:
        yield running


def test_a_new_view_gets_its_history_and_the_others_get_nothing_again(bus: Bus) -> None:
    admin = bus.stack.settings.kafka_client("admin")
    old = CommittedReader(admin, [OLD])
    with bus.process("connect", SYSTEM) as connector, bus.process("stream"):
        bus.arrives(old, key=ROWS)
        with writing(bus, ROWS):
            bus.declare(NEW_VIEW)
            assert "--table public.thing --view new` sends it" in bus.run("apply", "--yes", "--json")
            bus.run("snapshot", "start", SYSTEM, "--table", "public.thing", "--view", "new")
            wait_for(lambda: bus.progress().state != "ordered", "its beginning", 120)
            connector.send_signal(signal.SIGKILL)
            connector.wait(60)
            with bus.process("connect", SYSTEM):
                wait_for(lambda: bus.progress().state == "complete", "its end", 240)
        with bus.process("connect", SYSTEM), psycopg.connect(bus.dsn, autocommit=True) as db:
            db.execute("INSERT INTO thing VALUES (%s, 'last', 1)", [LAST])
            source = db.execute("SELECT id, note, size FROM thing").fetchall()
            new = CommittedReader(admin, [NEW])
            bus.shows(old, {key: {"id": key, "note": note, "size": size} for key, note, size in source})
            in_scope = [(key, size) for key, note, size in source if note.startswith(("first", "last"))]
            bus.shows(new, {key: {"id": key, "size": size} for key, size in in_scope})
            accounts = wait_for(lambda: _whole(bus.balance(), len(bus.told[OLD])), "the balance", 120)
    old.close()
    new.close()
    assert bus.operations(OLD)["r"] == ROWS  # those of the first snapshot
    assert bus.operations(NEW)["r"] > 0
    for view in (OLD, NEW):
        places = [at for at, *_ in bus.told[view]]
        assert len(set(places)) == len(places)
    (topic,) = accounts["topics"]
    assert topic["foreign_records"] == topic["refused_process"] == 0
    assert (_old_view(accounts)["delivered"], _old_view(accounts)["balanced"]) == (len(bus.told[OLD]), True)


def _whole(balance: dict[str, Any], delivered: int) -> dict[str, Any] | None:
    """The balance once the monitor has the accounts of all that was read of the old view."""
    whole = balance["balanced"] and not balance["in_flight"] and _old_view(balance)["delivered"] >= delivered
    return balance if whole else None


def _old_view(balance: dict[str, Any]) -> dict[str, Any]:
    (topic,) = balance["topics"]
    return next(view for view in topic["views"] if view["view_topic"] == OLD)
