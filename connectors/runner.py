"""Runs one source: rounds of capture, each beginning at the position that Kafka holds.

A round, in this order:

1. fence the writer before us (init_transactions), which also aborts what it left open;
2. read the position back from Kafka, at read_committed; give it up where tables are ordered to be read anew;
3. open the source there; a gap halts the stream, it never goes on from "now";
4. again and again: read changes, write them with position and accounts in one transaction, and only after
   the commit let the source forget them. While a source has more at hand, the next changes are read and
   encoded during that commit; should it fail, they are thrown away with it.

Before 1 and between two batches it heeds people's orders, which end the round: one to read tables anew, and
one to pause. Then none begins until it is to resume; the position stays in Kafka, the log at the source.

Whatever fails with an unknown outcome (a commit without answer, a lost connection) ends the round; the next
one starts at 1 with a new producer. That way a batch is in Kafka once, or is read again.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from connectors.anew import Anew, given_up_for
from connectors.guard import Guard
from connectors.making import Maker
from connectors.orders import Orders
from connectors.pausing import Pausing
from connectors.planned import concerns, principal, resources_of, system_in
from connectors.pulse import Pulse
from connectors.source import Batch, Source
from connectors.sources import WATCHES
from connectors.writer import Writer
from exchange import log, rawkeys, selfcheck
from exchange.errors import ExchangeError, GapError, PlanError, RestartError, TransientError
from exchange.keys import Sealer
from exchange.pauses import PAUSED
from exchange.plan import PlannedSystem, PublishedPlan
from exchange.plan_topic import PlanTopic, no_plan, read_plan
from exchange.position import POSITION_SECRET, PositionCodec, writer_id
from exchange.registry import Registry, for_writing
from exchange.resnapshots import ONE_TABLE, READ_ANEW
from exchange.settings import Settings
from exchange.suggest import did_you_mean

if TYPE_CHECKING:
    from connectors.sources.http.door import Door

_log = log.get(__name__)

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
_PAUSE_LOOK_S: Final = 0.5
_RAW_COMPATIBILITY: Final = "NONE"


class Connector:
    """One source's connector: `run` until `stop`."""

    def __init__(self, settings: Settings, system: str) -> None:
        self._settings = settings
        self._system = system
        self._stopping = threading.Event()
        self._client = settings.kafka_client(principal(system))
        self._pulse = Pulse(settings, writer_id(system))
        self._maker = Maker(settings, self._client, self._stopping.is_set)
        self._door: Door | None = None
        self._checked = False
        self._committed = False
        self._guard: Guard | None = None

    def stop(self) -> None:
        """Ask `run` to return after the batch under way; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Capture until stopped.

        Raises: ExchangeError when a person must act; RestartError when a new process must go on;
        FencedError when another connector took over.
        """
        try:
            selfcheck.check_certificate(self._settings)
            self._run_rounds()
        finally:
            if self._door is not None:
                self._door.close()
            if self._guard is not None:
                self._guard.stop()

    def _run_rounds(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stopping.is_set():
            self._committed = False
            try:
                if self._guard is not None:
                    self._guard.heed()
                self._run_plan()
            except TransientError as error:
                wait_s = _FIRST_WAIT_S if self._committed else wait_s
                _log.warning("waiting", system=self._system, retry_after_s=wait_s, exc_info=error)
                self._pulse.beat("waiting", force=True)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except GapError as error:
                self._pulse.beat("halted", force=True, reason=str(error))
                raise

    def begin_anew(self, table: str | None = None) -> None:
        """Give up this source's position: the next round makes a slot, empties the views, reads all tables.

        With a table, of that one only: the next round empties and fills its views, the others' go on.
        A connector that runs is fenced by this.

        Raises: PlanError when there is no position to give up, or no such table.
        """
        with PlanTopic(self._client) as plans, for_writing(self._settings) as registry:
            plan = plans.read() or _raise(no_plan())
            system = system_in(plan, self._system)
            if system.kind not in READ_ANEW:
                msg = f"system {self._system} has no database to read anew; its department sends it"
                raise PlanError(msg)
            if table is not None and system.kind not in ONE_TABLE:
                msg = f"system {self._system}: Debezium's tables are read anew together; leave --table out"
                raise PlanError(msg)
            known = [resource.table for resource in resources_of(plan, self._system)]
            if table is not None and table not in known:
                msg = f"system {self._system}: no resource of the plan is table {did_you_mean(table, known)}"
                raise PlanError(msg)
            writer = self._writer(plan, system, registry)
            try:
                writer.begin()
                position = writer.position()
                if position is None:
                    msg = f"system {self._system}: nothing was captured yet; its snapshot is still to come"
                    raise PlanError(msg)
                writer.write(Batch([], given_up_for(position, table or "")))
            finally:
                writer.close()

    def _run_plan(self) -> None:
        """Run rounds under the plan in force; a plan with other tables needs a new process."""
        with (
            PlanTopic(self._client) as plans,
            for_writing(self._settings) as registry,
            Pausing(self._client, self._system) as pausing,
        ):
            plan = plans.read() or _raise(no_plan())
            if not self._checked:
                selfcheck.check_denies(self._settings, self._client)
                self._checked = True
            system = system_in(plan, self._system)
            guard = self._guarded(system)
            if system.kind == "http" and self._door is None:
                # First: the connector that has the address already must not be fenced by us.
                self._door = self._maker.door(plan, system, self._pulse.redis)
            self._wait_while_paused(pausing, plans, plan, guard)
            if self._stopping.is_set() or guard.must_release:
                return
            writer = self._writer(plan, system, registry)
            try:
                self._round(plans, plan, system, writer, guard, pausing)
            finally:
                writer.close()

    def _wait_while_paused(
        self, pausing: Pausing, plans: PlanTopic, plan: PublishedPlan, guard: Guard
    ) -> None:
        """Wait for the end of a pause; for no longer than the source's log may grow."""
        pause = pausing.wanted()
        if pause is None:
            return
        _log.warning("capture_paused", system=self._system, operation=pause.operation, by=pause.by)
        if self._door is not None:
            self._door.shut("what is pushed for this system is not taken in for a while: it is paused")
        while pause is not None and not self._stopping.is_set() and not guard.must_release:
            self._pulse.beat(PAUSED, pause=pause)
            self._heed(plans, plan)
            self._stopping.wait(_PAUSE_LOOK_S)
            pause = pausing.wanted()
        if pause is None:
            _log.info("capture_resumed", system=self._system)

    def _guarded(self, system: PlannedSystem) -> Guard:
        """Return the guard of the source; it goes on from round to round, whatever else is away."""
        if self._guard is None:
            make = WATCHES.get(system.kind)
            watch = make and make(system, self._settings.secrets.get(system.connection_env))
            self._guard = self._pulse.guard = Guard(system, watch)
            self._guard.start()
        return self._guard

    def _round(
        self,
        plans: PlanTopic,
        plan: PublishedPlan,
        system: PlannedSystem,
        writer: Writer,
        guard: Guard,
        pausing: Pausing,
    ) -> None:
        writer.begin()
        tables = [resource.table for resource in resources_of(plan, self._system)]
        with Anew(self._client, system, tables) as anew:
            position = anew.begin(writer, writer.position())
            source = self._maker.source(plan, system, writer.framing, self._door)
            orders = Orders(self._client, self._system, source)
            try:
                source.open(position)
                _log.info("capture_started", system=self._system, resources=len(tables))
                while not (
                    self._stopping.is_set() or guard.must_release or pausing.wanted() or anew.wanted()
                ):
                    orders.heed()
                    batch = source.read()
                    self._settle(writer, source)
                    if batch.changes or batch.position != position:
                        writer.start(batch)
                        position = batch.position
                    elif position is not None:
                        source.acknowledge(position)
                    if not batch.more:
                        self._settle(writer, source)
                    self._pulse.note(batch)
                    self._pulse.beat("snapshot" if position and position.snapshot else "streaming")
                    self._heed(plans, plan)
                self._settle(writer, source)
            finally:
                orders.close()
                source.close()

    def _settle(self, writer: Writer, source: Source) -> None:
        """Wait for the commit under way, if any; only then may the source forget what it brought."""
        committed = writer.finish()
        if committed is not None:
            self._committed = True
            if committed.position is not None:
                source.acknowledge(committed.position)

    def _heed(self, plans: PlanTopic, plan: PublishedPlan) -> None:
        newer = plans.newer()
        if newer is not None and concerns(newer, self._system) != concerns(plan, self._system):
            msg = f"plan version {newer.version} changes what is captured from {self._system}"
            raise RestartError(msg)

    def _writer(self, plan: PublishedPlan, system: PlannedSystem, registry: Registry) -> Writer:
        return writer_for(self._settings, plan, system.name, registry, writer_id(system.name))


def writer_for(
    settings: Settings, plan: PublishedPlan, system: str, registry: Registry, transactional_id: str
) -> Writer:
    """Return a writer of a system's resources.

    Raises: ConfigError when one of them is sealed, and there is no key to do it with.
    """
    resources = resources_of(plan, system)
    return Writer(
        settings.kafka_client(principal(system)),
        transactional_id,
        {resource.table: resource for resource in resources},
        plan.version,
        partial(_register, registry),
        PositionCodec(system, settings.secrets.ensure(POSITION_SECRET)),
        Sealer({resource.name: resource.steward_public_key for resource in resources}),
        rawkeys.sealer(settings.secrets, [one.raw_topic for one in resources if one.sealed]),
    )


def systems(settings: Settings) -> tuple[str, ...]:
    """Return the systems of the published plan.

    Raises: PlanError when there is none; TransientError when Kafka is away.
    """
    plan = read_plan(settings.kafka_client("worker")) or _raise(no_plan())
    return tuple(system.name for system in plan.systems)


def _register(registry: Registry, subject: str, schema: dict[str, Any]) -> int:
    """Register a raw topic's schema: the table as it is, whatever it was before, for the worker to judge.

    A registry's own rules would refuse a column whose type changed, and with it every table of the source.
    """
    if registry.compatibility(subject) != _RAW_COMPATIBILITY:
        registry.set_compatibility(subject, _RAW_COMPATIBILITY)
    return registry.register(subject, schema)


def _raise(error: ExchangeError) -> Any:
    raise error
