"""A stream worker's life: start, process rounds until told to stop, and exit with what comes next.

exit 0   asked to stop; the open transaction was aborted
exit 3   start me again: another plan needs other topics, no progress, or Kafka ended the producer or consumer
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from faust.types import TP

from exchange import log
from exchange.blockio import native_client
from streams.app import GROUP, StreamApp, build_app
from streams.breaker import Breaker
from streams.poller import Parked, Poller
from streams.processors import declare_agent
from streams.stage import Pipeline, Stage
from streams.transaction import Outbox
from streams.watchdog import Watchdog

RESTART: Final = 3
_STOP_S: Final = 40.0
"""A worker that has not ended so long after it was told to is ended by force: an open transaction outlives it
by at most as long as Kafka keeps one."""
_OTHERS_TURN_S: Final = 0.0005
"""After so long a thread that reads or commits is let in beside the one that processes: in Python's own 5 ms
some two thousand records are processed, and each of the two has to be let in ten times a round or more."""

_log = log.get(__name__)


class Worker:
    """One process's part of the consumer group.

    1 start the transactional producer, which fences an earlier worker of the same name
    2 start Faust: subscribe, be assigned partitions, process rounds
    3 when asked to, on a fatal error or when Faust crashed: stop Faust, which aborts the round in process and
      leaves the group
    """

    def __init__(
        self,
        client: dict[str, Any],
        worker: str,
        topics: Iterable[str],
        pipeline: Pipeline,
        *,
        accept_refusals: bool = False,
        group: str = GROUP,
    ) -> None:
        self.worker = worker
        self._client = client
        self._topics = sorted(topics)
        self._stopping = threading.Event()
        self._outbox = Outbox(client, worker, self._stopping)
        self.stage = Stage(self._outbox, pipeline, Breaker(accept_refusals=accept_refusals), self.restart)
        self._group = group
        self._app: StreamApp | None = None
        self._exit_code = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        sys.setswitchinterval(_OTHERS_TURN_S)
        return asyncio.run(self._run())

    def stop(self) -> None:
        """End with exit code 0. Called from any thread."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._force_end_later()
            if self._loop is not None and self._stopped is not None:
                self._loop.call_soon_threadsafe(self._stopped.set)

    def restart(self, reason: BaseException) -> None:
        """End with exit code 3. Called from any thread."""
        if not self._stopping.is_set():
            _log.error("worker_ends", worker=self.worker, exit_code=RESTART, exc_info=reason)
            self._exit_code = RESTART
            self.stop()

    @property
    def assigned(self) -> frozenset[TP]:
        """Partitions assigned now."""
        return frozenset() if self._poller is None else self._poller.assigned

    @property
    def parked(self) -> dict[TP, Parked]:
        """Partitions that are halted now."""
        return {} if self._poller is None else self._poller.parked

    @property
    def _poller(self) -> Poller | None:
        return None if self._app is None else self._app.poller

    async def _run(self) -> int:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        thread = ThreadPoolExecutor(1, thread_name_prefix="stage")
        watchdog = Watchdog(self._client, self._reached, self._on_stuck)
        try:
            await self._loop.run_in_executor(thread, self._outbox.start)
            await self._start_app(thread)
            watchdog.start()
            _log.info(
                "worker_ready",
                worker=self.worker,
                plan_version=self.stage.plan_version,
                native=native_client() is not None,
            )
            await self._told_to_stop(self._stopped)
        except Exception as error:
            self.restart(error)
        finally:
            watchdog.stop()
            await self._stop_app()
            await self._loop.run_in_executor(thread, self.stage.close)
            await self._loop.run_in_executor(thread, self._outbox.close)
            thread.shutdown()
        _log.info("worker_ended", worker=self.worker, exit_code=self._exit_code)
        return self._exit_code

    async def _start_app(self, thread: ThreadPoolExecutor) -> None:
        self._app = build_app(
            self._client, self.worker, self._topics, self.stage, self.restart, group=self._group
        )
        declare_agent(self._app, self._topics, self.stage, thread)
        self._app.finalize()
        await self._app.start()

    async def _told_to_stop(self, stopped: asyncio.Event) -> None:
        """Wait until told to stop. A Faust that has crashed tells nobody, it only hands out nothing more."""
        if self._app is None:
            return
        ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(self._app.wait_until_stopped())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if self._app.crashed:
            self.restart(self._app.crash_reason or RuntimeError())

    async def _stop_app(self) -> None:
        if self._app is not None:
            await self._app.stop()

    def _reached(self) -> dict[TP, int]:
        if self._poller is None:
            return {}
        return {tp: at.reached for tp, at in dict(self._poller.progress).items() if tp not in self.parked}

    def _on_stuck(self, tp: TP, still_s: float) -> None:
        _log.error("no_progress", topic=tp.topic, partition=tp.partition, waited_s=round(still_s))
        self.restart(TimeoutError())

    def _force_end_later(self) -> None:
        timer = threading.Timer(_STOP_S, lambda: os._exit(self._exit_code or RESTART))
        timer.daemon = True
        timer.start()
