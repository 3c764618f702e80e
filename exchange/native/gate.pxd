# Layout and methods for the kernel, which calls them without Python in between.

cimport cython

@cython.final
cdef class Gate:
    cdef Py_ssize_t count
    cdef Py_ssize_t used
    cdef long long[::1] needles
    cdef unsigned long long[::1] ends
    cdef Py_ssize_t fewest_digits
    cdef bint has_variant
    cdef long long[::1] loose_at
    cdef bytearray loose_pool
    cdef unsigned char* loose
    cdef tuple owned
    cdef unsigned char* marks
    cdef unsigned char* glanced
    cdef unsigned char* lower
    cdef unsigned char* last_bytes
    cdef unsigned char* folded
    cdef unsigned char* kept
    cdef unsigned char* scratch
    cdef unsigned char* text

    cdef void reset(self) noexcept nogil
    cdef bint add(self, unsigned char* p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t number) except -1 nogil
    cdef bint is_clean(
        self, unsigned char* o, Py_ssize_t start, Py_ssize_t end,
        unsigned long long hidden, unsigned long long approved
    ) except -1 nogil
    cdef bint is_approved(
        self, unsigned char* text, Py_ssize_t at, Py_ssize_t size, unsigned long long approved
    ) noexcept nogil
    cdef bint is_long_number(self, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    cdef long long last_byte(self, Py_ssize_t number) noexcept nogil
    cdef void seek(self, unsigned long long needles) noexcept nogil
    cdef void forget(self, unsigned long long needles) noexcept nogil
    cdef bint has_no_long_number(self, unsigned char* o, Py_ssize_t start, Py_ssize_t end) except -1 nogil
    cdef bint is_clean_at_a_glance(self, unsigned char* o, Py_ssize_t start, Py_ssize_t end) except -1 nogil
    cdef long long clean_width(self, unsigned char* o, Py_ssize_t at, Py_ssize_t end) except -1 nogil
    cdef bint ends_here(self, unsigned char* p, Py_ssize_t start, Py_ssize_t at, bint is_loose) noexcept nogil
    cdef bint may_stand_before(
        self, unsigned char* o, Py_ssize_t start, Py_ssize_t at, Py_ssize_t number
    ) noexcept nogil
    cdef bint holds_none(
        self, unsigned char* o, Py_ssize_t start, Py_ssize_t end, unsigned long long approved
    ) except -1 nogil
    cdef bint stands_before(self, unsigned char* loose, Py_ssize_t end, Py_ssize_t number) noexcept nogil
    cdef Py_ssize_t loosen(
        self, unsigned char* p, Py_ssize_t at, Py_ssize_t end,
        unsigned char* loose, Py_ssize_t j, Py_ssize_t room
    ) except -2 nogil
    cdef Py_ssize_t write_loosened(self, unsigned char* loose, Py_ssize_t j, long long character) except -2 nogil
    cdef long long remember(self, long long character) except -1
