"""What many viewers of the monitor's API cost: each asks for routes and balance once a second.

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
from monitor.api.app import build
from monitor.api.models import AccountsProgress, Health, Status
from monitor.clickhouse.client import ClickHouse
from monitor.figures import Figures
from monitor.registry.store import Store
from monitor.service import listen

VIEWERS: Final = 50
_SECONDS: Final = 15.0
_PATHS: Final = ("/api/routes", "/api/accounts/balance")
_HOST: Final = "127.0.0.1"


def cpu_cores(clickhouse: ClickHouse) -> float:
    """Return how many cores serving all viewers takes, ClickHouse's queries included.

    Raises: PartError when a viewer got no answer.
    """
    figures = Figures(clickhouse, lambda: time.time_ns() // 1_000_000)
    with _served(figures) as url:
        httpx.get(url + _PATHS[0], timeout=30, trust_env=False).raise_for_status()
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

    def health(self) -> Health:
        return Health(ok=True, parts={})

    def status(self) -> Status:
        raise NotImplementedError

    def progress(self) -> AccountsProgress:
        raise NotImplementedError

    def alerts(self) -> None:
        return None


@contextmanager
def _served(figures: Figures) -> Iterator[str]:
    listening = listen(_HOST, 0)
    app = build(_Nobody(), figures, Store({}), SecretStr(""))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://{_HOST}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


async def _view(client: httpx.AsyncClient, url: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        for path in _PATHS:
            (await client.get(url + path)).raise_for_status()
        await asyncio.sleep(max(0.0, now + 1 - time.monotonic()))


async def _look(url: str, viewers: int, seconds: float) -> None:
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        await asyncio.gather(*(_view(client, url, seconds) for _ in range(viewers)))


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
