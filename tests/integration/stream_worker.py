"""A stream worker for tests, as its own process: `python -m tests.integration.stream_worker '<json>'`.

{"worker", "group", "topics", "out"}            copies each record to the same partition of `out`
{…, "slow_ms": 5}                               takes so long for each record
{…, "hold_ms": 200}                             waits so long between writing and committing
{…, "fault": "raise"}                           its pipeline raises in the middle of its third batch
{…, "fault": "commit"}                          the third commit raises after the offsets were sent
{"worker", "group", "plan", "schemas"}          the real pipeline, under the plan in a file, with the schemas
                                                <id>.json of a directory
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from exchange import log
from exchange.account import Account
from exchange.block import Outgoing, WriteBlock
from exchange.change import RecordHeader
from exchange.keys import ViewKeys
from exchange.plan import PublishedPlan
from exchange.process import Processed
from exchange.settings import Settings
from streams import poller
from streams.processors import PlanPipeline
from streams.rounds import Batch
from streams.stage import Pipeline
from streams.transaction import Outbox
from streams.worker import Worker


class Copy:
    """Copies records, slowly or with a fault where the test asks for it."""

    plan_version = 1

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._batches = itertools.count(1)

    def process(self, batch: Batch, copies: WriteBlock) -> Processed:
        tp = batch.tp
        account = Account("process", self._given["worker"], "copy", tp.topic, 0, tp.partition)
        faulty = self._given.get("fault") == "raise" and next(self._batches) == 3
        for at, record in enumerate(batch.records):
            if faulty and at == len(batch.records) // 2:
                raise RuntimeError
            time.sleep(self._given.get("slow_ms", 0) / 1000)
            packed = record.header if RecordHeader.unpack(record.header) else None
            copies.add(Outgoing(self._given["out"], tp.partition, None, record.value, packed))
        account.changes = len(copies)
        return Processed(batch.next_offset, copies, [account])


def fail_third_commit() -> None:
    """Plant an error of our own between what is written and its commit."""
    commit, calls = Outbox.commit, itertools.count(1)

    def faulty(self: Outbox) -> None:
        if next(calls) == 3:
            raise RuntimeError
        commit(self)

    Outbox.commit = faulty  # type: ignore[method-assign]


def hold_commits(hold_ms: int) -> None:
    """Give a kill the time to fall between the written records and their commit."""
    commit = Outbox.commit

    def late(self: Outbox) -> None:
        self._in_use.flush(5)
        time.sleep(hold_ms / 1000)
        commit(self)

    Outbox.commit = late  # type: ignore[method-assign]


def planned(given: dict[str, Any]) -> PlanPipeline:
    """Return the real pipeline."""

    def schema_of(schema_id: int) -> dict[str, Any]:
        file = Path(given["schemas"]) / f"{schema_id}.json"
        if not file.exists():
            raise LookupError
        return dict(json.loads(file.read_text()))

    plan = PublishedPlan.model_validate_json(Path(given["plan"]).read_text())
    given["topics"] = list(plan.by_raw_topic())
    return PlanPipeline(plan, ViewKeys(bytes(range(32))), schema_of, given["worker"])


def main() -> int:
    """Run until SIGTERM."""
    faulthandler.register(signal.SIGUSR1)  # where does it stand?
    log.configure("DEBUG")
    given = json.loads(sys.argv[1])
    poller._FIRST_ROUND_RECORDS = 200  # type: ignore[misc]  # many rounds of few records
    if "hold_ms" in given:
        hold_commits(given["hold_ms"])
    if given.get("fault") == "commit":
        fail_third_commit()
    pipeline: Pipeline = planned(given) if "plan" in given else Copy(given)
    worker = Worker(
        Settings().kafka_client("admin"), given["worker"], given["topics"], pipeline, group=given["group"]
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
