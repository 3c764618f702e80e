"""What many viewers of the console cost: each gets the overview once a second, as browsers do.

Something is stored all the while, as on a bus at work: of one that rests, little is asked.

The viewers are a process of their own: `python -m bench.viewers URL VIEWERS SECONDS`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import uvicorn
from pydantic import SecretStr

from exchange.errors import PartError
from exchange.identity.caller import Sight
from exchange.plan import PublishedPlan
from monitor.api.app import build
from monitor.api.models import AccountsProgress, Health, Status
from monitor.clickhouse.client import ClickHouse
from monitor.figures import Figures
from monitor.glance import Known, overview_of
from monitor.overview import Overview
from monitor.readers import Readers
from monitor.registry.store import Store
from monitor.service import listen

VIEWERS: Final = 50
_SECONDS: Final = 15.0
_PATH: Final = "/api/live"
_EVENT: Final = "event: overview"
_HOST: Final = "127.0.0.1"
_STORED_EVERY_S: Final = 0.2
_ENDS: Final = ("topic", "partition", "end_offset", "at_ms")


def cpu_cores(clickhouse: ClickHouse) -> float:
    """Return how many cores serving all viewers takes, ClickHouse's queries included.

    Raises: PartError when a viewer got no answer.
    """
    figures = Figures(clickhouse, _now_ms)
    with _served(figures) as url, _at_work(clickhouse):
        httpx.get(url + "/api/overview", timeout=30, trust_env=False).raise_for_status()
        began, used = time.monotonic(), time.process_time()
        command = [sys.executable, "-m", "bench.viewers", url, str(VIEWERS), str(_SECONDS)]
        done = subprocess.run(command, check=False, timeout=10 * _SECONDS)
        cores = (time.process_time() - used) / (time.monotonic() - began)
    if done.returncode:
        msg = "a viewer got no answer from the monitor's API"
        raise PartError(msg)
    return cores


class _Nobody:
    """No parts to tell of: only the figures are asked for."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def health(self) -> Health:
        return Health(ok=True, parts={})

    def status(self) -> Status:
        raise NotImplementedError

    def glance(self, seen: Sight | None = None) -> Overview:
        known = Known(at_ms=_now_ms(), parts={}, workers=(), silent=(), plan=None)
        return overview_of(known, self._figures, Readers())

    def plan(self) -> PublishedPlan | None:
        return None

    def readers_of(self, view_topic: str) -> tuple[str, ...] | None:
        return None

    def progress(self) -> AccountsProgress:
        raise NotImplementedError

    def alerts(self) -> None:
        return None


@contextmanager
def _served(figures: Figures) -> Iterator[str]:
    listening = listen(_HOST, 0)
    app = build(_Nobody(figures), figures, Store({}), SecretStr(""))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://{_HOST}:{listening.getsockname()[1]}"
    finally:
        app.state.live.close()
        server.should_exit = True
        thread.join()


@contextmanager
def _at_work(clickhouse: ClickHouse) -> Iterator[None]:
    """Store a row that is in no figure, five times a second."""
    over = threading.Event()

    def store() -> None:
        while not over.wait(_STORED_EVERY_S):
            clickhouse.insert("topic_ends", _ENDS, [("raw.bench.public.t0", 0, 1, 0)])

    thread = threading.Thread(target=store)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _view(client: httpx.AsyncClient, url: str, seconds: float) -> None:
    """Read a stream for so long; raise where it brings less than half of what it ought to."""
    until, seen = time.monotonic() + seconds, 0
    async with client.stream("GET", url + _PATH) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            seen += line == _EVENT
            if time.monotonic() >= until:
                break
    if seen < seconds / 2:
        msg = f"{seen} frames in {seconds:.0f} s"
        raise PartError(msg)


async def _look(url: str, viewers: int, seconds: float) -> None:
    limits = httpx.Limits(max_connections=viewers)
    async with httpx.AsyncClient(timeout=30, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(_view(client, url, seconds) for _ in range(viewers)))


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
