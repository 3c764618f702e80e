"""Several processes of one command under one parent, which starts them anew and ends them together."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from exchange import log
from exchange.restarts import Restarts

RESTART: Final = 3
_POLL_S: Final = 0.1
_STOP_S: Final = 60.0
"""A worker ends itself by force 40 s after it was told to stop."""

_log = log.get(__name__)


class Children:
    """Runs each command as a child that writes to this process's own stdout and stderr.

    exit 0            stopped as asked: it is not started again
    exit 3, or killed it is started again, after a while that grows
    anything else     a person must act: all the others are stopped too
    """

    def __init__(self, commands: Mapping[str, Sequence[str]]) -> None:
        self._children = [_Child(name, command) for name, command in commands.items()]
        self._stopping = threading.Event()
        self._exit_code = 0

    def stop(self) -> None:
        """End all of them. Called from a signal handler or any thread."""
        self._stopping.set()

    def run(self) -> int:
        """Run until stopped, or until no child is left; return 1 when a person must act, else 0."""
        try:
            while not self._stopping.wait(_POLL_S):
                for child in self._children:
                    self._look_after(child)
                if all(child.is_done for child in self._children):
                    break
        finally:
            self._stop_all()
        return self._exit_code

    def _look_after(self, child: _Child) -> None:
        if child.process is None:
            if not child.is_done and time.monotonic() >= child.due:
                child.start()
            return
        code = child.process.poll()
        if code is None:
            return
        child.process = None
        if code == 0:
            child.is_done = True
        elif code == RESTART or code < 0:
            wait_s = child.restarts.next_wait_s(time.monotonic() - child.began)
            child.due = time.monotonic() + wait_s
            _log.warning("child_restarts", part=child.name, exit_code=code, retry_after_s=wait_s)
        else:
            _log.error("child_failed", part=child.name, exit_code=code)
            child.is_done, self._exit_code = True, 1
            self._stopping.set()

    def _stop_all(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        give_up_at = time.monotonic() + _STOP_S
        for process in running:
            try:
                process.wait(max(0.0, give_up_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Child:
    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = Restarts()
        self.began = self.due = 0.0
        self.is_done = False

    def start(self) -> None:
        self.process = subprocess.Popen(self.command)
        self.began = time.monotonic()
