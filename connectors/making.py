"""From a system as the plan has it to the source that is read.

What only one kind needs is imported where it is made: the connector of a database starts without a web
framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.planned import resources_of
from connectors.source import Frame, Source
from connectors.sources import SOURCES
from exchange.plan import PlannedEngine, PlannedSystem, PublishedPlan
from exchange.position import POSITION_SECRET
from exchange.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

    from connectors.sources.http.door import Door


@dataclass(frozen=True)
class Maker:
    """Makes the source of a system; `client`: librdkafka's properties, as its connector."""

    settings: Settings
    client: dict[str, Any]
    is_stopping: Callable[[], bool]

    def source(self, plan: PublishedPlan, system: PlannedSystem, framing: Frame, door: Door | None) -> Source:
        """Return the source, not open yet; `door`: what is pushed comes in by, where it is pushed."""
        if door is not None:
            from connectors.sources.http.source import HttpSource

            return HttpSource(system.name, door, self.client)
        if system.kind == "files":
            return self._files_source(plan, system)
        if system.engine is not None:
            return self._engine_source(plan, system, system.engine)
        if system.kind == "debezium":
            return self._debezium_source(plan, system)
        return SOURCES[system.kind](
            system.name,
            self.settings.secrets.get(system.connection_env),
            system.publication,
            system.slot,
            [resource.table for resource in resources_of(plan, system.name)],
            self.is_stopping,
            framing,
        )

    def door(self, plan: PublishedPlan, system: PlannedSystem, redis: Redis) -> Door:
        """Return the door, which stays open while Kafka is away: whoever comes is told so."""
        from connectors.http.keys import ApiKeys
        from connectors.receipts import Digests
        from connectors.rowrecord import RowRecords
        from connectors.sources.http.door import Door
        from connectors.sources.http.recent import Recent

        return Door(
            system,
            {resource.name: RowRecords("http", resource) for resource in resources_of(plan, system.name)},
            ApiKeys(self.settings.secrets, {one.name: one.keys_env for one in plan.systems if one.keys_env}),
            Digests(system.name, self.settings.secrets.ensure(POSITION_SECRET)),
            Recent(redis, system.name),
        )

    def _debezium_source(self, plan: PublishedPlan, system: PlannedSystem) -> Source:
        from connectors.sources.debezium.converters import Converters
        from connectors.sources.debezium.source import DebeziumSource, Given
        from exchange.debezium import client_properties

        client, secret = self.client, system.connection_env
        if secret:
            client = client_properties(system.name, secret, self.settings.secrets.get(secret))
        given = Given(
            system.name,
            {resource.table: resource.topic for resource in resources_of(plan, system.name)},
            whole_before=system.before == "complete",
            from_oldest=system.begin == "oldest",
        )
        return DebeziumSource(given, client, Converters(self.settings, system))

    def _engine_source(self, plan: PublishedPlan, system: PlannedSystem, engine: PlannedEngine) -> Source:
        from connectors.sources.debezium.enginesource import EngineSource

        secrets = {name: self.settings.secrets.get(env) for name, env in engine.secrets.items()}
        tables = [resource.table for resource in resources_of(plan, system.name)]
        return EngineSource(system.name, engine, secrets, tables, whole_before=system.before == "complete")

    def _files_source(self, plan: PublishedPlan, system: PlannedSystem) -> Source:
        from connectors.receipts import Digests
        from connectors.rowrecord import RowRecords
        from connectors.sources.files.folder import FileLock, Folder
        from connectors.sources.files.progress import ProgressStore
        from connectors.sources.files.source import FilesSource

        digests = Digests(system.name, self.settings.secrets.ensure(POSITION_SECRET))
        return FilesSource(
            system.name,
            [(RowRecords("files", one), Folder(Path(one.folder))) for one in resources_of(plan, system.name)],
            ProgressStore(self.client, system.name, digests),
            FileLock(self.settings.root, system.name),
            self.is_stopping,
        )
