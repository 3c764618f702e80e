"""One look at the figures after another, put into the view."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from exchange import local
from exchange.demo.figures import Figures, MonitorApi
from exchange.demo.samples import Samples
from exchange.demo.screen import View
from exchange.demo.traffic import Traffic
from exchange.errors import TransientError

LOOK_EVERY_S: Final = 2.0
"""Each look has the monitor ask ClickHouse fifteen questions, whose time is lost to the records."""
WEEK_S: Final = 7 * 86_400
_LINE_EVERY_S: Final = 5.0
_WINDOW_S: Final = 60
_SHORTEST_WINDOW_S: Final = 10


class Look:
    """Asks the API and puts the answer into the view."""

    def __init__(
        self,
        monitor: MonitorApi,
        view: View,
        supervisor: local.Supervisor,
        children: tuple[str, ...],
        traffic: Traffic,
    ) -> None:
        self.view = view
        self.samples: Samples | None = None
        self.began: float | None = None
        """When the traffic began: delays from before are not of interest."""
        self.longest_window_s = _WINDOW_S
        self._monitor = monitor
        self._supervisor = supervisor
        self._children = children
        self._traffic = traffic

    def take(self) -> Figures:
        """Return the figures of now; while the monitor does not answer, ask again for half a minute.

        Raises: TransientError after that.
        """
        view = self.view
        for left in reversed(range(30)):
            try:
                figures = self._monitor.figures(self._window_s())
                break
            except TransientError as error:
                view.troubles = (str(error),)
                if not left:
                    raise
                time.sleep(LOOK_EVERY_S)
        view.figures = figures
        view.rates.add(time.monotonic(), figures.totals.delivered)
        view.troubles = tuple(self._traffic.troubles())
        view.children = {name: self._state(name) for name in self._children}
        if self.samples is not None:
            view.pair = self.samples.latest
        return figures

    def _window_s(self) -> int:
        passed_s = math.ceil(time.monotonic() - self.began) if self.began is not None else _WINDOW_S
        return max(_SHORTEST_WINDOW_S, min(passed_s, self.longest_window_s))

    def _state(self, name: str) -> str:
        restarts = self._supervisor.restarts(name)
        state = "running" if self._supervisor.pid(name) is not None else "restarting"
        return f"{state} (restarted {restarts}×)" if restarts else state


class Lines:
    """A line of figures every five seconds."""

    def __init__(self, view: View, say: Callable[[str], None]) -> None:
        self._view = view
        self._say = say
        self._last = 0.0

    def __call__(self) -> None:
        """Say the line when it is time for one."""
        if time.monotonic() - self._last >= _LINE_EVERY_S:
            self._last = time.monotonic()
            self._say(self._view.line())
