"""Guards a source against its own connector: what its server keeps for us is seen, alarmed, and bounded.

In a thread of its own: a server's log grows just when Kafka is away and the connector's loop waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Final

from connectors.source import Retained, Watch
from exchange import log
from exchange.errors import ExchangeError, GapError, TransientError
from exchange.plan import PlannedSystem

_log = log.get(__name__)

_EVERY_S: Final = 5.0
_REMIND_EVERY_S: Final = 60.0
_NOTHING: Final = Retained({})


class Guard:
    """start → heed* → stop. One for each connector; without a watch it does nothing."""

    def __init__(self, system: PlannedSystem, watch: Watch | None) -> None:
        self._system = system
        self._watch = watch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="guard", daemon=True)
        self._seen = _NOTHING
        self._told = ("", 0.0)

    @property
    def figures(self) -> Mapping[str, int | str]:
        """What the server keeps, for the heartbeat; empty while that is not known."""
        return self._seen.figures

    @property
    def alarms(self) -> list[str]:
        """What a person must know now."""
        return [self._seen.alarm] if self._seen.alarm else []

    def start(self) -> None:
        """Begin to look."""
        if self._watch is not None:
            self._thread.start()

    def heed(self) -> None:
        """Halt where the limit is passed and the topology says that the source goes first.

        Called where no stream is open. Raises: GapError once the server has forgotten what it kept;
        TransientError while it cannot yet, to be called again.
        """
        alarm = self._seen.alarm
        if self._watch is None or not self.must_release:
            return
        self.stop()
        self._watch.release()
        self._watch.close()
        msg = (
            f"{alarm}. As the topology says (protect_by: drop_slot), slot {self._system.slot} was dropped so "
            "that the server may forget its log; changes are missing from here on, and nothing is captured "
            f"until `exchange resnapshot {self._system.name}` reads all tables anew"
        )
        raise GapError(msg)

    @property
    def must_release(self) -> bool:
        """Whether the stream is to be closed for `heed`."""
        return self._seen.past_limit and self._system.protect_by == "drop_slot"

    def stop(self) -> None:
        """Look no longer. May be called twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look_after(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(_EVERY_S)
        if self._watch is not None:
            self._watch.close()

    def _look(self) -> None:
        """Look once. A source that does not answer is the stream's matter; what was seen last is dropped."""
        if self._watch is None:
            return
        try:
            self._seen = self._watch.look()
        except TransientError:
            self._seen = _NOTHING
        except ExchangeError as error:
            self._seen = Retained({}, f"what its server keeps for the bus is not known: {error}")
        self._tell()

    def _tell(self) -> None:
        """Log an alarm when it is new, and again every minute while it is urgent."""
        seen, now = self._seen, time.monotonic()
        kind = f"{seen.figures.get('wal_status')} {seen.past_limit}" if seen.alarm else ""
        again = seen.urgent and now - self._told[1] > _REMIND_EVERY_S
        if kind == self._told[0] and not again:
            return
        if seen.alarm:
            say = _log.error if seen.urgent else _log.warning
            say(
                "source_keeps_log",
                system=self._system.name,
                slot=self._system.slot,
                bytes=seen.figures.get("retained_wal_bytes"),
                state=seen.figures.get("wal_status"),
                reason=seen.alarm,
            )
        elif self._told[0]:
            _log.info("source_keeps_log_no_longer", system=self._system.name, slot=self._system.slot)
        self._told = (kind, now)
