from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from connectors.position import SourcePosition
from connectors.sources.postgres import stream
from connectors.sources.postgres.replication import Keepalive, Replication
from connectors.sources.postgres.stream import Stream
from connectors.sources.postgres.transaction import Transactions
from exchange.change import Position

POSITION = SourcePosition("town", "1", 1, "slot", resume=100)
INSERT = b"I\0\0\0\x01N\0\0"


class Server:
    """Sends one message each so many seconds of a clock of its own."""

    def __init__(self, message: bytes | Keepalive, every_s: float, times: int = 1000) -> None:
        self.now = 0.0
        self._message = message
        self._every_s = every_s
        self._left = times
        self._arrived = False

    def receive(self) -> bytes | Keepalive | None:
        arrived, self._arrived = self._arrived, False
        return self._message if arrived else None

    def wait(self, timeout_s: float) -> bool:
        self._arrived = self._left > 0 and self._every_s <= timeout_s
        self._left -= 1
        self.now += min(self._every_s, timeout_s)
        return self._arrived


@pytest.fixture
def transactions() -> Mock:
    made = Mock(spec=Transactions, resume=100)
    made.take.return_value = [Mock(value=b"", position=Position(9, 200, 0))]
    return made


def stream_of(server: Server, transactions: Mock, monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: server.now))
    replication = Mock(spec=Replication, receive=server.receive, wait=server.wait)
    return Stream(replication, transactions, POSITION)


def test_source_busy_with_other_tables_still_gives_an_empty_batch_each_second(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(Keepalive(200, reply_wanted=False), every_s=0.1)
    assert stream_of(server, transactions, monkeypatch).read().changes == []
    assert server.now == pytest.approx(1, abs=0.2)


def test_first_change_of_steady_ones_waits_a_tenth_of_a_second(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(INSERT, every_s=0.005)
    assert len(stream_of(server, transactions, monkeypatch).read().changes) == pytest.approx(20, abs=3)
    assert server.now == pytest.approx(0.1, abs=0.02)


def test_silence_after_a_change_ends_its_batch(transactions: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(INSERT, every_s=0.005, times=1)
    assert len(stream_of(server, transactions, monkeypatch).read().changes) == 1
    assert server.now < 0.05
