# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Records of a block as they stand in Kafka's batches: one pass to measure, one to write, no object for each.

Source: Apache Kafka, documentation, "Message Format", record
"""

from __future__ import annotations

from array import array
from typing import Final

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong

from exchange.block import WriteBlock
from exchange.change import HEADER
from exchange.wire.batches import MAX_BATCH_BYTES, Records

if cython.compiled:
    from cython.cimports.exchange.native.number import write_long
    from cython.cimports.exchange.native.span import copy
else:
    from exchange.native.number import write_long
    from exchange.native.span import copy

COLUMNS = cython.declare(Py_ssize_t, 8)
SLOT_COLUMNS = cython.declare(Py_ssize_t, 5)
"""Of a slot, which takes the records of one batch: topic, partition, records, bytes, where it begins."""
CLOSED = cython.declare(longlong, 1 << 32)
"""Added to the topic of a slot that is full."""
SLOTS_FULL = cython.declare(Py_ssize_t, -1)
OUTSIDE = cython.declare(Py_ssize_t, -2)
_SLOTS: Final = 256
_NAME: Final = bytes([2 * len(HEADER)]) + HEADER.encode()
"""The header's name, as it stands in each record that has one."""


@cython.final
@cython.cclass
class Encoder:
    """Encodes blocks one after the other, in room that is used again."""

    room: bytearray
    owners: array[int]
    slots: array[int]

    def __init__(self) -> None:
        self.room = bytearray(1)
        self.owners = array("q", [0])
        self.slots = array("q", bytes(8 * _SLOTS * SLOT_COLUMNS))

    def encode(
        self, block: WriteBlock, first: Py_ssize_t = 0, max_bytes: Py_ssize_t = MAX_BATCH_BYTES
    ) -> list[Records]:
        """Return the records of a block from `first` on, by topic and partition, each in its order.

        max_bytes: of one batch; a record that is longer has one for itself.

        Raises: ValueError for an index that points outside the block.
        """
        count: Py_ssize_t = block.count
        if len(block.index) < count * COLUMNS:
            msg = "the index is shorter than the block"
            raise ValueError(msg)
        if count <= first:
            return []
        if len(self.owners) < count:
            self.owners = array("q", bytes(8 * count))
        index: longlong[::1] = block.index
        owners: longlong[::1] = self.owners
        data: p_uchar = block.data
        name: p_uchar = _NAME
        size: Py_ssize_t = len(block.data)
        topics: Py_ssize_t = len(block.topics)
        name_bytes: Py_ssize_t = len(_NAME)
        slots: longlong[::1]
        most: Py_ssize_t
        used: Py_ssize_t
        while True:
            slots = self.slots
            most = len(self.slots)
            with cython.nogil:
                used = measured(index, owners, slots, most, first, count, size, topics, name_bytes, max_bytes)
            if used != SLOTS_FULL:
                break
            self.slots = array("q", bytes(2 * 8 * len(self.slots)))
        if used == OUTSIDE:
            msg = "the index points outside the block"
            raise ValueError(msg)
        self.make_room(used)
        room: p_uchar = self.room
        with cython.nogil:
            write(index, owners, slots, first, count, data, room, name, name_bytes)
        return self.found(used, block.topics)

    @cython.cfunc
    def make_room(self, used: Py_ssize_t) -> cython.void:
        """Say in each slot where it begins, and empty it."""
        slots: longlong[::1] = self.slots
        total: longlong = 0
        at: Py_ssize_t
        for at in range(0, used * SLOT_COLUMNS, SLOT_COLUMNS):
            slots[at + 4] = total
            total += slots[at + 3]
            slots[at + 2] = slots[at + 3] = 0
        if len(self.room) < total:
            self.room = bytearray(total)

    @cython.cfunc
    def found(self, used: Py_ssize_t, topics: list[str]) -> list[Records]:
        whole = memoryview(self.room)
        slots: longlong[::1] = self.slots
        made = []
        for at in range(0, used * SLOT_COLUMNS, SLOT_COLUMNS):
            begin: longlong = slots[at + 4]
            encoded = whole[begin : begin + slots[at + 3]]
            made.append(Records(topics[slots[at] % CLOSED], slots[at + 1], slots[at + 2], encoded))
        return made


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def measured(
    index: longlong[::1],
    owners: longlong[::1],
    slots: longlong[::1],
    most: Py_ssize_t,
    first: Py_ssize_t,
    count: Py_ssize_t,
    size: Py_ssize_t,
    topics: Py_ssize_t,
    name_bytes: Py_ssize_t,
    max_bytes: Py_ssize_t,
) -> Py_ssize_t:
    """Give each record a slot, and each slot its size; return how many slots there are, or what is wrong."""
    used: Py_ssize_t = 0
    slot: Py_ssize_t = 0
    looked: Py_ssize_t
    number: Py_ssize_t
    row: Py_ssize_t
    length: Py_ssize_t
    for number in range(first, count):
        row = number * COLUMNS
        if not (
            0 <= index[row] < topics
            and is_inside(index[row + 2], index[row + 3], size)
            and is_inside(index[row + 4], index[row + 5], size)
            and is_inside(index[row + 6], index[row + 7], size)
        ):
            return OUTSIDE
        # views take turns in a block: the next slot is the likeliest
        looked = 0
        while looked < used:
            slot = slot + SLOT_COLUMNS if slot + SLOT_COLUMNS < used * SLOT_COLUMNS else 0
            if slots[slot] == index[row] and slots[slot + 1] == index[row + 1]:
                break
            looked += 1
        length = 0
        if looked < used:
            length = record_bytes(index, row, slots[slot + 2], name_bytes)
            if slots[slot + 3] + length > max_bytes:
                slots[slot] += CLOSED
                looked = used
        if looked == used:
            slot = used * SLOT_COLUMNS
            used += 1
            if slot + SLOT_COLUMNS > most:
                return SLOTS_FULL
            slots[slot] = index[row]
            slots[slot + 1] = index[row + 1]
            slots[slot + 2] = slots[slot + 3] = 0
            length = record_bytes(index, row, 0, name_bytes)
        owners[number] = slot
        slots[slot + 2] += 1
        slots[slot + 3] += length
    return used


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write(
    index: longlong[::1],
    owners: longlong[::1],
    slots: longlong[::1],
    first: Py_ssize_t,
    count: Py_ssize_t,
    data: p_uchar,
    room: p_uchar,
    name: p_uchar,
    name_bytes: Py_ssize_t,
) -> cython.void:
    """Write each record behind the others of its slot."""
    number: Py_ssize_t
    row: Py_ssize_t
    slot: Py_ssize_t
    at: Py_ssize_t
    begin: Py_ssize_t
    for number in range(first, count):
        row = number * COLUMNS
        slot = owners[number]
        begin = at = slots[slot + 4] + slots[slot + 3]
        at = write_long(room, at, body_bytes(index, row, slots[slot + 2], name_bytes))
        room[at] = room[at + 1] = 0  # attributes, and the time after the first record's
        at = write_long(room, at + 2, slots[slot + 2])
        at = put_part(room, at, index, row + 2, data)
        at = put_part(room, at, index, row + 4, data)
        if index[row + 7] < 0:
            room[at] = 0
            at += 1
        else:
            room[at] = 2
            copy(room, at + 1, name, 0, name_bytes)
            at = put_part(room, at + 1 + name_bytes, index, row + 6, data)
        slots[slot + 2] += 1
        slots[slot + 3] += at - begin


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def is_inside(at: longlong, length: longlong, size: longlong) -> bint:
    return length == -1 or (0 <= at <= size and 0 <= length <= size - at)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def record_bytes(
    index: longlong[::1], row: Py_ssize_t, delta: longlong, name_bytes: Py_ssize_t
) -> Py_ssize_t:
    body: Py_ssize_t = body_bytes(index, row, delta, name_bytes)
    return long_bytes(body) + body


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def body_bytes(index: longlong[::1], row: Py_ssize_t, delta: longlong, name_bytes: Py_ssize_t) -> Py_ssize_t:
    size: Py_ssize_t = 3 + long_bytes(delta)
    size += part_bytes(index[row + 3]) + part_bytes(index[row + 5])
    return size if index[row + 7] < 0 else size + name_bytes + part_bytes(index[row + 7])


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def part_bytes(length: longlong) -> Py_ssize_t:
    return 1 if length < 0 else long_bytes(length) + length


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def long_bytes(value: longlong) -> Py_ssize_t:
    """Return how long a number of no sign is as `write_long` writes it; Kafka's varints are Avro's."""
    doubled: ulonglong = 2 * value
    size: Py_ssize_t = 1
    while doubled >= 0x80:
        doubled >>= 7
        size += 1
    return size


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def put_part(
    room: p_uchar, at: Py_ssize_t, index: longlong[::1], column: Py_ssize_t, data: p_uchar
) -> Py_ssize_t:
    """Write a key, a value or a header's value, which may be null."""
    length: longlong = index[column + 1]
    at = write_long(room, at, length)
    if length <= 0:
        return at
    copy(room, at, data, index[column], length)
    return at + length
