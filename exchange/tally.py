# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The sums that accounts are made of, taken from blocks as they are read or written.

One pass over headers and bytes, compiled where there is a compiler: it looks at each byte of each record.
Uncompiled, the same code runs on Python's integers, which is why sums and hashes are cut to 64 bits.
"""

from __future__ import annotations

import zlib
from array import array
from typing import NamedTuple

import cython

from exchange.account import delay_bucket
from exchange.block import Block, WriteBlock

_MS_PER_MINUTE = cython.declare(cython.longlong, 60_000)
_READ = cython.declare(cython.int, ord("r"))
_TOMBSTONE = cython.declare(cython.int, 1)

# Numbers of 32 bits and more in variables: as literals they would be Python's integers in compiled code too.
_U32 = cython.declare(cython.uint, 0xFFFF_FFFF)
_U64 = cython.declare(cython.ulonglong, 0xFFFF_FFFF_FFFF_FFFF)
_GAMMA = cython.declare(cython.ulonglong, 0x9E37_79B9_7F4A_7C15)
_FIRST_FACTOR = cython.declare(cython.ulonglong, 0xBF58_476D_1CE4_E5B9)
_SECOND_FACTOR = cython.declare(cython.ulonglong, 0x94D0_49BB_1331_11EB)

if cython.compiled:
    _crc_tables = cython.declare(cython.uint[2048])


class Sums(NamedTuple):
    """What a block holds of one topic and source minute; sums are unsigned 64-bit.

    changes: records without tombstones; first, last: numbers of records in the block; delays: by bucket.
    """

    changes: int
    records: int
    position_sum: int
    content_sum: int
    first: int
    last: int
    delays: dict[int, int]


def tally(
    block: Block,
    first: cython.Py_ssize_t,
    last: cython.Py_ssize_t,
    now_ms: int,
    *,
    reads_count_delay: bool = True,
) -> dict[tuple[int, int], Sums]:
    """Return the sums of records `first` to before `last`, by (number of the topic, source minute).

    Of a block that was read the number is 0. Records without a header of ours are passed over.
    now_ms: what delays are counted to, since 1970-01-01 UTC; reads_count_delay: whether a snapshot's rows
    count in `delays`: they have no time of commit.
    """
    index: cython.longlong[::1] = block.index
    has_topics: cython.bint = isinstance(block, WriteBlock)
    reads: cython.bint = reads_count_delay
    now: cython.longlong = now_ms
    groups: dict[tuple[int, int], _Group] = {}
    recent: list[_Group] = [_Group(-1, 0)] * (len(block.topics) if isinstance(block, WriteBlock) else 1)
    row: cython.Py_ssize_t
    at: cython.Py_ssize_t
    base: cython.Py_ssize_t
    topic: cython.Py_ssize_t = 0
    minute: cython.longlong
    source_ms: cython.longlong
    position: cython.ulonglong
    group: _Group
    data: bytearray = block.data
    p: cython.p_uchar = data
    hashes: cython.ulonglong[::1] = array("Q", bytes(16 * (last - first)))
    with cython.nogil:
        hash_records(p, index, first, last, hashes)
    for row in range(first, last):
        base = row * 8
        if index[base + 7] != 40:
            continue
        at = index[base + 6]
        source_ms = big_endian(p, at + 32)
        minute = source_ms // _MS_PER_MINUTE
        if has_topics:
            topic = index[base]
        group = recent[topic]
        if group.minute != minute:
            group = groups.setdefault((topic, minute), _Group(minute, row))
            recent[topic] = group
        position = hashes[2 * (row - first)]
        group.records += 1
        group.last = row
        group.content_sum = (group.content_sum + hashes[2 * (row - first) + 1]) & _U64
        if p[at + 2] & _TOMBSTONE:
            continue
        group.changes += 1
        group.position_sum = (group.position_sum + position) & _U64
        if reads or p[at + 1] != _READ:
            group.took(now - source_ms)
    return {key: found.sums() for key, found in groups.items()}


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def hash_records(
    p: cython.p_uchar,
    index: cython.longlong[::1],
    first: cython.Py_ssize_t,
    last: cython.Py_ssize_t,
    hashes: cython.ulonglong[::1],
) -> cython.void:
    """Write the hashes of each record's position and content, of those that have a header of ours."""
    row: cython.Py_ssize_t
    base: cython.Py_ssize_t
    position: cython.ulonglong
    key_crc: cython.ulonglong
    value_crc: cython.ulonglong
    for row in range(first, last):
        base = row * 8
        if index[base + 7] != 40:
            continue
        position = position_hash(p, index[base + 6])
        key_crc = crc32(p, index[base + 2], index[base + 3])
        value_crc = crc32(p, index[base + 4], index[base + 5])
        hashes[2 * (row - first)] = position
        hashes[2 * (row - first) + 1] = mix64(position ^ (key_crc << 32) ^ value_crc)


@cython.cclass
class _Group:
    """The running sums of one topic and minute."""

    minute: cython.longlong
    changes: cython.longlong
    records: cython.longlong
    position_sum: cython.ulonglong
    content_sum: cython.ulonglong
    first: cython.longlong
    last: cython.longlong
    delays: dict[int, int]
    delay_ms: cython.longlong
    same_delay: cython.longlong

    def __init__(self, minute: int, first: int) -> None:
        self.minute = minute
        self.first = first
        self.last = first
        self.changes = self.records = self.same_delay = self.delay_ms = 0
        self.position_sum = self.content_sum = 0
        self.delays = {}

    @cython.cfunc
    @cython.exceptval(check=False)
    def took(self, delay_ms: cython.longlong) -> cython.void:
        """Count a delay; neighbours mostly have the same, and only a change costs a look-up."""
        if delay_ms != self.delay_ms:
            self.settle()
            self.delay_ms = delay_ms
        self.same_delay += 1

    @cython.cfunc
    def settle(self) -> cython.void:
        if self.same_delay:
            bucket = delay_bucket(self.delay_ms)
            self.delays[bucket] = self.delays.get(bucket, 0) + self.same_delay
            self.same_delay = 0

    @cython.ccall
    def sums(self) -> object:
        """Return what was summed up."""
        self.settle()
        sums = (self.changes, self.records, self.position_sum, self.content_sum, self.first, self.last)
        return Sums(*sums, self.delays)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def big_endian(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Return the unsigned 64-bit number at a place."""
    value: cython.ulonglong = 0
    byte: cython.Py_ssize_t
    for byte in range(at, at + 8):
        value = (value << 8) | p[byte]
    return value


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def mix64(value: cython.ulonglong) -> cython.ulonglong:
    """Return what exchange.change.mix64 does."""
    value = (value + _GAMMA) & _U64
    value = ((value ^ (value >> 30)) * _FIRST_FACTOR) & _U64
    value = ((value ^ (value >> 27)) * _SECOND_FACTOR) & _U64
    return value ^ (value >> 31)


@cython.cfunc
@cython.nogil
@cython.inline
@cython.exceptval(check=False)
def position_hash(p: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Return Position.hash64() of the header at a place."""
    number: cython.ulonglong = 0
    byte: cython.Py_ssize_t
    for byte in range(at + 24, at + 28):
        number = (number << 8) | p[byte]
    part: cython.ulonglong = (cython.cast(cython.ulonglong, p[at + 28]) << 8) | p[at + 29]
    mixed: cython.ulonglong = mix64(big_endian(p, at + 8) ^ mix64(big_endian(p, at + 16)))
    return mix64(mixed ^ (number << 16) ^ part)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def crc32(p: cython.p_uchar, at: cython.Py_ssize_t, size: cython.Py_ssize_t) -> cython.uint:
    """Return zlib's CRC-32 of so many bytes; 0 where there are none (size -1: no key, a tombstone).

    Compiled, eight bytes a step by eight tables, since a call of zlib for each of them would need an object.
    Source: M. Kounavis and F. Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
    Generation" (slicing-by-8).
    """
    if size <= 0:
        return 0
    if not cython.compiled:
        return zlib.crc32(memoryview(p)[at : at + size])
    crc: cython.uint = _U32
    end: cython.Py_ssize_t = at + size
    low: cython.uint
    while end - at >= 8:
        low = crc ^ (
            p[at]
            | (cython.cast(cython.uint, p[at + 1]) << 8)
            | (cython.cast(cython.uint, p[at + 2]) << 16)
            | (cython.cast(cython.uint, p[at + 3]) << 24)
        )
        crc = (
            _crc_tables[1792 + (low & 0xFF)]
            ^ _crc_tables[1536 + ((low >> 8) & 0xFF)]
            ^ _crc_tables[1280 + ((low >> 16) & 0xFF)]
            ^ _crc_tables[1024 + (low >> 24)]
            ^ _crc_tables[768 + p[at + 4]]
            ^ _crc_tables[512 + p[at + 5]]
            ^ _crc_tables[256 + p[at + 6]]
            ^ _crc_tables[p[at + 7]]
        )
        at += 8
    while at < end:
        crc = (crc >> 8) ^ _crc_tables[(crc ^ p[at]) & 0xFF]
        at += 1
    return crc ^ _U32


def _fill_tables() -> None:
    """Table n holds the CRC of a byte that is followed by n zero bytes."""
    byte: cython.int
    table: cython.int
    _step: cython.int
    crc: cython.uint
    for byte in range(256):
        crc = byte
        for _step in range(8):
            crc = (crc >> 1) ^ 0xEDB8_8320 if crc & 1 else crc >> 1
        _crc_tables[byte] = crc
    for table in range(1, 8):
        for byte in range(256):
            crc = _crc_tables[(table - 1) * 256 + byte]
            _crc_tables[table * 256 + byte] = (crc >> 8) ^ _crc_tables[crc & 0xFF]


if cython.compiled:
    _fill_tables()
