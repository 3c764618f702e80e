"""Everything that leaves the bus or lies on its disk, as (where, bytes), for the canary search."""

from __future__ import annotations

import gzip
import json
import struct
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import lz4.block
import lz4.frame
import redis
from backports import zstd
from confluent_kafka import ConsumerGroupTopicPartitions

from exchange.admin import admin_client
from tests.checkers.committed import CommittedReader

Place = tuple[str, bytes]
EVENTS = "text/event-stream"
_EVENTS_READ = 2


def topics(client: dict[str, Any], names: Iterable[str]) -> Iterator[Place]:
    """Keys, values and headers of every record, those of aborted transactions too."""
    reader = CommittedReader(client, names, isolation="read_uncommitted")
    try:
        for record in reader.read_to_end():
            where = f"{record.topic()}[{record.partition()}]@{record.offset()}"
            parts = {
                "key": record.key(),
                "value": record.value(),
                "headers": b"".join(_flat(record.headers())),
            }
            yield from ((f"{where} {part}", data) for part, data in parts.items() if data)
    finally:
        reader.close()


def groups(client: dict[str, Any]) -> Iterator[Place]:
    """Names of consumer groups and the metadata of their offsets."""
    admin = admin_client(client)
    for group in admin.list_consumer_groups().result(timeout=30).valid:
        yield f"group {group.group_id}", group.group_id.encode()
        request = [ConsumerGroupTopicPartitions(group.group_id)]
        for answer in admin.list_consumer_group_offsets(request).values():
            for place in answer.result(timeout=30).topic_partitions:
                yield f"group {group.group_id} {place.topic}", (place.metadata or "").encode()


def redis_keys(url: str, password: str) -> Iterator[Place]:
    """Every key's name and whole value."""
    with redis.Redis.from_url(url, password=password) as connection:
        for key in connection.scan_iter(count=1_000):
            where = f"redis {key!r}"
            yield where, key
            yield where, _redis_value(connection, key)


def _redis_value(connection: Any, key: bytes) -> bytes:
    read: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: connection.get(key),
        b"hash": lambda: connection.hgetall(key),
        b"list": lambda: connection.lrange(key, 0, -1),
        b"set": lambda: connection.smembers(key),
        b"zset": lambda: connection.zrange(key, 0, -1, withscores=True),
        b"stream": lambda: connection.xrange(key),
    }
    return b"\n".join(_flat(read[connection.type(key)]()))


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from _flat(list(value.items()))
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield str(value).encode()


def api(base_url: str, extra: Iterable[str] = ()) -> Iterator[Place]:
    """Answers of every GET path that needs no argument, of `extra`, and the API's description."""
    described = _get(f"{base_url}/openapi.json")
    yield "api /openapi.json", described
    paths = [
        path
        for path, calls in json.loads(described)["paths"].items()
        if "get" in calls and not any(one["required"] for one in calls["get"].get("parameters", ()))
    ]
    for path in paths:
        yield f"api {path}", _said(base_url + path)
    for path in extra:
        yield f"api {path}", _get(base_url + path)


def _said(url: str) -> bytes:
    """Return the answer, a refusal's too: some paths refuse where nobody has to log in."""
    try:
        return _get(url)
    except urllib.error.HTTPError as refusal:
        return str(refusal.headers).encode() + refusal.read()


def _get(url: str) -> bytes:
    request = urllib.request.Request(url)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        head = str(answer.headers).encode()
        body: bytes = _events(answer) if answer.headers.get_content_type() == EVENTS else answer.read()
    return body if url.endswith("openapi.json") else head + body


def _events(stream: BinaryIO) -> bytes:
    """Return what a stream says until its second event is over; it would go on for minutes."""
    seen: list[bytes] = []
    while sum(line.startswith(b"event:") for line in seen) < _EVENTS_READ or seen[-1].strip():
        line = stream.readline()
        assert line, "the stream of events ended before it told anything"
        seen.append(line)
    return b"".join(seen)


def files(directory: Path) -> Iterator[Place]:
    """Every file below a directory, as it lies there."""
    for file in sorted(directory.rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield str(file), file.read_bytes()


def kafka_segments(log_directory: Path, prefixes: tuple[str, ...]) -> Iterator[Place]:
    """Segments of the topics that begin with a prefix, as they lie on disk and with batches unpacked."""
    for folder in sorted(log_directory.iterdir()):
        if not folder.is_dir() or not folder.name.startswith(prefixes):
            continue
        for segment in sorted(folder.glob("*.log")):
            data = segment.read_bytes()
            yield str(segment), data
            for number, records in enumerate(unpacked_batches(data)):
                yield f"{segment} batch {number}", records


_BATCH_HEAD = 61
_ATTRIBUTES = 21


def unpacked_batches(segment: bytes) -> Iterator[bytes]:
    """Yield the records of each batch of a segment, decompressed.

    Source: Kafka documentation, "Record Batch", magic 2: base offset, length of what follows, ..., attributes
    at byte 21 whose lowest three bits name the codec, records from byte 61.
    """
    start = 0
    while start + _BATCH_HEAD <= len(segment):
        (length,) = struct.unpack_from(">i", segment, start + 8)
        if length <= 0:  # preallocated tail
            return
        end = start + 12 + length
        (attributes,) = struct.unpack_from(">h", segment, start + _ATTRIBUTES)
        yield _UNPACK[attributes & 7](segment[start + _BATCH_HEAD : end])
        start = end


def _no_snappy(packed: bytes) -> bytes:
    msg = "a batch is packed with snappy, which this search cannot unpack"
    raise ValueError(msg)


_UNPACK: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: gzip.decompress,
    2: _no_snappy,
    3: lambda packed: bytes(lz4.frame.decompress(packed)),
    4: zstd.decompress,
}

_COLUMN_HEAD = struct.Struct("<16xBII")
_METHOD_LZ4, _METHOD_ZSTD, _METHOD_NONE = 0x82, 0x90, 0x02


def clickhouse_files(directory: Path) -> Iterator[Place]:
    """Every file of a ClickHouse path: as it lies on disk, and its compressed blocks unpacked."""
    for where, data in files(directory):
        yield where, data
        unpacked = b"".join(unpacked_blocks(data))
        if unpacked:
            yield f"{where} unpacked", unpacked


def unpacked_blocks(data: bytes) -> Iterator[bytes]:
    """Yield the decompressed blocks of a column file; nothing when it is not one.

    Source: ClickHouse, src/Compression/CompressedReadBufferBase.cpp: 16 bytes checksum, method, size with
    this 9-byte head, size unpacked, data.
    """
    start = 0
    while start + _COLUMN_HEAD.size <= len(data):
        method, packed, unpacked = _COLUMN_HEAD.unpack_from(data, start)
        end = start + 16 + packed
        if method not in (_METHOD_LZ4, _METHOD_ZSTD, _METHOD_NONE) or packed < 9 or end > len(data):
            return
        body = data[start + _COLUMN_HEAD.size : end]
        if method == _METHOD_LZ4:
            yield lz4.block.decompress(body, uncompressed_size=unpacked)
        else:
            yield zstd.decompress(body) if method == _METHOD_ZSTD else body
        start = end
