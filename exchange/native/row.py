# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Index rows and headers of blocks; see exchange/block.py and exchange/change.py."""

from __future__ import annotations

import cython
from cython import Py_ssize_t, longlong, p_uchar, void

if cython.compiled:
    from cython.cimports.exchange.native.span import copy
else:
    from exchange.native.span import copy


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill(index: longlong[::1], row: Py_ssize_t, topic: longlong, partition: longlong) -> void:
    """Write an index row of a record without key and value."""
    index[row * 8] = topic
    index[row * 8 + 1] = partition
    index[row * 8 + 2] = index[row * 8 + 4] = 0
    index[row * 8 + 3] = index[row * 8 + 5] = -1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def place(
    index: longlong[::1],
    row: Py_ssize_t,
    key_at: Py_ssize_t,
    key_size: Py_ssize_t,
    value_at: Py_ssize_t,
    value_size: Py_ssize_t,
    head: Py_ssize_t,
) -> void:
    index[row * 8 + 2] = key_at
    index[row * 8 + 3] = key_size
    index[row * 8 + 4] = value_at
    index[row * 8 + 5] = value_size
    index[row * 8 + 6] = head
    index[row * 8 + 7] = 40


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def header(
    o: p_uchar,
    j: Py_ssize_t,
    p: p_uchar,
    head: Py_ssize_t,
    operation: longlong,
    plan_version: longlong,
    tombstone: longlong,
) -> Py_ssize_t:
    """Write the record's own header with what this stage changes in it; see exchange/change.py."""
    copy(o, j, p, head, 40)
    o[j + 1] = operation
    o[j + 2] = (p[head + 2] & 0xFE) | tombstone
    o[j + 3] = o[j + 30] = o[j + 31] = 0
    o[j + 4] = (plan_version >> 24) & 0xFF
    o[j + 5] = (plan_version >> 16) & 0xFF
    o[j + 6] = (plan_version >> 8) & 0xFF
    o[j + 7] = plan_version & 0xFF
    return j + 40
