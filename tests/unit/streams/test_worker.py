"""A worker whose Faust has crashed ends to be started anew; no Kafka is needed for that."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from streams.worker import RESTART, Worker
from tests.stack import wait_for
from tests.unit.streams.fakes import FakePipeline

NOBODY = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}


class NoOutbox:
    """A producer that is never asked for anything."""

    def start(self) -> None:
        """Connect to nothing."""

    def abort(self) -> None:
        """Abort nothing."""

    def close(self) -> None:
        """Close nothing."""


def test_a_worker_ends_at_once_when_faust_has_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(NOBODY, "stream-0", ["raw.a"], FakePipeline())
    monkeypatch.setattr(worker, "_outbox", NoOutbox())
    monkeypatch.setattr(worker.stage, "_outbox", NoOutbox())
    monkeypatch.setattr(worker, "_force_end_later", lambda: None)  # it would end the test's own process
    codes: list[Any] = []
    thread = threading.Thread(target=lambda: codes.append(worker.run()))
    thread.start()
    app = wait_for(
        lambda: worker._app if worker._app and worker._app.started else None, "the app has started"
    )
    assert worker._loop is not None
    asyncio.run_coroutine_threadsafe(app.crash(RuntimeError("planted")), worker._loop)
    thread.join(60)
    worker.stop()
    assert codes == [RESTART]
