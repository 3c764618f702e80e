# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads what libpq holds of the replication stream, without an object or an exception for each frame.

The functions are those of the libpq that psycopg has loaded; their addresses come from copydata.py.
Source: PostgreSQL documentation, libpq, "Functions for Receiving COPY Data".
"""

from libc.string cimport memcpy
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize

ctypedef int (*get_copy_data_t)(void *connection, char **buffer, int non_blocking)
ctypedef int (*consume_input_t)(void *connection)
ctypedef void (*freemem_t)(void *pointer)


def fill(frames, size_t connection, size_t get_copy_data, size_t consume_input, size_t freemem,
         Py_ssize_t enough):
    """Append frames until there are enough, no room in the index, or nothing more has arrived.

    Returns 0, or a negative number when the stream has ended.
    """
    cdef get_copy_data_t get = <get_copy_data_t>get_copy_data
    cdef consume_input_t consume = <consume_input_t>consume_input
    cdef freemem_t free = <freemem_t>freemem
    cdef bytearray data = frames.data
    cdef long long[::1] index = frames.index
    cdef Py_ssize_t used = frames.used
    cdef Py_ssize_t count = frames.count
    cdef Py_ssize_t most = index.shape[0] // 2
    cdef char *buffer = NULL
    cdef int size = 0
    try:
        while count < most and used < enough:
            size = get(<void *>connection, &buffer, 1)
            if size == 0:
                if not consume(<void *>connection):
                    size = -2
                    break
                size = get(<void *>connection, &buffer, 1)
            if size <= 0:
                break
            try:
                if used + size > PyByteArray_GET_SIZE(data):
                    PyByteArray_Resize(data, used + size + enough)
                memcpy(PyByteArray_AS_STRING(data) + used, buffer, size)
            finally:
                free(buffer)
            index[2 * count] = used
            index[2 * count + 1] = size
            used += size
            count += 1
    finally:
        frames.used = used
        frames.count = count
    return size if size < 0 else 0
