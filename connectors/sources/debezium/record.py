"""One record of Debezium's as the record for its raw topic, or the reason why it cannot be written."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.source import LARGEST_RECORD_BYTES, Captured
from connectors.sources.debezium.messages import Malformed, Message, Messages
from connectors.sources.debezium.schema import UnknownSchema
from connectors.sources.debezium.shapes import EventShape, Place, row_schema, unread
from exchange.change import Op, Position, Reason, Rejected
from exchange.errors import SourceError

_ROOM_BYTES: Final = 1000
"""For what goes round the rows in an envelope: names, times and operation."""
_FIRST_COMMIT: Final = 1
"""Commit position of offset 0. 0 itself is that of the record which empties a table."""
_MEND: Final = (
    "A record stays as it is: once it is mended at Debezium, let it take a new snapshot into a new topic, "
    "name that in topology.yaml, run `exchange apply`, then"
)
_NO_BEFORE: Final = (
    "an update or delete without the row before it, though the topology says `before: complete`; see that "
    "the source tells whole old rows (PostgreSQL: REPLICA IDENTITY FULL), or take `before` out"
)


@dataclass(frozen=True, slots=True)
class _What:
    """What one record does, where and when."""

    place: Place
    position: Position
    op: Op
    source_ms: int
    now_ms: int

    def envelope(self, shape: EventShape, before: bytes | None, after: bytes | None, block: Any) -> bytes:
        """Return the raw record's value."""
        times_ms = self.source_ms, self.now_ms
        return shape.envelope(self.op, (before, after), self.place, times_ms, block)

    def captured(
        self, shape: EventShape, key: bytes | None, value: bytes, rejected: Rejected | None = None
    ) -> Captured:
        """Return the raw record."""
        return Captured(shape.shape, self.position, self.op, self.source_ms, key, value, rejected)


class Records:
    """Reads one table's records."""

    def __init__(
        self,
        system: str,
        table: str,
        stream: int,
        messages: tuple[Messages, Messages],
        *,
        whole_before: bool,
        mend: str = _MEND,
    ) -> None:
        """messages: readers of keys and of values. whole_before: before-images can be relied on.

        mend: what to do, before reading anew, about a record that nothing can be made of.
        """
        self._system = system
        self._table = table
        self._stream = stream
        self._keys, self._values = messages
        self._whole_before = whole_before
        self._mend = mend
        self._shapes: dict[tuple[Hashable | None, Hashable], EventShape] = {}
        self._envelopes: set[Hashable] = set()
        self._last: EventShape | None = None

    def captured(self, place: Place, key: bytes | None, value: bytes) -> Captured:
        """Return the record. A value of None is a tombstone, of which the bus makes its own.

        Raises: SourceError when no record of its schema can be captured.
        """
        position = Position(self._stream, place.offset + _FIRST_COMMIT, place.partition)
        try:
            told = self._values.read(value)
            self._refuse_other_than_envelopes(told)
            event = told.payload
            if not isinstance(event, Mapping):
                raise Malformed
            what = _What(place, position, _op(event), _source_ms(event), _now_ms())
            if what.op is Op.TRUNCATE:
                return _truncate(self._shape(None, told), what)
            if key is None:
                msg = "no key; give the table a primary key, or set message.key.columns"
                raise UnknownSchema(msg)
            keys = self._keys.read(key)
            return self._change(self._shape(keys, told), keys.payload, event, what)
        except UnknownSchema as problem:
            raise self._halt(place, str(problem)) from None
        except Malformed:
            last = self._last.shape if self._last is not None else unread(self._system, self._table)
            return Captured(last, position, Op.UPDATE, _now_ms(), None, value, Rejected(Reason.MALFORMED))

    def emptying(self) -> Captured | None:
        """Return the record that empties the table; None as long as no record of it could be read."""
        shape = self._last
        if shape is None:
            return None
        now_ms = _now_ms()
        what = _What(Place("", 0, 0), Position(self._stream, 0, 0), Op.TRUNCATE, now_ms, now_ms)
        return _truncate(shape, what)

    def _change(self, shape: EventShape, key: Any, event: Mapping[str, Any], what: _What) -> Captured:
        op, before, after = what.op, event["before"], event["after"]
        row = before if op is Op.DELETE else after
        if not isinstance(key, Mapping) or not shape.fits(key, before, after):
            raise Malformed
        if row is None and op is not Op.DELETE:
            raise Malformed
        key_bytes = shape.key(key)
        new = None if op is Op.DELETE else shape.row(after)
        old = self._before(shape, before, key, what)
        problem = next((part for part in (key_bytes, new, old) if isinstance(part, Rejected)), None)
        if problem is not None:
            return what.captured(shape, _bytes(key_bytes), _as_sent(before, after), problem)
        if row is not None and shape.key(row) != key_bytes:
            raise Malformed
        block = event.get("transaction")
        written = what.envelope(shape, _bytes(old), _bytes(new), block)
        if len(written) > LARGEST_RECORD_BYTES - _ROOM_BYTES and old is not None:
            # Perhaps it is the old row that is too large: the change that mends or deletes it must pass.
            least = _bytes(shape.bare_key(key)) if op is Op.DELETE else None
            written = what.envelope(shape, least, _bytes(new), block)
        return what.captured(shape, _bytes(key_bytes), written)

    def _before(
        self, shape: EventShape, before: Any, key: Mapping[str, Any], what: _What
    ) -> bytes | Rejected | None:
        """Return the old row: whole where that can be relied on, else a delete's key and no more.

        An old row that cannot be written was refused when it came; the change that mends it must pass.
        """
        if what.op in (Op.CREATE, Op.READ):
            return None
        if self._whole_before:
            if before is None:
                raise self._halt(what.place, _NO_BEFORE)
            whole = shape.row(before)
            if isinstance(whole, bytes):
                return whole
        return shape.bare_key(key) if what.op is Op.DELETE else None

    def _shape(self, key: Message | None, value: Message) -> EventShape:
        """Return the shape of two schemas; without a key's it serves for TRUNCATE, which has none."""
        tokens = (None if key is None else key.token, value.token)
        shape = self._shapes.get(tokens)
        if shape is None:
            key_schema = None if key is None else key.schema()
            bytes_of = self._values.bytes_of
            shape = EventShape(self._system, self._table, key_schema, value.schema(), bytes_of)
            self._shapes[tokens] = shape
        self._last = shape
        return shape

    def _refuse_other_than_envelopes(self, value: Message) -> None:
        if value.token not in self._envelopes:
            row_schema(value.schema())
            self._envelopes.add(value.token)

    def _halt(self, place: Place, why: str) -> SourceError:
        return SourceError(
            f"source {self._system}: table {self._table}: the record at {place.topic}[{place.partition}] "
            f"offset {place.offset} has {why}. Nothing from there on was captured. {self._mend} "
            f"`exchange resnapshot {self._system}`"
        )


def _truncate(shape: EventShape, what: _What) -> Captured:
    return what.captured(shape, None, what.envelope(shape, None, None, None))


def _as_sent(before: Any, after: Any) -> bytes:
    """Return a refused change as JSON of what Debezium wrote, for the steward."""
    images = {"before": before, "after": after}
    return json.dumps(images, ensure_ascii=False, default=_plain).encode(errors="backslashreplace")


def _op(event: Mapping[str, Any]) -> Op:
    try:
        return Op(event["op"])
    except (KeyError, ValueError):
        raise Malformed from None


def _source_ms(event: Mapping[str, Any]) -> int:
    """Return when the source committed, in ms since 1970-01-01 UTC."""
    source = event.get("source")
    told = source.get("ts_ms") if isinstance(source, Mapping) else None
    if type(told) is not int or not 0 <= told < 1 << 62 or not {"before", "after"} <= event.keys():
        raise Malformed
    return told


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _bytes(part: bytes | Rejected | None) -> bytes | None:
    return part if isinstance(part, bytes) else None


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
