"""Kafka's record batches (magic 2), made of records that are encoded already.

Source: Apache Kafka, documentation, "Message Format", record batch
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from struct import Struct
from typing import Final

import lz4.frame
from aiokafka.record.util import calc_crc32c

MAX_BATCH_BYTES: Final = 1_000_000
"""Of records before they are compressed; a longer record has a batch for itself."""
_FRONT: Final = Struct(">qiibI")
"""base offset, length of what follows, leader epoch, magic, checksum of what follows"""
_REST: Final = Struct(">hiqqqhii")
"""attributes, last offset delta, first and last timestamp, producer id and epoch, base sequence, records"""
_AFTER_LENGTH: Final = 4 + 1 + 4
_MAGIC: Final = 2
_LZ4: Final = 3
_TRANSACTIONAL: Final = 0x10


@dataclass(frozen=True, slots=True)
class Records:
    """Some records of one partition, encoded one after the other. Good until the encoder is used again."""

    topic: str
    partition: int
    count: int
    encoded: memoryview

    def batch(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """Return them as a transactional batch, compressed where that makes it shorter.

        sequence: number of its first record among those of the partition under this epoch.
        """
        now_ms = time.time_ns() // 1_000_000
        attributes = _TRANSACTIONAL
        body: bytes = lz4.frame.compress(  # Kafka reads no linked blocks, and has buffers of 64 KB at hand
            self.encoded, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
        )
        if len(body) < len(self.encoded):
            attributes |= _LZ4
        else:
            body = bytes(self.encoded)
        numbers = (self.count - 1, now_ms, now_ms, producer_id, epoch, sequence, self.count)
        checked = _REST.pack(attributes, *numbers) + body
        front = _FRONT.pack(0, _AFTER_LENGTH + len(checked), -1, _MAGIC, calc_crc32c(checked))
        return b"".join((front, checked))
