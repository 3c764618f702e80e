"""How far a benchmark is, told on stderr: stdout is for the answer alone."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Final

_BEGAN: Final = time.monotonic()


def say(text: str) -> None:
    """Write a line with the seconds since the program began."""
    with suppress(OSError):  # a terminal that was closed is no reason to leave parts running
        sys.stderr.write(f"{time.monotonic() - _BEGAN:7.1f} s  {text}\n")
        sys.stderr.flush()
