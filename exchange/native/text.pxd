# Signatures for the modules that call these without Python in between.

cdef bint is_utf8(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef long long utf8_width(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef long long code_point(unsigned char* p, Py_ssize_t at, long long width) noexcept nogil
cdef Py_ssize_t characters(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef Py_ssize_t forward(unsigned char* p, Py_ssize_t at, Py_ssize_t end, long long count) noexcept nogil
cdef bint is_not_blank(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef bint is_mobile(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef long long digits(unsigned char* p, Py_ssize_t at, long long count) noexcept nogil
cdef bint is_id_number(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef bint is_province(long long region) noexcept nogil
cdef bint is_day(long long year, long long month, long long day) noexcept nogil
cdef bint is_credit_code(unsigned char* p, Py_ssize_t at, Py_ssize_t end) noexcept nogil
cdef long long credit_value(long long byte) noexcept nogil
