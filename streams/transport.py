"""Faust on librdkafka: its events are whole batches, its offsets move only with our transactions.

Faust keeps what it is good at: the app, agents, the worker's life cycle, rebalancing of its streams. What its
own drivers do with single records, acknowledgements and commits has no place here:

- the consumer lives in a thread of its own (`streams.poller`) and hands over rounds, one event per partition;
- topics are declared with `acks=False`, so Faust tracks no offsets and `commit` has nothing to do;
- every event carries the generation of its assignment, without which Faust skips it silently;
- while Faust deals with a rebalance, the poller's thread waits: no round can fall between two assignments;
- Faust empties its streams' queues once more when it resumes them, some time after the assignment: a round
  waits for that, or it would vanish and never be settled.

Installed under the entry point group `faust.transports` as `bus`: App(broker="bus://").
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from faust.transport import base
from faust.types import TP, ConsumerMessage
from mode import ServiceT

from exchange import log
from streams.poller import Poller
from streams.rounds import Batch, Round

if TYPE_CHECKING:
    from streams.app import StreamApp

_FAUST_S: Final = 60.0
"""How long Faust may take over a rebalance before we call it stuck."""
_RESUME_POLL_S: Final = 0.005

_log = log.get(__name__)


class Consumer(base.Consumer):
    """The consumer that Faust sees, and the listener that the poller tells."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stream_app = cast("StreamApp", self.app)
        self._rounds: asyncio.Queue[Round] = asyncio.Queue()
        self._poller = Poller(self._stream_app.consumer_config, self)
        self._stream_app.poller = self._poller

    async def on_start(self) -> None:
        """Start the poller's thread."""
        await super().on_start()
        self._poller.start()

    async def on_stop(self) -> None:
        """End the poller's thread; the round in process is aborted and read again by whoever comes next."""
        self._poller.stop()
        await asyncio.to_thread(self._poller.join)
        await super().on_stop()

    # What the poller tells, in its thread

    def on_assigned(self, assigned: set[TP], generation: int) -> None:
        """Let Faust take the partitions in; its streams resume when it is done."""
        self._in_loop(self._take_in(assigned, generation))

    def on_revoked(self, revoked: set[TP], rounds: Sequence[Round]) -> None:
        """Abort the rounds in process first, then let Faust empty its buffers."""
        self._stream_app.stage.discard(rounds)
        self._in_loop(self._give_back(revoked))

    def on_round(self, rnd: Round) -> None:
        """Queue a round for the conductor; one without records has nothing for it."""
        if rnd.batches:
            self.loop.call_soon_threadsafe(self._rounds.put_nowait, rnd)
        else:
            self._stream_app.stage.move_on(rnd)

    def on_failed(self, error: BaseException) -> None:
        """Without its poller the worker is of no use."""
        self._stream_app.on_fatal(error)

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        if self.loop.is_closed():
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self.loop).result(_FAUST_S)

    async def _take_in(self, assigned: set[TP], generation: int) -> None:
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        self.app.consumer_generation_id = generation
        await self.on_partitions_assigned(assigned, generation)

    async def _give_back(self, revoked: set[TP]) -> None:
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(revoked)

    # What Faust asks

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Hand the batches of each round to the conductor until the consumer or the fetcher stops."""
        while not (self.should_stop or fetcher.should_stop):
            rnd = await self._rounds.get()
            while self.app.rebalancing or not self.flow_active:
                await asyncio.sleep(_RESUME_POLL_S)
            for batch in rnd.batches:
                if rnd.is_settled:
                    break
                await self.callback(self._to_message(batch.tp, batch))

    def _to_message(self, tp: TP, record: Batch) -> ConsumerMessage:
        return ConsumerMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=record.first_offset,
            timestamp=0.0,
            timestamp_type=1,
            headers=[],
            key=None,
            value=cast(Any, record),  # bytes, says Faust; "raw" passes on whatever it is
            checksum=None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe; assignments come later."""
        self._poller.subscribe(topics)

    def assignment(self) -> set[TP]:
        """Return what is assigned now."""
        return set(self._poller.assigned)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Do nothing: the poller starts every assignment at its committed offsets."""
        return {}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        msg = "offsets move with the worker's transaction only; declare topics with acks=False"
        raise RuntimeError(msg)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def topic_partitions(self, topic: str) -> int | None:
        """Return None: partition counts are the plan's business."""
        return None

    # What only tables, single records and topic creation need

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        raise NotImplementedError

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Unused: there are no tables."""
        raise NotImplementedError

    async def position(self, tp: TP) -> int | None:
        """Unused: there are no tables."""
        raise NotImplementedError

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Unused: there are no tables."""
        raise NotImplementedError

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Unused: there are no tables."""
        raise NotImplementedError

    def highwater(self, tp: TP) -> int:
        """Unused: rounds bypass `getmany`."""
        raise NotImplementedError

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Unused: outputs name their partition."""
        raise NotImplementedError

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Unused: `exchange apply` creates topics."""
        raise NotImplementedError


class Producer(base.Producer):
    """Nothing: outputs go through the worker's transaction (`streams.transaction`)."""

    async def flush(self) -> None:
        """Do nothing: nothing is ever pending."""

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        """Unused: a record sent here would be outside the transaction."""
        raise NotImplementedError


class Transport(base.Transport):
    """`bus://`, for apps built by `streams.app.build_app`."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
    driver_version = "bus"
    default_port = 9092
