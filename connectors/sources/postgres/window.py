"""Which keys of one table the stream has told of, by transaction: what a chunk may no longer say.

A chunk's row is sent after stream records that may be newer. It is stale where a transaction that the chunk's
read did not see has changed its key and is told already. What the read did see is in the row: those may go.
The log's order does not decide this: a transaction is in the log, and may be told, before others can see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connectors.source import Batch
from connectors.sources.postgres.visibility import Visibility
from exchange.block import HEADER_AT, TOPIC, WriteBlock
from exchange.change import Op

_COLUMNS: Final = 8
_PREFIX_BYTES: Final = 5
"""The wire format's prefix of a key."""
_COMMIT: Final = slice(16, 24)
"""Of the commit position in a header, see exchange.change.RecordHeader."""

MOST_KEYS: Final = 100_000
"""Some 20 MB. A transaction beyond is taken to have changed every key: a chunk that has not seen it waits."""


class Window:
    """note* → stale → forget, again and again. Keys are Avro bytes without the wire format's prefix."""

    def __init__(self, table: str, raw_topic: str) -> None:
        self._table = table
        self._topic = raw_topic
        self._keys: dict[int, set[bytes] | None] = {}
        """By xid; None stands for every key."""
        self._xids: dict[int, int] = {}
        self._count = 0

    def note(self, batch: Batch, begun: Iterable[tuple[int, int]]) -> None:
        """Take in what a batch of the stream tells; `begun`: commit position and xid of new transactions."""
        latest = list(self._xids.items())[-1:]  # the one that may have been open when the batch before ended
        self._xids = dict([*latest, *begun])
        for change in batch.changes:
            if isinstance(change, WriteBlock):
                self._note_block(change)
            elif change.shape.table == self._table:
                key = None if change.op is Op.TRUNCATE else change.key
                self._add(self._xids[change.position.commit], key)

    def stale(self, seen: Visibility) -> set[bytes] | None:
        """Return the keys that a read has not the newest of; None: it may be any."""
        found: set[bytes] = set()
        for xid, keys in self._keys.items():
            if seen.sees(xid):
                continue
            if keys is None:
                return None
            found |= keys
        return found

    def forget(self, seen: Visibility) -> None:
        """Leave out what a read has seen, and with it every later one."""
        self._keys = {xid: keys for xid, keys in self._keys.items() if not seen.sees(xid)}
        self._count = sum(len(keys) for keys in self._keys.values() if keys is not None)

    def clear(self) -> None:
        """Forget all keys."""
        self._keys.clear()
        self._count = 0

    def _note_block(self, block: WriteBlock) -> None:
        if self._topic not in block.topics:
            return
        index, data, topic = block.index, block.data, block.topic_number(self._topic)
        for at in range(0, len(block) * _COLUMNS, _COLUMNS):
            if index[at + TOPIC] == topic:
                header = index[at + HEADER_AT]
                commit = int.from_bytes(data[header + _COMMIT.start : header + _COMMIT.stop], "big")
                key = block.key(at // _COLUMNS)
                self._add(self._xids[commit], key and key[_PREFIX_BYTES:])

    def _add(self, xid: int, key: bytes | None) -> None:
        keys = self._keys.setdefault(xid, set())
        if keys is None:
            return
        if key is None or self._count >= MOST_KEYS:
            self._keys[xid] = None
            self._count -= len(keys)
        elif key not in keys:
            keys.add(key)
            self._count += 1
