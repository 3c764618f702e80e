# Layout and methods for the kernel, which calls them without Python in between.

cimport cython

@cython.final
cdef class Gate:
    cdef Py_ssize_t count
    cdef Py_ssize_t used
    cdef long long[::1] needles
    cdef unsigned long long[::1] ends
    cdef bytearray marks
    cdef bytearray folded
    cdef bytearray kept
    cdef long long[::1] loose_at
    cdef bytearray loose_pool
    cdef bytearray scratch
    cdef bytearray text

    cdef void reset(self) noexcept
    cdef bint add(self, unsigned char* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t number) except -1
    cdef bint is_clean(
        self, unsigned char* o, Py_ssize_t start, Py_ssize_t end,
        unsigned long long hidden, unsigned long long approved
    ) except -1
    cdef bint is_approved(
        self, unsigned char* text, Py_ssize_t at, Py_ssize_t size, unsigned long long approved
    ) noexcept
    cdef bint holds_none(
        self, unsigned char* o, Py_ssize_t start, Py_ssize_t end, unsigned long long approved
    ) except -1
    cdef bint ends_here(self, unsigned char* held, unsigned char* loose, Py_ssize_t end) noexcept
    cdef Py_ssize_t loosen(
        self, unsigned char* p, Py_ssize_t at, Py_ssize_t end,
        unsigned char* loose, Py_ssize_t j, Py_ssize_t room
    ) except -2
    cdef Py_ssize_t write_loosened(self, unsigned char* loose, Py_ssize_t j, long long character) except -2
