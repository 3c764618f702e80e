"""Children of one parent: who is started again, and who ends all of them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from exchange import children, restarts
from exchange.children import Children
from exchange.commands.stream import _commands
from exchange.restarts import Restarts
from tests.stack import wait_for

WAITS = "import time; time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def counting(file: Path, ending: str) -> list[str]:
    """Return a child that notes each of its starts in a file and then does what is said."""
    return python(f"import os, signal; open({str(file)!r}, 'a').write('x'); {ending}")


def run(made: Children) -> tuple[threading.Thread, list[int]]:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(made.run()))
    thread.start()
    return thread, codes


def starts(file: Path) -> int:
    return len(file.read_text()) if file.exists() else 0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restarts, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(children, "_POLL_S", 0.02)


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_who_asks_for_it_or_was_killed_is_started_again(tmp_path: Path, ending: str) -> None:
    made = Children({"a": counting(tmp_path / "a", ending), "b": python(WAITS)})
    thread, codes = run(made)
    wait_for(lambda: starts(tmp_path / "a") >= 3, "three starts")
    made.stop()
    thread.join(30)
    assert codes == [0]


def test_one_for_whom_a_person_must_act_ends_all(tmp_path: Path) -> None:
    thread, codes = run(Children({"a": counting(tmp_path / "a", "raise SystemExit(1)"), "b": python(WAITS)}))
    thread.join(30)
    assert codes == [1]
    assert starts(tmp_path / "a") == 1


def test_all_that_were_stopped_by_others_end_their_parent() -> None:
    thread, codes = run(Children({"a": python("pass"), "b": python("pass")}))
    thread.join(30)
    assert codes == [0]


def test_waits_between_restarts_double_up_to_a_bound_and_begin_anew_after_a_healthy_run() -> None:
    made = Restarts()
    waits = [made.next_wait_s(1) for _ in range(12)]
    assert waits[:3] == [0.01, 0.02, 0.04]
    assert waits[-1] == restarts.LONGEST_WAIT_S
    assert made.next_wait_s(restarts.HEALTHY_S + 1) == 0.01


def test_several_workers_have_names_of_their_own() -> None:
    commands = _commands("east", 2, accept_refusals=True)
    assert list(commands) == ["stream-east-0", "stream-east-1"]
    assert commands["stream-east-1"][-3:] == ["--worker-id", "east-1", "--accept-refusals"]
