"""Debezium's engine in this process: a batch of its records, and not the next before that one is released."""

from __future__ import annotations

import itertools
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.sources.debezium.failure import explained
from connectors.sources.debezium.java import start_java
from exchange.errors import ConfigError, SourceError, TransientError

_ENDS_S: Final = 30.0
"""How long a connector may take to close its connections."""
_RETRY_S: Final = 0.1
_OFFSETS: Final = "org.apache.kafka.connect.storage.FileOffsetBackingStore"


@dataclass(frozen=True, slots=True)
class Told:
    """One record of the engine: where it would go in Kafka, and key and value as a JsonConverter writes them.

    place: partition and offset of the source after it, each as JSON; made when it is asked for.
    """

    destination: str
    key: bytes | None
    value: bytes | None
    place: Callable[[], tuple[str, str]]


class Engine:
    """start → (take → release)* → close."""

    def __init__(self, system: str, properties: Mapping[str, str], secrets: Collection[str]) -> None:
        """properties: all of Debezium's, secrets among them; secrets: what must not be in a text."""
        self._system = system
        self._properties = dict(properties)
        self._secrets = secrets
        self._batches: queue.Queue[list[Told]] = queue.Queue()
        self._released: queue.Queue[int] = queue.Queue()
        self._closing = threading.Event()
        self._polls = threading.Event()
        self._failure: Exception | None = None
        self._engine: Any = None
        self._thread: threading.Thread | None = None
        self._offsets = -1

    def start(self, place: tuple[str, str] | None) -> None:
        """Begin at a place, None for the connector's own beginning: a snapshot.

        Raises: ConfigError when engine or connector is not there; SourceError when the connector may tell
        changes twice after a restart.
        """
        jpype = start_java()
        self._refuse_repeating(jpype)
        self._offsets = _offsets(jpype, self._system, place)
        java_properties = jpype.JClass("java.util.Properties")()
        for name, value in self._properties.items():
            java_properties.setProperty(name, value)
        java_properties.setProperty("offset.storage", _OFFSETS)
        java_properties.setProperty("offset.storage.file.filename", f"/proc/self/fd/{self._offsets}")
        builder = jpype.JClass("io.debezium.engine.DebeziumEngine").create(
            jpype.JClass("io.debezium.engine.format.Json")
        )
        listener = jpype.JProxy("io.debezium.engine.DebeziumEngine$ConnectorCallback", dict=self._events())
        ended = jpype.JProxy(
            "io.debezium.engine.DebeziumEngine$CompletionCallback", dict={"handle": self._ended}
        )
        consumer = jpype.JProxy(
            "io.debezium.engine.DebeziumEngine$ChangeConsumer",
            dict={"handleBatch": self._handle, "supportsTombstoneEvents": lambda: True},
        )
        builder = builder.using(java_properties).using(ended).using(listener)
        self._engine = builder.notifying(consumer).build()
        self._thread = threading.Thread(target=self._run, name="debezium", daemon=True)
        self._thread.start()

    def take(self, patience_s: float) -> list[Told]:
        """Return the next batch, empty when there is none within that time.

        Raises: TransientError, SourceError when the engine has ended.
        """
        try:
            return self._batches.get(timeout=patience_s)
        except queue.Empty:
            if self._thread is not None and self._thread.is_alive():
                return []
        raise self._failure or TransientError(f"source {self._system}: Debezium's engine has ended")

    def release(self, count: int) -> None:
        """Let the engine go on behind the last batch, and the source forget its first `count` records."""
        self._released.put(count)

    def close(self) -> None:
        """End it; what was not released is told again. May be called twice."""
        self._closing.set()
        self._released.put(0)
        ends_at = time.monotonic() + _ENDS_S
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < ends_at:
            self._ask_to_end()
            self._thread.join(_RETRY_S)
        if self._offsets >= 0 and (self._thread is None or not self._thread.is_alive()):
            os.close(self._offsets)
            self._offsets = -1

    def _ask_to_end(self) -> None:
        """Ask; it refuses while its tasks start, and when it ends already."""
        import jpype

        try:
            self._engine.close()
        except jpype.JException:
            return

    def _run(self) -> None:
        import jpype

        try:
            self._engine.run()
        except jpype.JException as error:
            self._ended(False, None, error)

    def _refuse_repeating(self, jpype: Any) -> None:
        name = self._properties["connector.class"]
        try:
            connector = jpype.JClass(name)()
        except (TypeError, jpype.JException):
            msg = f"source {self._system}: this Debezium has no {name}; its documentation has the class"
            raise ConfigError(msg) from None
        given = jpype.JClass("java.util.HashMap")()
        for key, value in self._properties.items():
            given.put(key, value)
        if str(connector.exactlyOnceSupport(given)) != "SUPPORTED":
            msg = (
                f"source {self._system}: {name} does not tell each change once after a restart, as Debezium "
                "says itself; run it with Kafka Connect and name its topics"
            )
            raise SourceError(msg)

    def _events(self) -> dict[str, Callable[[], None]]:
        names = ("connectorStarted", "connectorStopped", "taskStarted", "taskStopped", "pollingStopped")
        return {name: lambda: None for name in names} | {"pollingStarted": self._polls.set}

    def _handle(self, records: Any, committer: Any) -> None:
        """Hand a batch over and wait for its release; called by the engine's thread."""
        self._batches.put([_told(record) for record in records])
        count = self._released.get()
        if self._closing.is_set():
            import jpype

            interrupted = "java.lang.InterruptedException"
            raise jpype.JClass(interrupted)
        for record in itertools.islice(records, count):
            committer.markProcessed(record)
        committer.markBatchFinished()

    def _ended(self, success: bool, message: Any, error: Any) -> None:
        if not success and not self._closing.is_set():
            self._failure = explained(
                self._system, message, error, self._secrets, has_begun=self._polls.is_set()
            )


def _told(record: Any) -> Told:
    source = record.sourceRecord()
    return Told(
        str(record.destination()),
        _bytes(record.key()),
        _bytes(record.value()),
        lambda: (_json(source.sourcePartition()), _json(source.sourceOffset())),
    )


def _bytes(text: Any) -> bytes | None:
    return None if text is None else str(text).encode(errors="surrogatepass")


def _json(java_map: Any) -> str:
    import jpype

    return str(jpype.JClass("com.fasterxml.jackson.databind.ObjectMapper")().writeValueAsString(java_map))


def _offsets(jpype: Any, system: str, place: tuple[str, str] | None) -> int:
    """Return a file in memory with the offset to begin at, as FileOffsetBackingStore reads it.

    It is gone with the process: the truth about where to go on is in Kafka alone.
    """
    offsets = jpype.JClass("java.util.HashMap")()
    if place is not None:
        partition, offset = place
        key = json.dumps([system, json.loads(partition)], separators=(",", ":"), ensure_ascii=False)
        offsets.put(_java_bytes(jpype, key), _java_bytes(jpype, offset))
    written = jpype.JClass("java.io.ByteArrayOutputStream")()
    stream = jpype.JClass("java.io.ObjectOutputStream")(written)
    stream.writeObject(offsets)
    stream.close()
    number = os.memfd_create("exchange-offsets")
    os.pwrite(number, bytes(written.toByteArray()), 0)
    return number


def _java_bytes(jpype: Any, text: str) -> Any:
    return jpype.JString(text).getBytes("UTF-8")
