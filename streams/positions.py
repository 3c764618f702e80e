"""Where a consumer reads on: at what Kafka holds as committed, and nowhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from faust.types import TP

from exchange import log
from streams.transaction import Fatal

_ASK_S: Final = 5.0
_ASK_AGAIN_S: Final = 0.2

_log = log.get(__name__)


class Positions:
    """Committed offsets as Kafka tells them, checked against what this worker has committed itself."""

    def __init__(self, consumer: Consumer, stopping: threading.Event) -> None:
        self._consumer = consumer
        self._stopping = stopping
        self._committed: dict[TP, int] = {}
        """Next offsets that this worker has committed, over all assignments."""

    def committed_to(self, tp: TP, offset: int) -> None:
        """Note that this worker has committed records before `offset`."""
        self._committed[tp] = offset

    def of(self, partitions: Iterable[TP]) -> list[TopicPartition]:
        """Return the committed offset of each partition, or its beginning where nothing was ever committed.

        Waits while Kafka does not answer, while an earlier owner's open transaction may still move them, and
        while it names an offset before one that this worker knows to be committed.
        """
        asked = [TopicPartition(*tp) for tp in partitions]
        while asked:
            committed, problem = self._ask_committed(asked)
            if problem is None and not self._is_behind(committed):
                return [
                    TopicPartition(tp.topic, tp.partition, tp.offset if tp.offset >= 0 else OFFSET_BEGINNING)
                    for tp in committed
                ]
            reason = "BEFORE_OUR_LAST_COMMIT" if problem is None else problem.name()
            if (problem is not None and problem.fatal()) or self._stopping.wait(_ASK_AGAIN_S):
                msg = f"no committed offsets from Kafka: {reason}"
                raise Fatal(msg)
            _log.warning("committed_offsets_pending", error=reason)
        return []

    def _ask_committed(self, asked: list[TopicPartition]) -> tuple[list[TopicPartition], KafkaError | None]:
        try:
            committed = self._consumer.committed(asked, timeout=_ASK_S)
        except KafkaException as error:
            return [], error.args[0]
        return committed, next((tp.error for tp in committed if tp.error is not None), None)

    def _is_behind(self, committed: Iterable[TopicPartition]) -> bool:
        """Whether one of these offsets is before what this worker knows that it has committed."""
        return any(tp.offset < self._committed.get(TP(tp.topic, tp.partition), tp.offset) for tp in committed)

    def seek(self, tp: TP, offset: int) -> bool:
        """Read on at an offset. Returns False when Kafka does not have it: librdkafka has ended reading then.

        Right after an assignment a partition is not being read yet, and cannot be sought in either.
        """
        give_up_at = time.monotonic() + _ASK_S
        while True:
            try:
                self._consumer.seek(TopicPartition(tp.topic, tp.partition, offset))
            except KafkaException as error:
                if self._is_gone(tp, offset):
                    return False
                if time.monotonic() > give_up_at:
                    msg = f"{tp.topic}/{tp.partition}: cannot seek: {error.args[0].name()}"
                    raise Fatal(msg) from None
                time.sleep(0.05)
            else:
                return True

    def _is_gone(self, tp: TP, offset: int) -> bool:
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(*tp), timeout=_ASK_S)
        except KafkaException:
            return False
        return offset >= 0 and found is not None and not found[0] <= offset <= found[1]
