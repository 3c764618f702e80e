# Signatures for the modules that call these without Python in between.

cdef void fill(long long[::1] index, Py_ssize_t row, long long topic, long long partition) noexcept nogil
cdef void place(long long[::1] index, Py_ssize_t row, Py_ssize_t key_at, Py_ssize_t key_size, Py_ssize_t value_at, Py_ssize_t value_size, Py_ssize_t head) noexcept nogil
cdef Py_ssize_t header(unsigned char* o, Py_ssize_t j, unsigned char* p, Py_ssize_t head, long long operation, long long plan_version, long long tombstone) noexcept nogil
