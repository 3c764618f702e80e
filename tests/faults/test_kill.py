"""kill -9 of connector and worker at random points under load; the judge compares after every seed.

kill -9 leaves the page cache alone: what the operating system took, stays. A lost machine is another test.
"""

from __future__ import annotations

import os
import random
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.checkers.journey import Kind
from tests.faults.planted import AHEAD, EARLY
from tests.stack import wait_for
from tests.trial.bus import CITY, COMMANDS, RAW, Child, TrialBus, Watch
from tests.trial.load import load

PLANTED = Path(__file__).parent / "planted.py"
SEEDS = int(os.environ.get("EXCHANGE_FAULT_SEEDS", "12"))
FIRST_SEED = int(os.environ.get("EXCHANGE_FIRST_FAULT_SEED", "1"))
"""A failed seed alone: EXCHANGE_FAULT_SEEDS=1 EXCHANGE_FIRST_FAULT_SEED=<seed>."""


@pytest.fixture(scope="module")
def watch(bus: TrialBus) -> Watch:
    """The load truncates, which no snapshot is proof against: it begins once the connector has its own."""
    watch = bus.watch("judge")
    bus.start()
    wait_for(lambda: "stream_started" in bus.child("connector").text(), "the connector's snapshot is over")
    return watch


def test_without_faults_everything_arrives_once(bus: TrialBus, watch: Watch) -> None:
    """The control for all that follows: the same load, nobody killed."""
    with load(bus, seed=0, truncates=True):
        watch.until("records of the load are readable", lambda: watch.journey.count(CITY) > 200)
    assert watch.settle() == []
    assert watch.journey.outstanding == 0


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_kill_9_loses_nothing_and_doubles_nothing(bus: TrialBus, watch: Watch, seed: int) -> None:
    """Connector and worker, one after the other or both at once; each after it was seen to get on."""
    chance = random.Random(seed)
    targets = chance.choice([["connector", "worker"], ["worker", "connector"], ["connector worker"]])
    with load(bus, seed, truncates=True):
        for names in targets:
            topic = CITY if "worker" in names else RAW
            enough = watch.journey.count(topic) + chance.randint(1, 60)
            watch.until(f"{topic} goes on", partial(has, watch, topic, enough))
            strike(bus, names.split(), chance)
    assert watch.settle() == [], f"seed {seed}"
    assert watch.journey.outstanding == 0
    assert not bus.stood_still


def test_a_commit_before_the_outputs_is_found_out(bus: TrialBus) -> None:
    """Control: the same judge, a worker that commits its offsets early and is killed just then."""
    watch = bus.watch("early", from_now=True)
    planted = swap(bus, "worker", "early-commit")
    with load(bus, seed=1, truncates=True):
        watch.until("the fault has happened", lambda: EARLY in planted.text())
        planted.kill()
        bus.start("worker")
        see_progress(watch)
    assert {problem.kind for problem in watch.drain()} == {Kind.LOST}


def test_a_skipped_record_is_found_out(bus: TrialBus) -> None:
    """Control: the same judge, a worker that drops every twentieth record."""
    watch = bus.watch("skip", from_now=True)
    planted = swap(bus, "worker", "skip")
    with load(bus, seed=2, truncates=True):
        see_progress(watch)
        see_progress(watch)
        planted.kill()
        bus.start("worker")
    assert {problem.kind for problem in watch.drain()} == {Kind.LOST}


def test_a_position_ahead_of_its_changes_is_found_out(bus: TrialBus) -> None:
    """Control: the same judge, a connector that commits its position first and is killed just then."""
    watch = bus.watch("ahead", from_now=True)
    planted = swap(bus, "connector", "position-first")
    with load(bus, seed=3, truncates=True):
        watch.until("the fault has happened", lambda: AHEAD in planted.text())
        planted.kill()
        bus.start("connector")
        see_progress(watch)
    assert {problem.kind for problem in watch.drain()} == {Kind.LOST}


def swap(bus: TrialBus, name: str, fault: str) -> Child:
    """Stop connector or worker and start one with a fault built in."""
    bus.stop(name)
    planted = bus.stand_in(name, [str(PLANTED), fault, *COMMANDS[name]])
    planted.start()
    return planted


def see_progress(watch: Watch) -> None:
    """Wait until another hundred records are readable in the first view."""
    enough = watch.journey.count(CITY) + 100
    watch.until("records of the load are readable", lambda: watch.journey.count(CITY) >= enough)


def has(watch: Watch, topic: str, records: int) -> bool:
    return watch.journey.count(topic) >= records


def strike(bus: TrialBus, names: list[str], chance: random.Random) -> None:
    """Kill at a moment that the transactions don't know, and start again at once."""
    threading.Event().wait(chance.random() * 0.05)  # this is the random point, not a wait for anything
    for name in names:
        bus.child(name).kill()
    bus.start(*names)
