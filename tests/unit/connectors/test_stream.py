from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from connectors.sources.postgres import stream
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.replication import Keepalive, Replication
from connectors.sources.postgres.stream import Stream
from connectors.sources.postgres.transaction import Transactions
from exchange.change import Position
from exchange.position import SourcePosition

POSITION = SourcePosition("town", "1", 1, "slot", resume=100)
INSERT = b"I\0\0\0\x01N\0\0"


class Server:
    """Sends one message each so many seconds of a clock of its own."""

    def __init__(self, message: bytes | Keepalive, every_s: float, times: int = 100_000) -> None:
        self.now = 0.0
        self._message = message
        self._every_s = every_s
        self._left = times
        self._arrived = False

    def fill(self, frames: Frames) -> None:
        if self._arrived:
            frames.add(b"frame")
        self._arrived = False

    def unwrap(self, _frame: bytes) -> bytes | Keepalive:
        return self._message

    def wait(self, timeout_s: float) -> bool:
        self._arrived = self._left > 0 and self._every_s <= timeout_s
        self._left -= 1
        self.now += min(self._every_s, timeout_s)
        return self._arrived


@pytest.fixture
def transactions() -> Mock:
    made = Mock(spec=Transactions, resume=100, is_open=False, last=(200, 0))
    made.take.return_value = [Mock(value=b"", position=Position(9, 200, 0))]
    return made


def stream_of(server: Server, transactions: Mock, monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: server.now))
    replication = Mock(spec=Replication, fill=server.fill, unwrap=server.unwrap, wait=server.wait)
    return Stream(replication, transactions, POSITION)


def test_source_busy_with_other_tables_still_gives_an_empty_batch_each_second(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(Keepalive(200, reply_wanted=False), every_s=0.1)
    batch = stream_of(server, transactions, monkeypatch).read()
    assert (batch.count, batch.more) == (0, False)
    assert server.now == pytest.approx(1, abs=0.2)


def test_first_change_of_steady_ones_waits_a_twentieth_of_a_second(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(INSERT, every_s=0.001)
    batch = stream_of(server, transactions, monkeypatch).read()
    assert batch.count == pytest.approx(50, abs=3)
    assert batch.more
    assert server.now == pytest.approx(0.05, abs=0.01)


def test_silence_after_a_change_ends_its_batch_within_a_few_milliseconds(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(INSERT, every_s=0.005, times=1)
    batch = stream_of(server, transactions, monkeypatch).read()
    assert (batch.count, batch.more) == (1, False)
    assert server.now < 0.01


def test_rest_of_an_open_transaction_is_waited_for(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions.is_open = True
    server = Server(INSERT, every_s=0.01, times=3)
    batch = stream_of(server, transactions, monkeypatch).read()
    assert batch.count == 3
    assert server.now == pytest.approx(0.06, abs=0.02)


def test_batch_that_the_server_waits_for_is_acknowledged_before_the_next_is_read(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(INSERT, every_s=0.001)
    read = stream_of(server, transactions, monkeypatch)
    replies = iter([INSERT, INSERT, Keepalive(200, reply_wanted=True)])
    monkeypatch.setattr(read._replication, "unwrap", lambda _frame: next(replies))
    batch = read.read()
    assert (batch.count, batch.more) == (2, False)


def test_change_among_many_of_other_tables_does_not_wait_for_a_pause_of_theirs(
    transactions: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(INSERT, every_s=0.0)
    read = stream_of(server, transactions, monkeypatch)
    taken = transactions.take.return_value
    transactions.take.side_effect = [taken, *[[]] * 1_000_000]

    def fill(frames: Frames) -> None:
        server.now += 0.001
        frames.add(b"frame")

    monkeypatch.setattr(read._replication, "fill", fill)
    batch = read.read()
    assert (batch.count, batch.more) == (1, True)
    assert server.now < 0.5
