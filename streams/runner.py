"""`exchange stream` from end to end: the published plan, the keys and the registry round a worker."""

from __future__ import annotations

import threading
from typing import Any, Final

from exchange import heartbeat, log, rawkeys, selfcheck
from exchange.errors import PlanError, RestartError, TransientError
from exchange.keys import ViewKeys
from exchange.plan import PublishedPlan
from exchange.plan_topic import PlanTopic, no_plan
from exchange.registry import Registry
from exchange.settings import Settings
from streams.processors import PlanPipeline
from streams.worker import Worker

PRINCIPAL: Final = "worker"
_BEAT_S: Final = 1.0
_MASK_KEY: Final = "EXCHANGE_MASK_KEY"

_log = log.get(__name__)


def writer_id(worker_id: str) -> str:
    """Return the transactional.id and static group membership of a worker."""
    return f"stream-{worker_id}"


class Runner:
    """Runs one worker under the newest plan.

    1 masking keys; without them nothing starts
    2 the plan; waited for as long as there is none, or Kafka is away
    3 a look whether that Kafka denies by default
    4 the worker, until it is told to stop
    5 meanwhile, each second: a heartbeat, and a look for a newer plan. One with the same topics is taken at
      the next round; one with others ends the worker, to be started anew
    """

    def __init__(self, settings: Settings, worker_id: str, *, accept_refusals: bool) -> None:
        """Read the secrets. Raises: ConfigError, SealError when one is missing or unusable."""
        self._settings = settings
        self._writer = writer_id(worker_id)
        self._accept_refusals = accept_refusals
        self._client = settings.kafka_client(PRINCIPAL)
        self._view_keys = ViewKeys.from_hex(settings.secrets.get(_MASK_KEY).get_secret_value())
        self._opener = rawkeys.opener(settings.secrets)
        self._registry = Registry(settings.endpoints().registry)
        self._redis = heartbeat.connect(settings)
        self._stopping = threading.Event()
        self._worker: Worker | None = None

    def stop(self) -> None:
        """End with what is committed. Called from a signal handler or any thread."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.stop()

    def run(self) -> None:
        """Work until stopped.

        Raises: RestartError when a new process must go on; ConfigError, PlanError, PartError when a person
            must act.
        """
        selfcheck.check_certificate(self._settings)
        with PlanTopic(self._client) as plans, self._registry:
            plan = self._first_plan(plans)
            if plan is None:
                return
            self._worker = Worker(
                self._client,
                self._writer,
                plan.by_raw_topic(),
                self._pipeline(plan),
                accept_refusals=self._accept_refusals,
            )
            if self._stopping.is_set():
                return
            pulse = threading.Thread(
                target=self._pulse, args=(self._worker, plans, plan), name="pulse", daemon=True
            )
            pulse.start()
            code = self._worker.run()
            self._stopping.set()
            pulse.join()
        self._redis.close()
        if code:
            msg = f"{self._writer}: ended to be started again, see above"
            raise RestartError(msg)

    def _first_plan(self, plans: PlanTopic) -> PublishedPlan | None:
        """Wait for a plan on a Kafka that denies by default; None when told to stop meanwhile."""
        said = ""
        while not self._stopping.is_set():
            try:
                plan = plans.read()
                if plan is not None:
                    selfcheck.check_denies(self._settings, self._client)
                    return plan
                waiting_for = str(no_plan())
            except TransientError as error:
                waiting_for = str(error)
            if waiting_for != said:
                _log.warning("waiting_for_plan", reason=waiting_for)
                said = waiting_for
            heartbeat.publish(self._redis, "process", self._writer, "waiting for a plan", {}, [])
            self._stopping.wait(_BEAT_S)
        return None

    def _pipeline(self, plan: PublishedPlan) -> PlanPipeline:
        return PlanPipeline(plan, self._view_keys, self._registry.schema, self._writer, self._opener)

    def _pulse(self, worker: Worker, plans: PlanTopic, plan: PublishedPlan) -> None:
        while not self._stopping.wait(_BEAT_S):
            self._beat(worker)
            try:
                newer = plans.newer()
                if newer is not None and newer.version != plan.version:
                    plan = self._take(worker, plan, newer)
            except TransientError as error:
                _log.warning("plan_not_looked_for", exc_info=error)
            except Exception as error:
                # A plan that cannot be used is not passed over: the new process says what is wrong.
                worker.restart(error)
                return
        self._beat(worker, state="stopped")

    def _take(self, worker: Worker, plan: PublishedPlan, newer: PublishedPlan) -> PublishedPlan:
        same_topics = set(newer.by_raw_topic()) == set(plan.by_raw_topic())
        if same_topics:
            worker.stage.replace_pipeline(self._pipeline(newer))
        # Said only now: what comes in after this line is processed under the newer plan.
        _log.info("newer_plan", worker=self._writer, plan_version=newer.version)
        if not same_topics:
            worker.restart(PlanError(f"plan {newer.version} has other raw topics than plan {plan.version}"))
        return newer

    def _beat(self, worker: Worker, state: str = "") -> None:
        halted = _halted(worker)
        figures = {**worker.stage.figures.as_dict(), "plan_version": worker.stage.plan_version}
        figures["partitions"] = len(worker.assigned)
        state = state or ("halted" if halted else "running" if worker.assigned else "idle")
        heartbeat.publish(self._redis, "process", self._writer, state, figures, halted)


def _halted(worker: Worker) -> list[dict[str, Any]]:
    return [
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "offset": parked.halted.offset,
            "reason": parked.halted.reason,
            "since_ms": parked.since_ms,
        }
        for tp, parked in worker.parked.items()
    ]
