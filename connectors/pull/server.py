"""The process behind `exchange serve-pull`: follows the plan, serves the door, tells how it is."""

from __future__ import annotations

import socket
import threading
import time
from typing import Final

import uvicorn
from redis import Redis

from connectors.http.listen import listen
from connectors.pull.accounts import Accounts
from connectors.pull.corrections import CorrectionPages
from connectors.pull.cursor import CursorCodec
from connectors.pull.door import Door
from connectors.pull.page import Puller
from connectors.pull.pool import Pool
from exchange import heartbeat, log, selfcheck
from exchange.corrections import Corrections
from exchange.errors import TransientError
from exchange.plan_topic import PlanTopic, no_plan
from exchange.position import POSITION_SECRET
from exchange.registry import Registry
from exchange.revocations import Revocations
from exchange.settings import Settings
from exchange.subscriber.decoder import WireDecoder

PRINCIPAL: Final = "pull"
_STAGE: Final = "deliver"
_LOOK_EVERY_S: Final = 1.0
_BEAT_EVERY_S: Final = 5.0
_RETRY_S: Final = 1.0
_GOODBYE_S: Final = 5

_log = log.get(__name__)


class PullServer:
    """Serves all subscribers that may pull: `run` until `stop`. Several may run: none keeps anything."""

    def __init__(self, settings: Settings, address: str) -> None:
        """address: host:port to listen on.

        Raises: ConfigError when an address or a password is missing.
        """
        self._settings = settings
        self._address = address
        self._client = settings.kafka_client(PRINCIPAL)
        self._stopping = threading.Event()
        self._beat_at = -_BEAT_EVERY_S
        self._writer = heartbeat.PULL

    def stop(self) -> None:
        """Ask `run` to return; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Serve until stopped.

        Raises: ConfigError when the address cannot be listened on, or Kafka is not believed; PlanError
        without a plan, or with one that this version does not understand.
        """
        selfcheck.check_certificate(self._settings)
        secrets = self._settings.secrets
        listening = listen(self._address, "pull", "--listen")
        self._writer = writer_id(listening)
        with Registry(self._settings.endpoints().registry) as registry:
            decoder = WireDecoder(registry)
            pool = Pool(lambda name: Puller(self._settings.kafka_client(name), name, decoder))
            secret = secrets.ensure(POSITION_SECRET)
            cursors, pages = CursorCodec(secret), CorrectionPages(secret)
            door = Door(secrets, pool, cursors, pages, Accounts(self._client))
            config = uvicorn.Config(
                door.app, log_config=None, access_log=False, server_header=False, lifespan="off",
                timeout_graceful_shutdown=_GOODBYE_S,
            )  # fmt: skip
            server = uvicorn.Server(config)
            serving = threading.Thread(target=server.run, args=([listening],), name="pull")
            serving.start()
            try:
                self._follow(door)
            finally:
                door.stop()
                server.should_exit = True
                serving.join()
                door.close()

    def _follow(self, door: Door) -> None:
        """Give the door what is new of plan, revocations and corrections; without Kafka none."""
        redis = heartbeat.connect(self._settings)
        while not self._stopping.is_set():
            try:
                with (
                    PlanTopic(self._client) as plans,
                    Revocations(self._client) as revocations,
                    Corrections(self._client) as corrections,
                ):
                    plan = plans.read()
                    if plan is None:
                        raise no_plan()
                    revocations.read()
                    door.revoked = revocations.in_force
                    door.corrections = corrections.read()
                    while not self._stopping.is_set():
                        if plan is not None:
                            door.follow(plan)
                            _log.info("pull_serves", plan_version=plan.version, url=self._address)
                        plan = plans.newer()
                        revocations.newer()
                        door.revoked = revocations.in_force
                        corrections.newer()
                        door.corrections = corrections.known
                        self._beat(redis, door)
                        self._stopping.wait(_LOOK_EVERY_S)
            except TransientError as error:
                _log.warning("waiting", retry_after_s=_RETRY_S, exc_info=error)
                self._stopping.wait(_RETRY_S)

    def _beat(self, redis: Redis, door: Door) -> None:
        now = time.monotonic()
        if now - self._beat_at >= _BEAT_EVERY_S:
            self._beat_at = now
            heartbeat.publish(redis, _STAGE, self._writer, "serving", door.tally.figures(), [])


def writer_id(listening: socket.socket) -> str:
    """Return how a server's heartbeat names it, the same after a restart: by its machine and port."""
    return f"{heartbeat.PULL}-{socket.gethostname()}:{listening.getsockname()[1]}"
