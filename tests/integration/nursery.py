"""Starts commands for tests by forking a process that has imported the bus: a start costs a fifth.

What is forked is killed, waited for and asked for its exit code like any process; it runs the same `main`.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PRELOADED = (
    "exchange.cli", "exchange.commands.connect", "connectors.runner", "connectors.sources.http.door",
    "connectors.sources.http.source", "connectors.sources.files.source",
    "exchange.apply.work", "streams.worker",
)  # fmt: skip


class Forked:
    """One forked process: what of subprocess.Popen the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"forked {self.pid}", timeout or 0)
        assert self._code is not None
        return self._code

    def send_signal(self, number: int) -> None:
        if self._code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self, code: int) -> None:
        """Note the exit code; minus the signal's number as subprocess has it."""
        self._code = code
        self._ended.set()


class Nursery:
    """The process that forks, on our side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lock = threading.Lock()
        self._children: dict[int, Forked] = {}
        self._started = threading.Semaphore(0)
        self._latest: Forked | None = None
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path, output: Path | None = None
    ) -> Forked:
        """Run Python's `arguments` (a program's path and its own) with its output to a log.

        output: where what it writes to stdout goes instead. Both files are there already.
        """
        order = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "log": str(log),
            "output": str(output or log),
        }
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            assert self._started.acquire(timeout=120), "the nursery does not fork"
            assert self._latest is not None
            return self._latest

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run Python's `arguments` to the end; return what it said. Raises: subprocess.TimeoutExpired."""
        with tempfile.TemporaryDirectory(prefix="exchange-said-") as place:
            said, errors = Path(place) / "stdout", Path(place) / "stderr"
            for file in (said, errors):
                file.touch()
            child = self.start(arguments, environment, errors, said)
            try:
                code = child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
            return subprocess.CompletedProcess(arguments, code, said.read_text(), errors.read_text())

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            pid, code = json.loads(line)
            if code is None:
                self._latest = self._children[pid] = Forked(pid)
                self._started.release()
            else:
                self._children.pop(pid).end(code)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@cache
def nursery() -> Nursery:
    """Return the nursery of this test process; it ends with it."""
    made = Nursery()
    atexit.register(made.close)
    return made


def main() -> None:
    """Fork what is ordered, a line each; tell of each start ([pid, null]) and end ([pid, code]).

    One thread, as only then a fork is whole.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    tell = os.dup(1)
    os.dup2(2, 1)
    ended, told_of_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(told_of_end)
    rest, alive = b"", set[int]()
    while True:
        for ready in select.select([0, ended], [], [])[0]:
            if ready == ended:
                os.read(ended, 1024)
                for pid, code in _reaped():
                    alive.discard(pid)
                    _tell(tell, pid, code)
                continue
            read = os.read(0, 1_000_000)
            if not read:  # the tests are over, or were killed
                for pid in alive:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)  # what was imported takes long to unload
            *orders, rest = (rest + read).split(b"\n")
            for order in orders:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for inherited in (tell, ended, told_of_end):
                        os.close(inherited)
                    _be(json.loads(order))
                alive.add(pid)
                _tell(tell, pid, None)


def _tell(to: int, pid: int, code: int | None) -> None:
    os.write(to, json.dumps([pid, code]).encode() + b"\n")


def _reaped() -> Iterator[tuple[int, int]]:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def _be(order: dict[str, Any]) -> None:
    """Become the process that was ordered; does not return."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        output, log = (os.open(order[name], os.O_WRONLY | os.O_APPEND) for name in ("output", "log"))
        for target, source in ((0, null), (1, output), (2, log)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(order["environment"])
        program, *sys.argv = order["arguments"]
        if program == "-m":
            importlib.import_module(sys.argv[0]).main()
        else:
            sys.argv.insert(0, program)
            runpy.run_path(program, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
