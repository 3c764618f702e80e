# What is called so often that a call costs more than the work; span.py has the same in Python.

from libc.string cimport memcpy

cdef inline void copy(
    unsigned char* o, Py_ssize_t j, unsigned char* p, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    memcpy(o + j, p + at, size)
