"""Blocks to and from Kafka: by librdkafka's C API where it can be used, else message by message.

Both ways do the same; the compiled one makes no Python object for a record. It calls librdkafka on the handle
that a client of confluent_kafka holds, so it is used only where

- the setting EXCHANGE_NATIVE does not forbid it, and `exchange/_librdkafka.pyx` was compiled;
- confluent_kafka and librdkafka are of versions whose layouts were checked, see docs/adr/0006;
- the library that confluent_kafka runs on offers the functions, and the handle proves to be the client's.

Otherwise the log says once why it is not.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import confluent_kafka
from confluent_kafka import Consumer, Producer

from exchange import log
from exchange.block import WriteBlock
from exchange.change import HEADER
from exchange.errors import ConfigError
from exchange.settings import read_settings

_CHECKED: Final = range(0x020D_0000, 0x0211_0000)
"""librdkafka 2.13 to 2.16: the structs of rdkafka.h are the same from 2.12.1 on."""

_log = log.get(__name__)


class BlockProducer:
    """Queues the records of blocks on a producer. Let go of it before the producer is closed."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        native = native_client()
        self._native = None
        if native is not None and _proven(native, producer, native.PRODUCER):
            self._native = native.Writer(producer)

    @property
    def is_native(self) -> bool:
        """True when records are queued without a Python object for each."""
        return self._native is not None

    def write(self, block: WriteBlock, first: int = 0) -> int:
        """Queue records from number `first` on, in order.

        Returns the number of the first that was not queued because the producer's queue is full: poll the
        producer and call again from there. It is `block.count` when all are queued. Keys, values and headers
        are copied; the block may be changed afterwards.

        Raises: KafkaException when librdkafka refuses a record for any other reason; those before it are
        queued.
        """
        if self._native is not None:
            return int(self._native.write(block, first))
        return self._write(block, first)

    def _write(self, block: WriteBlock, first: int) -> int:
        produce = self._producer.produce
        for number in range(first, block.count):
            topic, partition, key, value, header = block.record(number)
            headers: Any = None if header is None else [(HEADER, header)]
            try:
                # positional: topic, value, key, partition, callback, on_delivery, timestamp, headers
                produce(topic, value, key, partition, None, None, 0, headers)
            except BufferError:
                return number
        return block.count


@cache
def native_client() -> ModuleType | None:
    """Return the compiled module, ready for use, or None where the plain way has to do."""
    reason = ""
    try:
        if not read_settings().native:
            reason = "EXCHANGE_NATIVE=off"
        else:
            from exchange import _librdkafka

            versions = _librdkafka.load(_library()), confluent_kafka.libversion()[1]
            if all(version in _CHECKED for version in versions) and versions[0] == versions[1]:
                return _librdkafka
            reason = f"librdkafka {confluent_kafka.libversion()[0]} has not been checked"
    except (ImportError, ConfigError, OSError) as error:
        reason = str(error)
    _log.info("native_client_unused", reason=reason)
    return None


def _proven(native: ModuleType, client: Any, kind: int) -> bool:
    whole = Producer if kind == native.PRODUCER else Consumer
    if isinstance(client, whole) and native.proves(client, kind):
        return True
    _log.warning("native_client_unused", reason=f"handle of {type(client).__name__} not recognised")
    return False


def _library() -> str:
    """Return the file of the librdkafka that is loaded. Raises: ImportError when it is not told."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        for line in maps.read_text().splitlines():
            file = line.partition("/")[2]
            if Path(file).name.startswith("librdkafka"):
                return "/" + file
    msg = "no loaded librdkafka is named in /proc/self/maps"
    raise ImportError(msg)
