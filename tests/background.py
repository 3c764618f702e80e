"""Something that makes one transaction after the other beside a test, until it is stopped."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Calls `transaction` in a thread while its context lasts; what failed there is raised at the end."""

    def __init__(self, pause_s: float) -> None:
        """pause_s: between two of them, a pace that leaves the machine to the others."""
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def transaction(self) -> None:
        """Make a few changes."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                self.transaction()
        except BaseException as error:
            self._error = error
