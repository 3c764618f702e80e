"""`exchange load`: one file into one resource, by hand, beside the connector of its system."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.planned import principal
from connectors.receipts import Digests
from connectors.rowrecord import RowRecords
from connectors.runner import writer_for
from connectors.sources.files.folder import FileLock
from connectors.sources.files.header import read_mapping
from connectors.sources.files.load import FileRows, Judgement
from connectors.sources.files.problem import FileProblem
from connectors.sources.files.progress import Progress, ProgressStore
from connectors.sources.files.steps import first_position, step_batch
from exchange.errors import ConfigError, PlanError, SourceError
from exchange.plan import PlannedResource, PublishedPlan
from exchange.plan_topic import no_plan, read_plan
from exchange.position import POSITION_SECRET, loader_id
from exchange.registry import for_writing
from exchange.settings import Settings

_LOCK_POLL_S: Final = 0.2

Told = Callable[[str, int, int], object]
"""Hears of a stage (judging, loading, waiting), rows so far, and rows in all (0: not known yet)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. loaded: rows written now; before: rows that were in Kafka already."""

    judgement: Judgement
    loaded: int = 0
    before: int = 0


def load(
    settings: Settings, path: Path, resource: str, mapping: Path | None, told: Told, *, dry_run: bool
) -> Outcome:
    """Judge a file and, unless it is refused or `dry_run`, load what is not in Kafka yet.

    Raises: ConfigError, SourceError when the file or its mapping cannot be read; PlanError when the resource
    takes no files; TransientError when Kafka is away: the same call goes on where this one ended.
    """
    plan = read_plan(settings.kafka_client("worker"))
    if plan is None:
        raise no_plan()
    planned = _resource(plan, resource)
    records = RowRecords("files", planned)
    if mapping is not None and not mapping.exists():
        msg = f"{mapping}: there is no such mapping file"
        raise ConfigError(msg)
    columns = {} if mapping is None else read_mapping(mapping, records.form.contract)
    rows = FileRows(records, columns)
    try:
        found = rows.judge(path, lambda count: told("judging", count, 0))
        if found.refused or dry_run:
            return Outcome(found)
        return _Load(settings, plan, planned, rows).run(path, found, told)
    except FileProblem as problem:
        msg = f"{path}: {problem}"
        raise SourceError(msg) from None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise SourceError(msg) from None


class _Load:
    """The part that writes: one load of a system at a time on this machine."""

    def __init__(
        self, settings: Settings, plan: PublishedPlan, resource: PlannedResource, rows: FileRows
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._resource = resource
        self._rows = rows
        self._client: dict[str, Any] = settings.kafka_client(principal(resource.system))

    def run(self, path: Path, found: Judgement, told: Told) -> Outcome:
        lock = FileLock(self._settings.root, self._resource.system)
        while not lock.acquire():
            told("waiting", 0, found.rows)
            time.sleep(_LOCK_POLL_S)
        try:
            return self._write(path, found, told)
        finally:
            lock.release()

    def _write(self, path: Path, found: Judgement, told: Told) -> Outcome:
        system = self._resource.system
        digests = Digests(system, self._settings.secrets.ensure(POSITION_SECRET))
        store = ProgressStore(self._client, system, digests)
        key = store.key(self._resource.name, path, self._rows.mapping)
        with for_writing(self._settings) as registry:
            writer = writer_for(self._settings, self._plan, system, registry, loader_id(system))
            try:
                writer.begin()
                position = writer.position() or first_position(system)
                before = store.read(key)
                done = before.rows
                for step in [] if before.complete else self._rows.steps(path, done):
                    done += len(step)
                    receipt = store.record(key, Progress(done, complete=done == found.rows))
                    batch, position = step_batch(self._rows.records, step, position, receipt)
                    writer.write(batch)
                    told("loading", done, found.rows)
            finally:
                writer.close()
        return Outcome(found, done - before.rows, before.rows)


def _resource(plan: PublishedPlan, name: str) -> PlannedResource:
    kinds = {system.name: system.kind for system in plan.systems}
    taking = {one.name: one for one in plan.resources if kinds.get(one.system) == "files"}
    if name not in taking:
        known = ", ".join(sorted(taking)) or "none"
        msg = f"resource {name!r} takes no files (known: {known}); declare it and run `exchange apply`"
        raise PlanError(msg)
    return taking[name]
