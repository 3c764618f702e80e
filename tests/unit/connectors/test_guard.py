from __future__ import annotations

import pytest

from connectors.guard import Guard
from connectors.source import Retained
from connectors.sources.postgres.slotwatch import judged
from exchange.errors import GapError, SourceError, TransientError
from exchange.plan import PlannedSystem
from tests.stack import wait_for

MIB = 1024**2
SYSTEM = PlannedSystem(
    name="town", connection_env="X", publication="p", slot="s", protect_wal_bytes=100 * MIB
)
DROPPING = SYSTEM.model_copy(update={"protect_by": "drop_slot"})


class Seen:
    """A watch that sees what it is told to."""

    def __init__(self, *sights: Retained | Exception) -> None:
        self.sights = list(sights)
        self.refusals = 0
        self.released = 0

    def look(self) -> Retained:
        sight = self.sights.pop(0) if len(self.sights) > 1 else self.sights[0]
        if isinstance(sight, Exception):
            raise sight
        return sight

    def release(self) -> None:
        if self.refusals:
            self.refusals -= 1
            msg = "still in use"
            raise TransientError(msg)
        self.released += 1

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("row", "alarm", "urgent", "past_limit"),
    [
        ((b"5000000", b"0", b"reserved", None), "", False, False),
        ((b"50000000", b"0", b"extended", None), "wal_status extended", False, False),
        ((b"50000000", b"49000000", b"unreserved", b"-1"), "not captured yet", True, False),
        ((b"104857600", b"0", b"reserved", None), "more than the 100 MiB of protect_wal_bytes", True, True),
        ((b"0", b"0", b"lost", None), "wal_status lost", True, False),
        ((b"0", None, None, None), "wal_status lost", True, False),
    ],
)
def test_what_a_slot_keeps_is_judged_by_size_and_state(
    row: tuple[bytes | None, ...], alarm: str, urgent: bool, past_limit: bool
) -> None:
    found = judged(SYSTEM, row)
    assert alarm in found.alarm
    assert bool(alarm) == bool(found.alarm)
    assert (found.urgent, found.past_limit) == (urgent, past_limit)


def test_an_alarm_is_told_once_and_its_end_too(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = Retained({"wal_status": "extended"}, "much log is kept")
    watch = Seen(wrong, wrong, Retained({"wal_status": "reserved"}))
    guard = Guard(SYSTEM, watch)
    for _ in range(4):
        guard._look()
    said = "".join(capsys.readouterr())
    assert said.count("much log is kept") == 1
    assert said.count("source_keeps_log_no_longer") == 1


def test_a_source_that_refuses_to_say_what_it_keeps_is_an_alarm() -> None:
    guard = Guard(SYSTEM, Seen(SourceError("no right to look")))
    guard._look()
    assert guard.alarms == ["what its server keeps for the bus is not known: no right to look"]
    assert not guard.must_release


def test_past_the_limit_nothing_is_released_unless_the_topology_says_so() -> None:
    watch = Seen(Retained({}, "too much", urgent=True, past_limit=True))
    guard = Guard(SYSTEM, watch)
    guard._look()
    guard.heed()
    assert watch.released == 0


def test_what_the_server_keeps_is_released_once_the_stream_has_let_go() -> None:
    watch = Seen(Retained({}, "too much", urgent=True, past_limit=True))
    watch.refusals = 1
    guard = Guard(DROPPING, watch)
    guard.start()
    wait_for(lambda: guard.must_release, "the first look")
    with pytest.raises(TransientError):
        guard.heed()
    with pytest.raises(GapError, match=r"too much.*slot s was dropped.*exchange resnapshot town"):
        guard.heed()
    assert watch.released == 1
