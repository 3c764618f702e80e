# Layout and methods for the coder, which calls them without Python in between.

cdef class Pen:
    cdef unsigned char* p
    cdef unsigned char* q
    cdef Py_ssize_t at

    cdef bint text(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint integer(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint boolean(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint decimal(self, Py_ssize_t start, Py_ssize_t size, long long digits, long long scale) noexcept
    cdef void twos_complement(self, long long number) noexcept
    cdef bint numeric(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint float_(self, Py_ssize_t start, Py_ssize_t size, bint double) noexcept
    cdef bint double(self, double number) noexcept
    cdef bint single(self, double number) noexcept
    cdef void little_endian(self, unsigned long long bits, long long size) noexcept
    cdef bint date(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint clock(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint timestamp(self, Py_ssize_t start, Py_ssize_t size, bint zoned) noexcept
    cdef bint hex_(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef bint converted(self, Py_ssize_t start, Py_ssize_t size, object convert) noexcept
    cdef void sized(self, Py_ssize_t start, Py_ssize_t size) noexcept
    cdef void bytes_(self, bytes source) noexcept
    cdef void long(self, long long number) noexcept
    cdef void byte(self, long long value) noexcept
    cdef void big_endian(self, unsigned long long number, long long size) noexcept
