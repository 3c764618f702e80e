"""Delivers one view into one store: rounds, each beginning where target and Kafka say that it stands.

A round, in this order:

1. fence the process before us, which also ends what it left open;
2. open the sink: it tells how far the target is; Kafka's group tells how far that is accounted;
3. read on from the earlier of the two;
4. again and again: read a batch, write it to the target, and only after that keep places and accounts in
   Kafka, in one transaction.

Whatever fails with an unknown outcome ends the round. What the target has and Kafka has not heard of is read
again, found in the target by a sink that keeps places there, and accounted then.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from connectors.ledger import Ledger, accounts_of, ledger_id
from connectors.parked import Refusals
from connectors.parking import Parking
from connectors.progress import Progress
from connectors.redrive import redrive
from connectors.sink import (
    DeliveredView,
    GoneError,
    OvertakenError,
    Parked,
    ParkingSink,
    Sink,
    delivered_view,
)
from connectors.sinks import SINKS
from exchange import log
from exchange.errors import ExchangeError, FencedError, PartError, RestartError, SinkError, TransientError
from exchange.plan import PlannedDelivery, PlannedResource, PlannedView, PublishedPlan, delivery_group
from exchange.registry import Registry
from exchange.settings import Settings
from exchange.subscriber.batches import Batch, BatchReader, DeniedError, Place

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 10.0
HALTED_WAIT_S: Final = 60.0
"""A halted view is tried again after so long: whoever mended the target need not restart anything."""
_KEEP_EVERY_S: Final = 60.0
"""Places are kept again though nothing moved: Kafka forgets a group that is silent for a week, and a process
that was fenced hears of it."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a round works with."""

    view: DeliveredView
    reader: BatchReader
    sink: Sink
    ledger: Ledger
    parking: Parking | None


class ViewDelivery:
    """start → stop → join, for one view; `error` is set when the whole process must end."""

    def __init__(
        self, settings: Settings, principal: str, plan: PublishedPlan, delivery: PlannedDelivery, view: str
    ) -> None:
        self.progress = Progress()
        self.error: ExchangeError | None = None
        self._settings = settings
        self._principal = principal
        self._plan = plan
        self._delivery = delivery
        self._name = view
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._kept = False
        self._refusals = Refusals()
        self._thread = threading.Thread(target=self._run, name=f"deliver-{view}", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def heed(self, plan: PublishedPlan) -> None:
        """Go on under a newer plan. Called from another thread."""
        before, self._plan = self._plan, plan
        if _planned(before, self._name) != _planned(plan, self._name) or self.progress.state != "streaming":
            self._news.set()

    def stop(self) -> None:
        """Ask it to end after the batch under way."""
        self._stopping.set()
        self._news.set()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._rounds()
        except (FencedError, RestartError) as error:
            self.error = error

    def _rounds(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            self._kept = False
            self._news.clear()  # before the question: stop() sets the one, then the other
            if self._stopping.is_set():
                return
            try:
                self._round()
            except TransientError as error:
                wait_s = _FIRST_WAIT_S if self._kept else wait_s
                spread = random.uniform(0.8, 1.2)  # noqa: S311 - guards nothing
                self._wait("waiting", error, max(wait_s, error.retry_after_s) * spread)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except (FencedError, RestartError):
                raise
            except GoneError as error:
                self._wait("halted", error, None)
            except ExchangeError as error:
                self._wait("denied" if isinstance(error, DeniedError) else "halted", error, HALTED_WAIT_S)
            except Exception as error:  # its text may quote a record
                _log.error("delivery_failed", view=self._name, exc_info=error)
                told = f"view {self._name}: not foreseen ({type(error).__name__}); the log has the place"
                self._wait("halted", SinkError(told), HALTED_WAIT_S)

    def _wait(self, state: str, error: ExchangeError, wait_s: float | None) -> None:
        self.progress.state, self.progress.reason = state, str(error)
        say = _log.warning if state == "waiting" else _log.error
        say(f"delivery_{state}", view=self._name, retry_after_s=wait_s, exc_info=error)
        self._news.wait(wait_s)

    def _round(self) -> None:
        plan = self._plan
        resource, planned = _planned(plan, self._name)
        group = delivery_group(self._delivery.subscriber, self._name)
        with Registry(self._settings.endpoints().registry) as registry, ExitStack() as parts:
            view = delivered_view(
                self._name,
                planned.topic,
                resource.partitions,
                _schema(registry, planned.key_schema_id),
                _schema(registry, planned.value_schema_id),
            )
            client = self._settings.kafka_client(self._delivery.subscriber)
            subscriber = self._delivery.subscriber
            reader = BatchReader(client, registry, subscriber, self._name, group, resource.partitions)
            parts.callback(reader.close)
            ledger = self._ledger(view)
            parts.callback(ledger.close)
            sink = SINKS[self._delivery.kind](self._delivery, view, self._settings.secrets)
            parts.callback(sink.close)
            ledger.begin()
            parking = self._parking(sink, registry, parts)
            self._begin(reader, sink, ledger)
            self._follow(plan, _Parts(view, reader, sink, ledger, parking))

    def _ledger(self, view: DeliveredView) -> Ledger:
        writer_id = ledger_id(self._delivery.subscriber, self._name)
        return Ledger(self._settings.kafka_client(self._principal), writer_id, view.topic)

    def _parking(self, sink: Sink, registry: Registry, parts: ExitStack) -> Parking | None:
        """Return the loaded list of what is parked, None where the target itself keeps it."""
        if not isinstance(sink, ParkingSink):
            return None
        subscriber = self._delivery.subscriber
        parking = Parking(self._settings, self._principal, subscriber, self._name, sink, registry)
        parts.callback(parking.close)
        return parking.load(self._refusals)

    def _begin(self, reader: BatchReader, sink: Sink, ledger: Ledger) -> None:
        """Go to where target and Kafka are.

        Kafka hears of the start before anything is written: a group without a place is then one that Kafka
        has forgotten, never one whose first batch was written and not accounted.
        """
        accounted, there = reader.committed(), sink.open()
        self.progress.places = start_places(accounted, there)
        self.progress.alarm = ""
        try:
            incomplete = reader.begin(self.progress.places)
        except PartError as error:
            msg = (
                f"{error}. To have the view whole again: 1 {sink.begin_anew()}; 2 `exchange resnapshot "
                "SYSTEM`, which reads its source anew"
            )
            raise PartError(msg) from None
        if incomplete:
            self.progress.alarm = (
                f"{self._name}: delivery began when the first records were no longer in Kafka; rows that "
                "have not changed since are missing until `exchange resnapshot SYSTEM`"
            )
        begun = {
            partition: self.progress.places.get(partition, Place(offset))
            for partition, offset in reader.starts.items()
            if partition not in accounted
        }
        if begun:
            ledger.keep(begun, (), reader.group_metadata)
        self.progress.state, self.progress.reason = "streaming", ""
        self.progress.lag_records = reader.lag_records(self.progress.places)
        _log.info("delivery_started", view=self._name, subscriber=self._delivery.subscriber)

    def _follow(self, plan: PublishedPlan, parts: _Parts) -> None:
        kept_at = time.monotonic()
        reader, sink = parts.reader, parts.sink
        while not self._news.is_set():
            if parts.parking is not None:
                self._look_after(parts.parking, plan, parts)
            batch = reader.read(sink.max_records, sink.linger_s, self._news.is_set)
            newest = self._plan
            if self._news.is_set() or _planned(newest, self._name) != _planned(plan, self._name):
                return
            self.progress.lag_records = reader.lag_records(self.progress.places)
            if batch.places:
                self._deliver(newest, parts, batch)
                kept_at = time.monotonic()
            elif time.monotonic() - kept_at > _KEEP_EVERY_S and self.progress.places:
                parts.ledger.keep(self.progress.places, (), reader.group_metadata)
                kept_at = time.monotonic()
            self.progress.lag_records = reader.lag_records(self.progress.places)

    def _deliver(self, plan: PublishedPlan, parts: _Parts, batch: Batch) -> None:
        """Write one batch, then tell Kafka."""
        self._expect_plan(plan, batch)
        try:
            refused = parts.sink.write(batch)
        except OvertakenError:
            self._expect_newest(parts)
            raise
        except ExchangeError:
            self._keep_parked(parts)
            raise
        listed = 0 if parts.parking is None else len(parts.parking.sink.parked.fresh)
        self._keep(plan, parts, batch, refused)
        self._kept = True
        self.progress.places |= batch.places
        self.progress.parked += len(refused) - listed
        self.progress.last_source_ms = max(
            [self.progress.last_source_ms, *(r.header.source_ms for r in batch.records if r.header)]
        )

    def _keep(self, plan: PublishedPlan, parts: _Parts, batch: Batch, refused: Parked) -> None:
        """Account for a batch in Kafka, with its places and what changes on the parked list."""
        writer_id = ledger_id(self._delivery.subscriber, self._name)
        view = parts.view
        accounts = accounts_of(
            "deliver", writer_id, view.resource, view.topic, plan.version, batch.records, refused
        )
        changes = {} if parts.parking is None else parts.parking.sink.parked.take_changes()
        parts.ledger.keep(batch.places, accounts, parts.reader.group_metadata, changes)
        self.progress.delivered += sum(sum(one.delivered for one in a.views.values()) for a in accounts)

    def _expect_newest(self, parts: _Parts) -> None:
        """Have Kafka say which of two processes came later: the target only knows that there are two.

        Raises: FencedError when it is not this one.
        """
        reached = {at: Place(offset) for at, offset in parts.reader.starts.items()} | self.progress.places
        parts.ledger.keep(reached, (), parts.reader.group_metadata)

    def _keep_parked(self, parts: _Parts) -> None:
        """Keep what a batch parked before it failed: it would take as long again, and then fail again."""
        changes = {} if parts.parking is None else parts.parking.sink.parked.take_changes()
        if changes:
            parts.ledger.keep(self.progress.places, (), parts.reader.group_metadata, changes)

    def _look_after(self, parking: Parking, plan: PublishedPlan, parts: _Parts) -> None:
        """Send parked records again where that is ordered, before all that follows; tell what is parked."""
        if parking.is_ordered():
            accepted = 0
            done = self.progress.places
            for some in redrive(self._name, parking.sink, parking.places, done, self._news.is_set):
                undecodable = [(one.partition, one.offset) for one in some if one.problem]
                self._keep(plan, parts, Batch(some, done), undecodable)
                accepted += len(some)
                self.progress.listed = len(parking.sink.parked.entries)
            _log.info("parked_redriven", view=self._name, accepted=accepted, parked=self.progress.listed)
        self.progress.listed = len(parking.sink.parked.entries)
        self.progress.parked_alarm = parking.alarm()

    def _expect_plan(self, plan: PublishedPlan, batch: Batch) -> None:
        """Wait where a record is of a plan that is not ours yet: it may show what our view has no column for.

        Raises: TransientError.
        """
        newest = max((r.header.plan_version for r in batch.records if r.header), default=0)
        if newest > plan.version:
            msg = f"{self._name}: records of plan version {newest} are there, {plan.version} is known here"
            raise TransientError(msg)


def start_places(accounted: Mapping[int, Place], there: Mapping[int, Place] | None) -> dict[int, Place]:
    """Return where to read on: the target is the truth about what it has, Kafka about what is accounted.

    there: what the target says, None where it keeps no places. A partition that the target does not know is
    read from its first record, whatever Kafka says: the target may have been made anew.
    """
    if there is None:
        return dict(accounted)
    return {
        partition: min(accounted.get(partition, place), place, key=lambda one: one.offset)
        for partition, place in there.items()
    }


def _planned(plan: PublishedPlan, name: str) -> tuple[PlannedResource, PlannedView]:
    """Return a view of the plan with its resource.

    Raises: LookupError when the plan has no such view.
    """
    for resource in plan.resources:
        for view in resource.views:
            if f"{resource.name}.{view.name}" == name:
                return resource, view
    raise LookupError(name)


def _schema(registry: Registry, schema_id: int) -> dict[str, object]:
    try:
        return registry.schema(schema_id)
    except LookupError as error:
        raise TransientError(str(error)) from None
