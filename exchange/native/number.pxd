# Signatures for the modules that call these without Python in between.

cdef long long unzigzag(unsigned long long zigzag) noexcept nogil
cdef Py_ssize_t write_long(unsigned char* o, Py_ssize_t j, long long value) noexcept nogil
cdef bint is_finite(unsigned char* p, Py_ssize_t at, bint is_double) noexcept nogil
cdef bint is_shortest_decimal(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef long long decimal(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
