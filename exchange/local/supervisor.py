"""Keeps connectors and workers running: restarts what ended with an error, and stops all in order.

Exit code 0 means "done as asked" and is not followed by a restart; neither is a process that `exchange down`
has struck out of run.json.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final

from exchange import log
from exchange.local import process, stack
from exchange.local.home import Home
from exchange.local.process import Running
from exchange.restarts import Restarts
from exchange.settings import Settings

_POLL_S: Final = 0.1

_log = log.get(__name__)


class _Child:
    def __init__(self, name: str, args: Sequence[str]) -> None:
        self.name = name
        self.args = tuple(args)
        self.running: Running | None = None
        self.began = 0.0
        self.due = 0.0
        self.waits = Restarts()
        self.restarts = 0


class Supervisor:
    """Runs `exchange <args>` for each name in the background, as a context manager.

    Logs are `<home>/logs/<name>.log`.
    """

    def __init__(self, settings: Settings, children: Mapping[str, Sequence[str]]) -> None:
        self._settings = settings
        self._home = Home(settings.root)
        self._children = {name: _Child(name, args) for name, args in children.items()}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        """Start the children; leftovers of an earlier run under the same names are stopped first.

        Raises: PartError when one cannot be started.
        """
        for name in self._children:
            stack.stop(self._settings, name)
        try:
            for child in self._children.values():
                self._start(child)
        except BaseException:
            self._stop_children()
            raise
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the children in reverse order and wait until they are gone."""
        self._stopping.set()
        self._watcher.join()
        self._stop_children()

    def pid(self, name: str) -> int | None:
        """Return the pid of a child, None while it waits for its restart."""
        running = self._children[name].running
        return running.pid if running is not None and process.alive(running) else None

    def restarts(self, name: str) -> int:
        """Return how often a child was restarted."""
        return self._children[name].restarts

    def _start(self, child: _Child) -> None:
        stack.spawn(self._settings, child.name, child.args)
        child.running = self._home.state().parts[child.name]
        child.began = time.monotonic()

    def _stop_children(self) -> None:
        for name in reversed(self._children):
            stack.stop(self._settings, name)

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            for child in self._children.values():
                self._look_after(child)

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.running is not None and not process.alive(child.running):
            self._note_end(child, child.running, now)
        if child.due and now >= child.due:
            child.due = 0.0
            child.restarts += 1
            self._start(child)

    def _note_end(self, child: _Child, ended: Running, now: float) -> None:
        """Decide whether and when a child that ended starts again."""
        code = process.exit_code(ended)
        child.running = None
        if code == 0 or self._home.state().parts.get(child.name) != ended:
            return
        wait_s = child.waits.next_wait_s(now - child.began)
        _log.warning("child_restarts", part=child.name, exit_code=code, retry_after_s=wait_s)
        child.due = now + wait_s
