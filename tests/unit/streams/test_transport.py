"""Rounds on their way into Faust's streams."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from streams.transport import Consumer
from tests.unit.streams.fakes import a_round


class Resuming:
    """The part of a consumer that hands rounds over, while Faust is not done with a rebalance."""

    should_stop = False
    flow_active = True

    def __init__(self) -> None:
        self.app = SimpleNamespace(rebalancing=True, consumer_generation_id=1)
        self._rounds: asyncio.Queue[Any] = asyncio.Queue()
        self.handed: list[Any] = []

    def _to_message(self, tp: Any, _batch: Any) -> Any:
        return tp

    async def callback(self, message: Any) -> None:
        self.handed.append(message)


async def hand_over(consumer: Resuming) -> tuple[int, int]:
    """Return how many batches were handed over before and after the rebalance had ended."""
    fetcher = SimpleNamespace(should_stop=False)
    consumer._rounds.put_nowait(a_round(A0=range(3), B0=range(2)))
    drain = asyncio.create_task(Consumer._drain_messages(cast(Consumer, consumer), cast(Any, fetcher)))
    await asyncio.sleep(0.05)
    early = len(consumer.handed)
    consumer.app.rebalancing = False
    async with asyncio.timeout(30):
        while len(consumer.handed) < 2:
            await asyncio.sleep(0.001)
    drain.cancel()
    return early, len(consumer.handed)


def test_a_round_waits_until_faust_has_emptied_its_queues_for_the_last_time() -> None:
    """Handed over before, it would be cleared away unsettled, and the worker would wait for it in vain."""
    assert asyncio.run(hand_over(Resuming())) == (0, 2)
