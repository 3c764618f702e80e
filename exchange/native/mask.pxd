# Signatures for the modules that call these without Python in between.

cdef Py_ssize_t write_partial(unsigned char* p, unsigned char* o, Py_ssize_t j, Py_ssize_t at, Py_ssize_t end, long long first, long long last) noexcept nogil
cdef Py_ssize_t write_prefix(unsigned char* p, unsigned char* o, Py_ssize_t j, Py_ssize_t at, Py_ssize_t end, long long size) noexcept nogil
cdef Py_ssize_t write_calendar(unsigned char* o, Py_ssize_t j, long long value, long long length, bint is_micros) except? -1 nogil
cdef Py_ssize_t write_bucket(unsigned char* o, Py_ssize_t j, long long value, long long size) except? -1 nogil
