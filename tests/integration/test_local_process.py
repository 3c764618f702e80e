"""Background processes and their supervisor, with real child processes and no other part."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from os import kill
from pathlib import Path

import pytest

from exchange import local
from exchange.errors import PartError
from exchange.local import process
from exchange.local.home import Home
from exchange.settings import Settings
from tests.stack import wait_for

STEADY = """
import signal, sys, time
print("args", sys.argv[1:], flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(0.05)
"""
FAILING = "import sys; print('tried', flush=True); sys.exit(3)"
DONE = "print('tried', flush=True)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def children_run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def run(script: str) -> None:
        monkeypatch.setattr("exchange.local.stack.OWN_COMMAND", (sys.executable, "-c", script))

    return run


def _log(settings: Settings, name: str) -> str:
    file = settings.root / "logs" / f"{name}.log"
    return file.read_text() if file.exists() else ""


def test_a_spawned_part_runs_on_with_its_arguments_until_down(
    settings: Settings, children_run: Callable[[str], None]
) -> None:
    children_run(STEADY)
    pid = local.spawn(settings, "connect-a", ["connect", "a"])
    wait_for(lambda: "args ['connect', 'a']" in _log(settings, "connect-a"), "the child has started")
    shown = {part.part: part for part in local.status(settings)}["connect-a"]
    assert (shown.state, shown.pid) == ("running", pid)
    with pytest.raises(PartError, match=f"connect-a: runs already, as process {pid}"):
        local.spawn(settings, "connect-a", ["connect", "a"])
    assert local.down(settings) == ["connect-a"]
    assert Home(settings.root).state().parts == {}


def test_a_process_that_ignores_sigterm_is_killed_after_its_time(tmp_path: Path) -> None:
    log = tmp_path / "deaf.log"
    running = process.start([sys.executable, "-c", STUBBORN], log, stop_timeout_s=0.3)
    wait_for(lambda: "deaf" in log.read_text(), "the child ignores SIGTERM")
    process.stop(running)
    assert not process.alive(running)
    assert process.exit_code(running) == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PartError, match="/no/such/program: cannot be started"):
        process.start(["/no/such/program"], tmp_path / "x.log")


def test_a_helper_that_fails_shows_its_stderr_and_not_its_stdout() -> None:
    script = "import sys; print('verifier'); sys.exit('disk full')"
    with pytest.raises(PartError, match="exit code 1\ndisk full") as raised:
        process.run([sys.executable, "-c", script])
    assert "verifier" not in str(raised.value)


def test_the_tail_of_a_log_is_its_last_lines_without_endless_ones(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)) + "x" * 1000)
    shown = process.tail(log, 3).splitlines()
    assert shown[:2] == ["  line 98", "  line 99"]
    assert len(shown[2]) == 402
    assert process.tail(tmp_path / "none.log") == "  (no log)"


def test_the_supervisor_restarts_what_fails_ever_more_slowly(
    settings: Settings, children_run: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    children_run(FAILING)
    monkeypatch.setattr("exchange.restarts.FIRST_WAIT_S", 0.01)
    with local.Supervisor(settings, {"worker": ["stream"]}) as supervisor:
        wait_for(lambda: supervisor.restarts("worker") >= 3, "three restarts")
    assert _log(settings, "worker").count("tried") >= 3
    assert local.down(settings) == []


def test_the_supervisor_leaves_what_ended_well(
    settings: Settings, children_run: Callable[[str], None]
) -> None:
    children_run(DONE)
    with local.Supervisor(settings, {"worker": ["stream"]}) as supervisor:
        wait_for(lambda: supervisor.pid("worker") is None, "the child has ended")
        assert supervisor.restarts("worker") == 0


def test_the_supervisor_restarts_a_killed_child_and_stops_it_at_the_end(
    settings: Settings, children_run: Callable[[str], None]
) -> None:
    children_run(STEADY)
    with local.Supervisor(settings, {"worker": ["stream"]}) as supervisor:
        first = wait_for(lambda: supervisor.pid("worker"), "the child runs")
        kill(first, signal.SIGKILL)
        second = wait_for(
            lambda: supervisor.restarts("worker") == 1 and supervisor.pid("worker"), "the child runs again"
        )
        assert second != first
        last = Home(settings.root).state().parts["worker"]
    assert not process.alive(last)


def test_down_is_the_last_word_for_a_supervised_child(
    settings: Settings, children_run: Callable[[str], None]
) -> None:
    children_run(STUBBORN)
    with local.Supervisor(settings, {"worker": ["stream"]}) as supervisor:
        wait_for(lambda: "deaf" in _log(settings, "worker"), "the child runs")
        home = Home(settings.root)
        with home.locked(lambda _: None):
            home.remember("worker", home.state().parts["worker"].model_copy(update={"stop_timeout_s": 0.2}))
        assert local.down(settings) == ["worker"]
        wait_for(lambda: supervisor.pid("worker") is None, "the supervisor has seen the end")
        assert supervisor.restarts("worker") == 0


def test_a_supervisor_stops_what_an_earlier_one_left_behind(
    settings: Settings, children_run: Callable[[str], None]
) -> None:
    children_run(STEADY)
    local.spawn(settings, "worker", ["stream"])
    leftover = Home(settings.root).state().parts["worker"]
    with local.Supervisor(settings, {"worker": ["stream"]}) as supervisor:
        assert not process.alive(leftover)
        assert supervisor.pid("worker") not in {None, leftover.pid}
