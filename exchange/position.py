"""The position record: how far a source's changes are in Kafka, written in the transaction that moves them.

One record a system in the compacted topic `_exchange.positions`, key `cdc-<system>`, Avro single-object
encoding. It is the only truth about where to go on; the slot in the database merely keeps the log that long.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from exchange.encoding import singleobject
from exchange.errors import SealError

POSITION_SECRET: Final = "EXCHANGE_POSITION_KEY"  # noqa: S105 - a secret's name
"""Seals the last primary key that a snapshot read: it may be an ID number, and positions are not raw data."""

_NONCE_BYTES: Final = 12
_WRITER: Final = "cdc-"

SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "SourcePosition",
    "namespace": "exchange",
    "fields": [
        {"name": "system", "type": "string"},
        {"name": "system_identifier", "type": "string", "doc": "of the database cluster"},
        {"name": "timeline", "type": "long"},
        {"name": "slot", "type": "string"},
        {"name": "resume", "type": "long", "doc": "log position from which the stream is read again"},
        {"name": "commit", "type": "long", "doc": "of the last change in Kafka; 0 before the first"},
        {"name": "index", "type": "long", "doc": "of the last change in Kafka, within its transaction"},
        {
            "name": "tables",
            "type": {"type": "array", "items": "string"},
            "doc": "each <schema>.<table> and how far it is, as exchange/tablemark.py writes it",
        },
        {
            "name": "snapshot",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "SnapshotProgress",
                    "fields": [
                        {"name": "commit", "type": "long"},
                        {"name": "rows", "type": "long", "doc": "read so far, over all tables"},
                        {"name": "table", "type": "string", "doc": "under way; empty before the first"},
                        {"name": "last_key", "type": "bytes", "doc": "sealed; empty before the first row"},
                    ],
                },
            ],
            "default": None,
        },
        {"name": "mark", "type": "string", "default": "", "doc": "how the log is known again at `resume`"},
        {
            "name": "incremental",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "IncrementalProgress",
                    "fields": [
                        {"name": "operation", "type": "string"},
                        {"name": "table", "type": "string"},
                        {"name": "view", "type": "string", "doc": "that it is for; empty: for all"},
                        {"name": "plan_version", "type": "long", "doc": "that has the view"},
                        {"name": "state", "type": "string", "doc": "a value of IncrementalState"},
                        {"name": "reason", "type": "string", "doc": "why it failed"},
                        {"name": "announced", "type": "boolean", "doc": "workers know that rows follow"},
                        {"name": "chunks", "type": "long"},
                        {"name": "rows", "type": "long", "doc": "sent so far"},
                        {"name": "passed", "type": "long", "doc": "rows that the stream was ahead of"},
                        {"name": "estimated_rows", "type": "long", "doc": "of the table; 0: unknown"},
                        {"name": "key", "type": {"type": "array", "items": "string"}, "doc": "its columns"},
                        {"name": "last_key", "type": "bytes", "doc": "sealed; empty before the first row"},
                    ],
                },
            ],
            "default": None,
            "doc": "the last snapshot that was taken beside the stream",
        },
        {
            "name": "cursor",
            "type": "bytes",
            "default": "",
            "doc": "sealed; where an engine that keeps offsets of its own goes on",
        },
        {"name": "at_ms", "type": "long"},
    ],
}


def _without(*names: str) -> dict[str, Any]:
    return SCHEMA | {"fields": [field for field in SCHEMA["fields"] if field["name"] not in names]}


_CODEC: Final = singleobject.Codec(
    SCHEMA,
    _without("cursor"),
    _without("cursor", "incremental"),
    _without("cursor", "incremental", "mark"),
)


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """How far a snapshot is. `commit` is the log position that its records carry, `rows` their next index.

    last_key: primary key of the last row read of `table`, as the source's texts; empty before the first.
    """

    commit: int
    rows: int = 0
    table: str = ""
    last_key: tuple[str, ...] = ()


class IncrementalState(StrEnum):
    """How an incremental snapshot stands; the last three are its outcome."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class IncrementalProgress:
    """How far a snapshot of one table is that is taken beside the stream; its outcome once it has ended.

    announced: the records that have workers wait for the plan with `view` are in Kafka. rows: sent; passed:
    read, but the stream had told of something newer. key: the primary key's columns with their types.
    last_key: of the last row read, as the source's texts; empty before the first, and once it has ended.
    """

    operation: str
    table: str
    view: str = ""
    plan_version: int = 0
    state: IncrementalState = IncrementalState.RUNNING
    reason: str = ""
    announced: bool = False
    chunks: int = 0
    rows: int = 0
    passed: int = 0
    estimated_rows: int = 0
    key: tuple[str, ...] = ()
    last_key: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more of it is to come."""
        return self.state not in (IncrementalState.RUNNING, IncrementalState.PAUSED)


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Everything up to here is in Kafka.

    resume: start of the log to read again (the end of the last complete transaction); changes in it at or
    before (commit, index) are in Kafka already and are skipped. 0: begin anew, see begin_anew().
    mark: what tells this log from another one at `resume`, where a number alone does not; else empty.
    cursor: texts by which a source's own engine goes on, in its terms; they may hold keys, and are sealed.
    """

    system: str
    system_identifier: str
    timeline: int
    slot: str
    resume: int
    commit: int = 0
    index: int = 0
    tables: tuple[str, ...] = ()
    snapshot: SnapshotProgress | None = None
    mark: str = ""
    incremental: IncrementalProgress | None = None
    cursor: tuple[str, ...] = ()


def begin_anew(position: SourcePosition) -> SourcePosition:
    """Return the position of a source that is to be read from the start, its earlier records being void."""
    beside = position.incremental
    if beside is not None and not beside.has_ended:
        beside = replace(
            beside, state=IncrementalState.STOPPED, reason="all tables are read anew", last_key=()
        )
    anew = replace(position, resume=0, commit=0, index=0, tables=(), snapshot=None, mark="", cursor=())
    return replace(anew, incremental=beside)


def writer_id(system: str) -> str:
    """Return a system's transactional.id, which is also the key of its position and its heartbeat's name."""
    return f"{_WRITER}{system}"


def loader_id(system: str) -> str:
    """Return the transactional.id under which files are loaded into a system."""
    return f"{_WRITER}{system}-load"


def system_of(writer: str) -> str:
    """Return the system of a writer_id, what is none as it is."""
    return writer.removeprefix(_WRITER)


class PositionCodec:
    """Encodes and decodes one system's position records."""

    def __init__(self, system: str, secret: SecretStr) -> None:
        self._context = system.encode()
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"exchange position v1")
        self._cipher = AESGCM(derived.derive(secret.get_secret_value().encode()))

    def encode(self, position: SourcePosition) -> bytes:
        """Return the record's bytes, stamped with the time."""
        progress = position.snapshot
        return _CODEC.encode(
            {
                "system": position.system,
                "system_identifier": position.system_identifier,
                "timeline": position.timeline,
                "slot": position.slot,
                "resume": position.resume,
                "commit": position.commit,
                "index": position.index,
                "tables": list(position.tables),
                "snapshot": progress
                and {
                    "commit": progress.commit,
                    "rows": progress.rows,
                    "table": progress.table,
                    "last_key": self._seal(progress.last_key),
                },
                "mark": position.mark,
                "incremental": position.incremental and self._incremental(position.incremental),
                "cursor": self._seal(position.cursor),
                "at_ms": time.time_ns() // 1_000_000,
            }
        )

    def decode(self, encoded: bytes) -> SourcePosition:
        """Return the position.

        Raises: ValueError when the bytes are no position; SealError when another secret sealed its key.
        """
        return _decoded(encoded, self._open)

    def _incremental(self, progress: IncrementalProgress) -> dict[str, Any]:
        return asdict(progress) | {"key": list(progress.key), "last_key": self._seal(progress.last_key)}

    def _seal(self, key: tuple[str, ...]) -> bytes:
        if not key:
            return b""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, json.dumps(key).encode(), self._context)

    def _open(self, sealed: bytes) -> tuple[str, ...]:
        if not sealed:
            return ()
        try:
            key = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._context)
        except InvalidTag:
            msg = (
                f"position of {self._context.decode()}: a key or an offset in it was sealed with another "
                f"{POSITION_SECRET}; restore that secret"
            )
            raise SealError(msg) from None
        return tuple(json.loads(key))


def shown(encoded: bytes) -> SourcePosition:
    """Return a position with what is sealed in it left out: to be shown, never to go on from.

    Raises: ValueError when the bytes are no position.
    """
    return _decoded(encoded, lambda _sealed: ())


def _decoded(encoded: bytes, open_: Callable[[bytes], tuple[str, ...]]) -> SourcePosition:
    seen = _CODEC.decode(encoded)
    del seen["at_ms"]
    if progress := seen["snapshot"]:
        progress["last_key"] = open_(progress["last_key"])
        seen["snapshot"] = SnapshotProgress(**progress)
    if incremental := seen["incremental"]:
        incremental["last_key"] = open_(incremental["last_key"])
        incremental["key"] = tuple(incremental["key"])
        incremental["state"] = IncrementalState(incremental["state"])
        seen["incremental"] = IncrementalProgress(**incremental)
    seen["cursor"] = open_(seen["cursor"])
    return SourcePosition(**seen | {"tables": tuple(seen["tables"])})
