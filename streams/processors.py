"""The processors: one Faust agent for all raw topics of the plan, and the pipeline batches go through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Sequence
from concurrent.futures import Executor

from exchange.block import WriteBlock
from exchange.boxes import BoxOpener
from exchange.engine.programs import SchemaOf, Shared
from exchange.keys import Sealer, ViewKeys
from exchange.plan import PublishedPlan
from exchange.process import Processed, Programs, process_batch
from streams.app import StreamApp
from streams.rounds import Batch
from streams.stage import Stage


def declare_agent(app: StreamApp, topics: Sequence[str], stage: Stage, thread: Executor) -> None:
    """Declare the agent that takes every batch of these topics through the stage, in the stage's own thread.

    One agent with concurrency 1: the batches of a round arrive together and in order.
    """
    source = app.topic(*topics, key_serializer="raw", value_serializer="raw", acks=False)

    @app.agent(source, name="exchange", concurrency=1)
    async def exchange(batches: AsyncIterable[Batch]) -> None:
        loop = asyncio.get_running_loop()
        async for batch in batches:
            await loop.run_in_executor(thread, stage.handle, batch)


class PlanPipeline:
    """Processes batches as one published plan says. Programs are compiled when their first record comes."""

    def __init__(
        self,
        plan: PublishedPlan,
        view_keys: ViewKeys,
        schema_of: SchemaOf,
        writer: str,
        opener: BoxOpener | None = None,
    ) -> None:
        """`writer`: transactional.id, named in the accounts. Raises: ConfigError for a bad steward key."""
        self.plan_version = plan.version
        self._writer = writer
        self._opener = opener
        self._resources = plan.by_raw_topic()
        shared = Shared()
        self._programs = {
            topic: Programs(resource, view_keys, schema_of, shared)
            for topic, resource in self._resources.items()
        }
        self._sealer = Sealer({resource.name: resource.steward_public_key for resource in plan.resources})

    def process(self, batch: Batch, outgoing: WriteBlock) -> Processed:
        """Judge, mask and account for a batch; what is to be written goes into the empty block."""
        return process_batch(
            batch.records,
            batch.tp.topic,
            batch.tp.partition,
            self._resources[batch.tp.topic],
            self._programs[batch.tp.topic],
            self._sealer,
            self._opener,
            writer=self._writer,
            plan_version=self.plan_version,
            now_ms=int(time.time() * 1000),
            outgoing=outgoing,
        )
