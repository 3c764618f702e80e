# Signatures for the modules that call these without Python in between.

cdef void copy(unsigned char* o, Py_ssize_t j, unsigned char* p, Py_ssize_t at, Py_ssize_t size) noexcept nogil
cdef void copy_bytes(unsigned char* o, Py_ssize_t j, bytes made, Py_ssize_t size) except *
cdef bint is_same(unsigned char* p, Py_ssize_t at, unsigned char* q, Py_ssize_t there, Py_ssize_t size) noexcept nogil
cdef bytes span(unsigned char* p, Py_ssize_t at, Py_ssize_t end)
cdef bint occurs(unsigned char* q, Py_ssize_t there, Py_ssize_t size, unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef bint starts_with(unsigned char* p, Py_ssize_t at, Py_ssize_t size, unsigned long long prefix) noexcept nogil
cdef long long big_endian(unsigned char* p, Py_ssize_t at) noexcept nogil
cdef unsigned long long fnv(unsigned char* p, Py_ssize_t at, Py_ssize_t size) noexcept nogil
