"""Whether this connector is to write nothing, as a person wants it; see exchange/pauses.py."""

from __future__ import annotations

from exchange.pauses import Pause, Pauses


class Pausing(Pauses):
    """wanted* → close. What cannot be read ends the round: it may be that nothing is to be written."""

    def wanted(self) -> Pause | None:
        """Return the pause in force, None when there is none; never waits but the first time.

        Raises: PartError when it cannot be read; TransientError when Kafka is away.
        """
        pause = self.current()
        return pause if pause is not None and pause.is_wanted else None
