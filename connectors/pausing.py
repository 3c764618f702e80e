"""Whether this connector is to write nothing, as a person wants it; see exchange/pauses.py."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from exchange.pauses import Pause, Pauses


class Pausing:
    """wanted* → close. What cannot be read ends the round: it may be that nothing is to be written."""

    def __init__(self, client: dict[str, Any], system: str) -> None:
        self._topic = Pauses(client, system)
        self._newest: Pause | None = None
        self._was_read = False

    def wanted(self) -> Pause | None:
        """Return the pause in force, None when there is none; never waits but the first time.

        Raises: PartError when it cannot be read; TransientError when Kafka is away.
        """
        if self._was_read:
            self._newest = self._topic.newer() or self._newest
        else:
            self._newest = self._topic.read()
            self._was_read = True
        return self._newest if self._newest is not None and self._newest.is_wanted else None

    def close(self) -> None:
        """Close the reader."""
        self._topic.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
