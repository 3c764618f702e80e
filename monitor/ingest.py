"""Accounts from Kafka to ClickHouse, each exactly once.

1. The place to start from is read from ClickHouse: the offset after the last account it holds.
2. A batch of committed accounts is read and made into rows.
3. The rows are stored by one insert, which is there as a whole or not at all (see ddl/0001_accounts.sql).
   A failed insert is repeated with the same rows and the same token until it is acknowledged.
4. The minutes they belong to are rolled up anew (clickhouse/rollups.py).
5. Now and then what is stored is compared with what Kafka has (reconcile.py).

Nothing else remembers a position, so a crash at any point neither loses nor repeats an account.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from exchange import log
from exchange.errors import ConfigError, TransientError
from exchange.librdkafka import PARTITION_EOF
from exchange.plan import ACCOUNTS_TOPIC
from monitor import kafka
from monitor.clickhouse.client import ClickHouse
from monitor.clickhouse.rollups import Rollups
from monitor.reconcile import Reconciler
from monitor.rows import COLUMNS, MADE_AT_MS, STAGE, Row, placeholder_row, row_of, token

PARTITION: Final = 0
"""`_exchange.accounts` has one partition, so a change's capture is always read before its processing."""
_MAX_BATCH: Final = 1000
_POLL_S: Final = 0.2
_GATHER_S: Final = 0.3
"""Accounts come one by one, and an insert costs as much as a hundred of them."""
_CHECK_EVERY_S: Final = 5.0
_RETRY_S: Final = 1.0

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the accounts are read: the next offset, and the topic's end when last asked.

    settled_offset: all accounts before it are stored and rolled up; markers of transactions are passed too.
    settled_ms: all accounts that could be read before this time are stored and rolled up.
    """

    next_offset: int = 0
    end_offset: int = 0
    accounts: int = 0
    settled_offset: int = 0
    settled_ms: int = 0


class Ingest:
    """Reads accounts until `stop` is set; one instance per ClickHouse database."""

    def __init__(
        self,
        client: dict[str, Any],
        clickhouse: ClickHouse,
        stop: threading.Event,
        topic: str = ACCOUNTS_TOPIC,
        reconcile_every_s: float = 300.0,
    ) -> None:
        self.progress = Progress()
        self._client = client
        self._clickhouse = clickhouse
        self._stop = stop
        self._topic = topic
        self._caught_up = False
        self._read_to = 0
        self._read_to_ms = 0
        self._at_end = False
        self._rollups = Rollups(clickhouse, PARTITION)
        self.reconciler = Reconciler(client, clickhouse, self._rollups, topic, PARTITION, reconcile_every_s)

    def session(self, ready: Callable[[], None]) -> None:
        """Read from where ClickHouse stands until stopped; `ready` is called once Kafka has answered.

        Raises: TransientError while Kafka or ClickHouse does not answer: start another session then;
        ConfigError when ClickHouse holds more accounts than the topic ever had.
        """
        consumer = Consumer(kafka.reader(self._client))
        try:
            start = self._start(consumer)
            self._rollups.recover()
            consumer.assign([TopicPartition(self._topic, PARTITION, start)])
            self._caught_up = False
            ready()
            self._follow(consumer)
        except KafkaException as error:
            raise kafka.trouble(self._topic, kafka.cause_of(error)) from None
        finally:
            consumer.close()
            self.reconciler.stop()

    def _start(self, consumer: Consumer) -> int:
        low, high = self._watermarks(consumer)
        found = self._clickhouse.query("next_account", partition=PARTITION)
        start = int(found[0]["next_offset"]) if found else 0
        if start > high:
            msg = (
                f"ClickHouse holds accounts up to offset {start - 1}, {self._topic} ends at {high}: they "
                "belong to different clusters, or the topic was made anew. Start with an empty ClickHouse"
            )
            raise ConfigError(msg)
        if 0 < start < low:
            _log.error("accounts_gap", topic=self._topic, first_offset=start, last_offset=low - 1)
            self._insert([placeholder_row(PARTITION, low - 1, "gap", start, low - 1, _now_ms())])
        start = max(start, low)
        self.progress = Progress(start, high, self.progress.accounts)
        self._read_to = start
        _log.info("accounts_ingest_started", topic=self._topic, offset=start)
        return start

    def _follow(self, consumer: Consumer) -> None:
        checked = time.monotonic()
        while not self._stop.is_set():
            asked_ms = _now_ms()
            arrived = kafka.gathered(consumer, _MAX_BATCH, _POLL_S, _GATHER_S)
            if not arrived and self._at_end:
                self._read_to_ms = asked_ms
            if rows := self._rows(arrived):
                self._insert(rows)
                self._rollups.touch(rows)
                done = self.progress.accounts + len(rows)
                self.progress = replace(self.progress, next_offset=rows[-1][1] + 1, accounts=done)
            self._rollups.settle()
            self.reconciler.step(self.progress.next_offset)
            if self._rollups.minutes_are_done:
                self.progress = replace(
                    self.progress, settled_offset=self._read_to, settled_ms=self._read_to_ms
                )
            if time.monotonic() - checked > _CHECK_EVERY_S:
                # An idle consumer does not notice that Kafka is gone; this call does.
                _, high = self._watermarks(consumer)
                self.progress = replace(self.progress, end_offset=high)
                checked = time.monotonic()

    def _rows(self, arrived: list[kafka.Arrived]) -> list[Row]:
        rows = []
        for at_ms, message in arrived:
            error = message.error()
            self._at_end = error is not None
            if error is None:
                rows.append(self._row(message, at_ms))
                self._read_to = rows[-1][1] + 1
                self._read_to_ms = max(self._read_to_ms, rows[-1][MADE_AT_MS])
            elif error.code() == PARTITION_EOF:
                self._caught_up = True
                self._read_to = max(self._read_to, int(message.offset() or 0))
                self._read_to_ms = at_ms
            else:
                raise kafka.trouble(self._topic, error)
        return rows

    def _row(self, message: Message, at_ms: int) -> Row:
        offset, value = int(message.offset() or 0), kafka.as_bytes(message.value()) or b""
        row = row_of(PARTITION, offset, value, at_ms, caught_up=self._caught_up)
        if row[STAGE] == "unreadable":
            _log.error("account_unreadable", topic=self._topic, offset=offset)
        return row

    def _insert(self, rows: list[Row]) -> None:
        """Store rows, trying until it is done; only a stop gives up, and then nothing was passed over."""
        the_token = token("accounts", self._topic, rows)
        while True:
            try:
                self._clickhouse.insert("accounts", COLUMNS, rows, the_token)
                return
            except TransientError as error:
                _log.warning("accounts_insert_failed", error=str(error), first_offset=rows[0][1])
                if self._stop.wait(_RETRY_S):
                    raise

    def _watermarks(self, consumer: Consumer) -> tuple[int, int]:
        try:
            return consumer.get_watermark_offsets(
                TopicPartition(self._topic, PARTITION), timeout=kafka.TIMEOUT_S
            )
        except KafkaException as error:
            raise kafka.trouble(self._topic, kafka.cause_of(error)) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
