"""Heartbeats are for eyes only: nothing may depend on Redis being there."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog

from exchange import heartbeat, log
from exchange.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose Redis is a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    nowhere = "http://127.0.0.1:9"
    return Settings(
        home=tmp_path,
        kafka_bootstrap="127.0.0.1:9",
        registry_url=nowhere,
        api_url=nowhere,
        clickhouse_url=nowhere,
        redis_url=f"redis://127.0.0.1:{port}",
    )


def test_without_redis_a_heartbeat_is_lost_without_an_error(settings: Settings) -> None:
    with heartbeat.connect(settings) as client:
        heartbeat.publish(client, "process", "stream-0", "running", {"records": 1}, [])


@pytest.fixture
def logging_as_a_process_does() -> Iterator[None]:
    log.configure("INFO")
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


@pytest.mark.usefixtures("logging_as_a_process_does")
def test_a_full_or_read_only_redis_stops_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise redis.ResponseError

    with heartbeat.connect(settings) as client:
        monkeypatch.setattr(client, "set", refuse)
        monkeypatch.setattr(heartbeat, "_away", False)
        heartbeat.publish(client, "process", "stream-0", "running", {}, [])

    assert "heartbeats_unseen" in capsys.readouterr().err
