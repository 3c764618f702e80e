"""What the commands that run until they are stopped have in common."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exchange.settings import Settings


def on_signal(stop: Callable[[], object]) -> None:
    """Call `stop` at each SIGTERM and Ctrl-C from now on."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def run_each(settings: Settings, commands: Mapping[str, list[str]]) -> None:
    """Run several commands of `exchange`, by name, and restart them, until SIGTERM or Ctrl-C."""
    from exchange.local import Supervisor

    stopping = threading.Event()
    on_signal(stopping.set)
    with Supervisor(settings, dict(commands)):
        stopping.wait()
