# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""librdkafka's C API on the handle that a client of confluent_kafka already holds: blocks in, blocks out.

No header of librdkafka is installed and no second copy of it is loaded: its functions are looked up in the
library that confluent_kafka runs on, and the few structs of its public interface stand here. They are the
same in all of 2.x that `exchange.blockio` lets pass. See docs/adr/0006.

Source: librdkafka 2.15.0, src/rdkafka.h; confluent_kafka 2.15.0, src/confluent_kafka/src/confluent_kafka.h
"""

from array import array

from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strcmp
cimport cython

from confluent_kafka import KafkaError, KafkaException

from exchange.block import COLUMNS, ReadBlock
from exchange.change import HEADER

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <sys/types.h>

    typedef struct x_kafka x_kafka;
    typedef struct x_topic x_topic;
    typedef struct x_queue x_queue;
    typedef struct x_headers x_headers;
    typedef struct x_error x_error;

    typedef struct {
        int err;
        x_topic *rkt;
        int32_t partition;
        void *payload;
        size_t len;
        void *key;
        size_t key_len;
        int64_t offset;
        void *_private;
    } x_message;

    typedef struct {
        int vtype;
        union {
            x_topic *rkt;
            int i;
            int32_t i32;
            struct { const void *ptr; size_t size; } mem;
            struct { const char *name; const void *val; ssize_t size; } header;
            char _pad[64];
        } u;
    } x_vu;

    typedef struct {
        PyObject_HEAD
        x_kafka *rk;
    } x_handle;

    enum { X_RKT = 2, X_PARTITION = 3, X_VALUE = 4, X_KEY = 5, X_MSGFLAGS = 7, X_HEADER = 9 };
    enum { X_F_COPY = 2 };

    static inline void x_set_rkt(x_vu *to, x_topic *rkt) { to->vtype = X_RKT; to->u.rkt = rkt; }
    static inline void x_set_int(x_vu *to, int vtype, int value) { to->vtype = vtype; to->u.i32 = value; }
    static inline void x_set_mem(x_vu *to, int vtype, const void *ptr, size_t size) {
        to->vtype = vtype; to->u.mem.ptr = ptr; to->u.mem.size = size;
    }
    static inline void x_set_header(x_vu *to, const char *name, const void *ptr, ssize_t size) {
        to->vtype = X_HEADER; to->u.header.name = name; to->u.header.val = ptr; to->u.header.size = size;
    }

    #define X_EACH(F) \\
        F(int, version, (void)) \\
        F(const char *, name, (const x_kafka *)) \\
        F(int, type, (const x_kafka *)) \\
        F(void *, opaque, (const x_kafka *)) \\
        F(int, last_error, (void)) \\
        F(x_topic *, topic_new, (x_kafka *, const char *, void *)) \\
        F(const char *, topic_name, (const x_topic *)) \\
        F(void, topic_destroy, (x_topic *)) \\
        F(x_error *, produceva, (x_kafka *, const x_vu *, size_t)) \\
        F(int, error_code, (const x_error *)) \\
        F(const char *, error_string, (const x_error *)) \\
        F(int, error_is_fatal, (const x_error *)) \\
        F(int, error_is_retriable, (const x_error *)) \\
        F(int, error_txn_requires_abort, (const x_error *)) \\
        F(void, error_destroy, (x_error *)) \\
        F(x_queue *, queue_new, (x_kafka *)) \\
        F(x_queue *, queue_get_partition, (x_kafka *, const char *, int32_t)) \\
        F(void, queue_forward, (x_queue *, x_queue *)) \\
        F(void, queue_destroy, (x_queue *)) \\
        F(ssize_t, consume_batch_queue, (x_queue *, int, x_message **, size_t)) \\
        F(void, message_destroy, (x_message *)) \\
        F(int64_t, message_timestamp, (const x_message *, int *)) \\
        F(int, message_headers, (const x_message *, x_headers **)) \\
        F(int, header_get_all, (const x_headers *, size_t, const char **, const void **, size_t *))

    #define X_DECLARE(R, NAME, ARGS) static R (*rd_kafka_##NAME) ARGS;
    X_EACH(X_DECLARE)

    /* Look every function up; return the name of the first that is not there, NULL when all are. */
    static const char *x_resolve(const char *path) {
        void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
        if (!library)
            return "a loaded library";
        #define X_LOOK_UP(R, NAME, ARGS) \\
            rd_kafka_##NAME = (R (*) ARGS)dlsym(library, "rd_kafka_" #NAME); \\
            if (!rd_kafka_##NAME) return "rd_kafka_" #NAME;
        X_EACH(X_LOOK_UP)
        return NULL;
    }
    """
    ctypedef struct x_kafka:
        pass
    ctypedef struct x_topic:
        pass
    ctypedef struct x_queue:
        pass
    ctypedef struct x_headers:
        pass
    ctypedef struct x_error:
        pass
    ctypedef struct x_vu:
        pass
    ctypedef struct x_message:
        int err
        x_topic *rkt
        int32_t partition
        void *payload
        size_t len
        void *key
        size_t key_len
        int64_t offset
    ctypedef struct x_handle:
        x_kafka *rk
    int X_VALUE, X_KEY, X_PARTITION, X_MSGFLAGS, X_F_COPY
    void x_set_rkt(x_vu *, x_topic *) nogil
    void x_set_int(x_vu *, int, int) nogil
    void x_set_mem(x_vu *, int, const void *, size_t) nogil
    void x_set_header(x_vu *, const char *, const void *, ssize_t) nogil
    const char *x_resolve(const char *) nogil
    int rd_kafka_version() nogil
    const char *rd_kafka_name(const x_kafka *) nogil
    int rd_kafka_type(const x_kafka *) nogil
    void *rd_kafka_opaque(const x_kafka *) nogil
    int rd_kafka_last_error() nogil
    x_topic *rd_kafka_topic_new(x_kafka *, const char *, void *) nogil
    const char *rd_kafka_topic_name(const x_topic *) nogil
    void rd_kafka_topic_destroy(x_topic *) nogil
    x_error *rd_kafka_produceva(x_kafka *, const x_vu *, size_t) nogil
    int rd_kafka_error_code(const x_error *) nogil
    const char *rd_kafka_error_string(const x_error *) nogil
    int rd_kafka_error_is_fatal(const x_error *) nogil
    int rd_kafka_error_is_retriable(const x_error *) nogil
    int rd_kafka_error_txn_requires_abort(const x_error *) nogil
    void rd_kafka_error_destroy(x_error *) nogil
    x_queue *rd_kafka_queue_new(x_kafka *) nogil
    x_queue *rd_kafka_queue_get_partition(x_kafka *, const char *, int32_t) nogil
    void rd_kafka_queue_forward(x_queue *, x_queue *) nogil
    void rd_kafka_queue_destroy(x_queue *) nogil
    ssize_t rd_kafka_consume_batch_queue(x_queue *, int, x_message **, size_t) nogil
    void rd_kafka_message_destroy(x_message *) nogil
    int64_t rd_kafka_message_timestamp(const x_message *, int *) nogil
    int rd_kafka_message_headers(const x_message *, x_headers **) nogil
    int rd_kafka_header_get_all(const x_headers *, size_t, const char **, const void **, size_t *) nogil

PRODUCER, CONSUMER = 0, 1

cdef int _QUEUE_FULL = KafkaError._QUEUE_FULL
cdef bytes _HEADER_BYTES = HEADER.encode()
cdef const char *_HEADER = _HEADER_BYTES
cdef int _COLUMNS = COLUMNS
cdef bint _resolved = False


def load(path):
    """Look the functions up in the library at `path`, which must be loaded already; return its version.

    Raises: ImportError naming what is missing.
    """
    global _resolved
    cdef bytes encoded = path.encode()
    cdef const char *missing = x_resolve(encoded)
    if missing != NULL:
        raise ImportError(f"{missing.decode()} not found")
    _resolved = True
    return rd_kafka_version()


def proves(client, int kind):
    """Say whether what is taken for the client's handle is one: of that kind, and made by this very client."""
    cdef x_kafka *rk = _handle(client)
    return (
        _resolved and rk != NULL and rd_kafka_opaque(rk) == <void *><PyObject *>client
        and rd_kafka_type(rk) == kind and b"#" in <bytes>rd_kafka_name(rk)
    )


cdef inline x_kafka *_handle(object client):
    return (<x_handle *><PyObject *>client).rk


cdef x_kafka *_open(object client) except NULL:
    cdef x_kafka *rk = _handle(client)
    if rk == NULL:
        raise RuntimeError("the client has been closed")
    return rk


cdef _raise(x_error *error):
    reason = KafkaError(
        rd_kafka_error_code(error),
        rd_kafka_error_string(error).decode(errors="replace"),
        bool(rd_kafka_error_is_fatal(error)),
        bool(rd_kafka_error_is_retriable(error)),
        bool(rd_kafka_error_txn_requires_abort(error)),
    )
    rd_kafka_error_destroy(error)
    raise KafkaException(reason)


@cython.no_gc_clear
cdef class Writer:
    """Queues the records of blocks. Keeps its producer alive, for the topics must go first."""

    cdef object _producer
    cdef dict _numbers
    cdef x_topic **_topics
    cdef int _room

    def __cinit__(self, producer):
        self._producer, self._numbers = producer, {}
        self._topics, self._room = NULL, 0

    def __dealloc__(self):
        cdef int number
        if self._producer is not None and _handle(self._producer) != NULL:
            for number in range(len(self._numbers)):
                rd_kafka_topic_destroy(self._topics[number])
        free(self._topics)

    def write(self, block, Py_ssize_t first):
        """Queue from record `first` on; return the number of the first that is not queued."""
        cdef Py_ssize_t count = block.count, number = first, topic_count = len(block.topics)
        cdef x_kafka *rk = _open(self._producer)
        cdef x_error *error = NULL
        if number >= count:
            return count
        cdef const unsigned char[::1] data = block.data
        cdef const long long[::1] index = block.index
        cdef const unsigned char *bytes_ = &data[0] if data.shape[0] else <const unsigned char *>b""
        cdef x_topic **topics = <x_topic **>malloc((topic_count + 1) * sizeof(x_topic *))
        if topics == NULL:
            raise MemoryError
        try:
            for at, topic in enumerate(block.topics):
                topics[<int>at] = self._topic(rk, topic)
            if index.shape[0] < count * _COLUMNS:
                raise ValueError("the index is shorter than the block")
            with nogil:
                number = _produce(
                    rk, topics, &index[0], number, count, bytes_, data.shape[0], topic_count, &error
                )
        finally:
            free(topics)
        if number < 0:
            raise ValueError("the index points outside the block")
        if error == NULL:
            return count
        if rd_kafka_error_code(error) == _QUEUE_FULL:
            rd_kafka_error_destroy(error)
            return number
        _raise(error)

    cdef x_topic *_topic(self, x_kafka *rk, str topic) except NULL:
        cdef x_topic *made
        cdef x_topic **more
        cdef int number
        known = self._numbers.get(topic)
        if known is not None:
            return self._topics[<int>known]
        number = len(self._numbers)
        if number == self._room:
            more = <x_topic **>malloc((2 * number + 8) * sizeof(x_topic *))
            if more == NULL:
                raise MemoryError
            if number:
                memcpy(more, self._topics, number * sizeof(x_topic *))
            free(self._topics)
            self._topics, self._room = more, 2 * number + 8
        made = rd_kafka_topic_new(rk, topic.encode(), NULL)
        if made == NULL:
            raise KafkaException(KafkaError(rd_kafka_last_error()))
        self._topics[number] = made
        self._numbers[topic] = number
        return made


cdef Py_ssize_t _produce(
    x_kafka *rk, x_topic **topics, const long long *index, Py_ssize_t number, Py_ssize_t count,
    const unsigned char *data, long long size, long long topic_count, x_error **error,
) noexcept nogil:
    """Queue records; return the first that is not, then with its error, or -1 for an index that cannot be."""
    cdef x_vu vus[6]
    cdef size_t used
    cdef const long long *row
    cdef bint sound
    x_set_int(&vus[1], X_MSGFLAGS, X_F_COPY)
    while number < count:
        row = index + 8 * number
        sound = (
            0 <= row[0] < topic_count and _inside(row + 2, size) and _inside(row + 4, size)
            and _inside(row + 6, size)
        )
        if not sound:
            return -1
        x_set_rkt(&vus[0], topics[row[0]])
        x_set_int(&vus[2], X_PARTITION, <int>row[1])
        used = 3
        if row[3] >= 0:
            x_set_mem(&vus[used], X_KEY, data + row[2], row[3])
            used += 1
        if row[5] >= 0:
            x_set_mem(&vus[used], X_VALUE, data + row[4], row[5])
            used += 1
        if row[7] >= 0:
            x_set_header(&vus[used], _HEADER, data + row[6], row[7])
            used += 1
        error[0] = rd_kafka_produceva(rk, vus, used)
        if error[0] != NULL:
            break
        number += 1
    return number


cdef inline bint _inside(const long long *part, long long size) noexcept nogil:
    return part[1] == -1 or (part[0] >= 0 and part[1] >= 0 and part[0] <= size - part[1])


cdef enum:
    CHUNK = 16384

ctypedef struct Slot:  # one partition's share of a chunk
    x_topic *rkt
    int32_t partition
    Py_ssize_t records
    long long size
    unsigned char *data
    long long *row
    long long used

ctypedef struct Part:  # what is known of one message of a chunk
    int slot
    const void *header
    long long header_size


@cython.no_gc_clear
cdef class Reader:
    """Takes the fetched messages of partitions past the consumer's own queue, into blocks.

    forward: a partition's messages come to this reader from now on, until it is no longer assigned. Called
    before the partition is assigned, so that none goes the other way.
    Everything else (rebalances, group errors, callbacks) still comes by the consumer's poll().
    """

    cdef object _consumer
    cdef x_queue *_queue
    cdef x_message **_messages
    cdef Part *_parts
    cdef Slot *_slots
    cdef long long _usual_bytes

    def __cinit__(self, consumer):
        self._consumer = consumer
        self._queue = rd_kafka_queue_new(_open(consumer))
        self._messages = <x_message **>malloc(CHUNK * sizeof(x_message *))
        self._parts = <Part *>malloc(CHUNK * sizeof(Part))
        self._slots = <Slot *>malloc(CHUNK * sizeof(Slot))
        self._usual_bytes = 4096
        if self._messages == NULL or self._parts == NULL or self._slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.close()
        free(self._messages)
        free(self._parts)
        free(self._slots)

    cpdef close(self):
        """Let the queue go; must come before the consumer is closed."""
        if self._queue != NULL and self._consumer is not None and _handle(self._consumer) != NULL:
            rd_kafka_queue_destroy(self._queue)
        self._queue = NULL

    def forward(self, str topic, int32_t partition):
        """Have a partition's messages come here."""
        cdef x_queue *of_partition = rd_kafka_queue_get_partition(
            _open(self._consumer), topic.encode(), partition
        )
        if of_partition == NULL:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        rd_kafka_queue_forward(of_partition, self._queue)
        rd_kafka_queue_destroy(of_partition)

    def read(self, dict blocks, list errors, Py_ssize_t max_records, long long max_bytes, int wait_ms):
        """Append what has arrived to blocks, by (topic, partition); wait for the first message only.

        errors: (topic, partition, offset, code) of the messages that are no records is appended.
        Stops after max_records, or soon after max_bytes; returns the records and bytes read. Python is asked
        for twice a chunk: while another thread processes, each time is a wait.
        """
        cdef Py_ssize_t records = 0, got
        cdef size_t wanted
        cdef long long size = 0, taken
        cdef int count
        if self._queue == NULL:
            raise RuntimeError("the reader has been closed")
        while records < max_records and size < max_bytes:
            wanted = min(CHUNK, max_records - records, (max_bytes - size) // self._usual_bytes + 1)
            with nogil:
                got = 0
                count = 0
                if wait_ms > 0:
                    got = rd_kafka_consume_batch_queue(self._queue, wait_ms, self._messages, 1)
                if (got == 1 and wanted > 1) or wait_ms <= 0:
                    got += rd_kafka_consume_batch_queue(self._queue, 0, self._messages + got, wanted - got)
                if got > 0:
                    count = _survey(self._messages, self._parts, self._slots, got)
            if got <= 0:
                break
            wait_ms = 0
            taken = self._take(got, count, blocks, errors)
            self._usual_bytes = taken // got + 1
            size += taken
            records += got
        return records, size

    cdef long long _take(self, Py_ssize_t got, int count, dict blocks, list errors) except -1:
        """Copy what was surveyed into blocks and let the messages go, whatever happens; return the bytes."""
        cdef Py_ssize_t number
        cdef long long size
        views = []
        filled = []
        try:
            size = self._make_room(count, blocks, views, filled)
            self._note_errors(got, errors)
        except BaseException:
            with nogil:
                _destroy(self._messages, got)
            raise
        with nogil:
            _copy(self._messages, self._parts, self._slots, got)
            _destroy(self._messages, got)
        for block, number in filled:
            block.count += self._slots[number].records
            block.used_bytes = self._slots[number].used
        return size

    cdef long long _make_room(self, int count, dict blocks, list views, list filled) except -1:
        """Say in each slot where its records go; `views` keeps that place alive. Returns their bytes."""
        cdef int at
        cdef long long size = 0
        cdef Slot *slot
        cdef unsigned char[::1] data
        cdef long long[::1] index
        for at in range(count):
            slot = &self._slots[at]
            if slot.records == 0:
                continue
            key = (rd_kafka_topic_name(slot.rkt).decode(), slot.partition)
            block = blocks.get(key)
            if block is None:
                block = blocks[key] = ReadBlock()
            block.reserve(slot.records, slot.size + 1)
            data, index = block.data, block.index
            views.append((data, index))
            filled.append((block, at))
            slot.data, slot.used = &data[0], block.used_bytes
            slot.row = &index[0] + <Py_ssize_t>block.count * _COLUMNS
            size += slot.size
        return size

    cdef int _note_errors(self, Py_ssize_t got, list errors) except -1:
        cdef Py_ssize_t number
        cdef x_message *message
        for number in range(got):
            message = self._messages[number]
            if message.err:
                topic = "" if message.rkt == NULL else rd_kafka_topic_name(message.rkt).decode()
                errors.append((topic, message.partition, message.offset, message.err))
        return 0


cdef int _survey(x_message **messages, Part *parts, Slot *slots, Py_ssize_t got) noexcept nogil:
    """Find out what goes where and how large it is; return the number of slots.

    The messages are alive, so a topic's address stands for one topic throughout.
    """
    cdef Py_ssize_t number
    cdef int count = 0, at = 0
    cdef x_message *message
    cdef Part *part
    for number in range(got):
        message, part = messages[number], &parts[number]
        if message.err:
            part.slot = -1
            continue
        if at >= count or slots[at].rkt != message.rkt or slots[at].partition != message.partition:
            at = 0
            while at < count and (slots[at].rkt != message.rkt or slots[at].partition != message.partition):
                at += 1
            if at == count:
                count += 1
                slots[at].rkt, slots[at].partition = message.rkt, message.partition
                slots[at].records, slots[at].size = 0, 0
        _find_header(message, part)
        part.slot = at
        slots[at].records += 1
        slots[at].size += max(part.header_size, 0)
        if message.key != NULL:
            slots[at].size += message.key_len
        if message.payload != NULL:
            slots[at].size += message.len
    return count


cdef void _find_header(x_message *message, Part *part) noexcept nogil:
    """Note the value of the header that is ours, if there is exactly one of its name."""
    cdef x_headers *headers = NULL
    cdef const char *name
    cdef const void *value
    cdef size_t size, number = 0
    cdef int found = 0
    part.header, part.header_size = NULL, -1
    if rd_kafka_message_headers(message, &headers) or headers == NULL:
        return
    while rd_kafka_header_get_all(headers, number, &name, &value, &size) == 0:
        number += 1
        if strcmp(name, _HEADER) == 0:
            found += 1
            part.header = value
            part.header_size = -1 if value == NULL else <long long>size
    if found != 1:
        part.header, part.header_size = NULL, -1


cdef void _copy(x_message **messages, Part *parts, Slot *slots, Py_ssize_t got) noexcept nogil:
    cdef Py_ssize_t number
    cdef x_message *message
    cdef Slot *slot
    cdef int kind
    for number in range(got):
        if parts[number].slot < 0:
            continue
        message, slot = messages[number], &slots[parts[number].slot]
        slot.row[0] = message.offset
        slot.row[1] = rd_kafka_message_timestamp(message, &kind)
        if kind == 0:
            slot.row[1] = -1
        _append(slot, 2, message.key, message.key_len)
        _append(slot, 4, message.payload, message.len)
        _append(slot, 6, parts[number].header, parts[number].header_size)
        slot.row += 8


cdef inline void _append(Slot *slot, int column, const void *part, long long size) noexcept nogil:
    slot.row[column] = slot.used
    if part == NULL:
        slot.row[column + 1] = -1
        return
    slot.row[column + 1] = size
    memcpy(slot.data + slot.used, part, size)
    slot.used += size


cdef void _destroy(x_message **messages, Py_ssize_t got) noexcept nogil:
    cdef Py_ssize_t number
    for number in range(got):
        rd_kafka_message_destroy(messages[number])
