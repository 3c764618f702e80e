"""What a receiver refused for good, and what waits behind it: `_exchange.parked`, as one view sees it.

| key | value |
| --- | --- |
| `<subscriber>/<view>/<partition>/<offset>` | Entry: when, which status, digests of key and position |
| `<subscriber>/<view>/redrive` | Order: send what is parked again |

Avro single-object encoding; no value of a record, its key only as a keyed digest. The records themselves stay
in the view's topic. Entries are written in the transaction of the account and position they belong to.
"""

from __future__ import annotations

import hmac
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from exchange.counting import counted
from exchange.encoding import singleobject
from exchange.errors import ConfigError
from exchange.plan import PARKED_TOPIC
from exchange.position import POSITION_SECRET
from exchange.subscriber.plain import json_text
from exchange.subscriber.reader import Received

At = tuple[int, int]
"""Partition and offset."""

_ORDER: Final = "redrive"
_DIGEST_BYTES: Final = 16
_ENTRY: Final[dict[str, Any]] = {
    "type": "record",
    "name": "ParkedEntry",
    "namespace": "exchange",
    "fields": [
        {"name": "status", "type": "int", "doc": "the receiver's answer; 0: waits behind one of its key"},
        {"name": "parked_at_ms", "type": "long"},
        {"name": "tried_at_ms", "type": "long", "doc": "when it was refused last; 0: never sent"},
        {"name": "key_digest", "type": "bytes", "doc": "keyed; empty where the record has no key"},
        {"name": "position_digest", "type": "bytes", "doc": "tells the record from another at its offset"},
        {"name": "digest_key_id", "type": "bytes", "doc": "which secret made the digests"},
    ],
}
_ORDER_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "RedriveOrder",
    "namespace": "exchange",
    "fields": [
        {"name": "at_ms", "type": "long"},
        {"name": "forget_gone", "type": "boolean", "doc": "give up what Kafka no longer has"},
    ],
}
_ENTRIES: Final = singleobject.Codec(_ENTRY)
_ORDERS: Final = singleobject.Codec(_ORDER_SCHEMA)


@dataclass(frozen=True, slots=True)
class Entry:
    """One parked record; the fields of _ENTRY."""

    status: int
    parked_at_ms: int
    tried_at_ms: int
    key_digest: bytes
    position_digest: bytes
    digest_key_id: bytes

    def encode(self) -> bytes:
        """Return single-object bytes."""
        return _ENTRIES.encode(asdict(self))


@dataclass(frozen=True, slots=True)
class Order:
    """The order to send again what is parked of a view."""

    at_ms: int
    forget_gone: bool

    def encode(self) -> bytes:
        """Return single-object bytes."""
        return _ORDERS.encode(asdict(self))


class HeldKeys:
    """Keys whose records wait, by partition. The empty digest stands for every key of its partition."""

    def __init__(self) -> None:
        self._counts: dict[int, Counter[bytes]] = {}

    def add(self, partition: int, key_digest: bytes) -> None:
        """Note one record more that waits."""
        self._counts.setdefault(partition, Counter())[key_digest] += 1

    def remove(self, partition: int, key_digest: bytes) -> None:
        """Note one record less."""
        counts = self._counts[partition]
        counts[key_digest] -= 1
        if not counts[key_digest]:
            del counts[key_digest]

    def any(self, partition: int) -> bool:
        """Tell whether anything of a partition waits."""
        return bool(self._counts.get(partition))

    def holds(self, partition: int, key_digest: bytes) -> bool:
        """Tell whether a record must wait, so that the order of its key is kept."""
        counts = self._counts.get(partition, Counter())
        return key_digest in counts or b"" in counts or (not key_digest and bool(counts))


@dataclass
class Refusals:
    """Since when the same request of each partition has been refused, with no other answer between."""

    clock_s: Callable[[], float] = time.monotonic
    _since: dict[int, tuple[int, float]] = field(default_factory=dict)

    def refused_for_s(self, partition: int, first_offset: int) -> float:
        """Note a refusal; return for how long the request that begins there has met with nothing else."""
        now_s = self.clock_s()
        offset, since_s = self._since.get(partition, (-1, 0.0))
        if offset != first_offset:
            since_s = now_s
            self._since[partition] = first_offset, since_s
        return now_s - since_s

    def forget(self, partition: int, first_offset: int) -> None:
        """Note that the request that begins there had another answer, or none.

        Requests before the refused one come again with it and are accepted each time: they are not meant.
        """
        if self._since.get(partition, (-1, 0.0))[0] == first_offset:
            del self._since[partition]


class ParkedView:
    """What is parked of one view: as Kafka holds it, with the changes that the next transaction brings there.

    load → (heed | holds | park | renew | drop | end_order)* → take_changes, again and again. After a failed
    transaction it is thrown away.
    """

    def __init__(self, subscriber: str, view: str, secret: SecretStr) -> None:
        self.entries: dict[At, Entry] = {}
        self.order: Order | None = None
        self.refusals = Refusals()
        self.fresh: set[At] = set()
        """What was parked since the last transaction."""
        self._beginning = f"{subscriber}/{view}/"
        self._key = HKDF(SHA256(), 32, None, f"exchange parked v1 {self._beginning}".encode()).derive(
            secret.get_secret_value().encode()
        )
        self._key_id = hmac.digest(self._key, b"id", "sha256")[:_DIGEST_BYTES]
        self._held = HeldKeys()
        self._changes: dict[bytes, bytes | None] = {}

    def load(self, held: Mapping[bytes, bytes], refusals: Refusals) -> None:
        """Take over what Kafka holds, and the refusals of the rounds before.

        Raises: ConfigError when it cannot be told any more which keys wait.
        """
        self.refusals = refusals
        self.entries, self.order = entries_of(held, self._beginning)
        if any(entry.digest_key_id != self._key_id for entry in self.entries.values()):
            msg = (
                f"{self._beginning[:-1]}: records are parked under another {POSITION_SECRET}, so it is "
                "unknown which keys must wait; restore that secret"
            )
            raise ConfigError(msg)
        for (partition, _), entry in self.entries.items():
            self._held.add(partition, entry.key_digest)

    def heed(self, changed: Mapping[bytes, bytes | None]) -> None:
        """Take over an order among what was committed to the topic."""
        value = changed.get(order_key(self._beginning), b"")
        if value != b"":
            self.order = None if value is None else _decoded_order(value)

    def holds(self, record: Received) -> bool:
        """Tell whether a record must be parked because one of its key is, or one of no key."""
        partition = record.partition
        return self._held.any(partition) and self._held.holds(partition, self.key_digest(record))

    def park(self, record: Received, status: int) -> None:
        """Put a record on the list; status 0: it waits behind another. What comes again stays as it is."""
        at, now_ms, digest = (record.partition, record.offset), _now_ms(), self.key_digest(record)
        self.fresh.add(at)
        if at in self.entries:
            if self.is_entry_of(at, record):
                return
            self._held.remove(record.partition, self.entries[at].key_digest)
        self._held.add(record.partition, digest)
        tried_at_ms = now_ms if status else 0
        position = self._position_digest(record)
        self._put(at, Entry(status, now_ms, tried_at_ms, digest, position, self._key_id))

    def renew(self, at: At, status: int) -> None:
        """Note that a parked record was refused again."""
        before = self.entries[at]
        entry = asdict(before) | {"status": status, "tried_at_ms": _now_ms()}
        self._put(at, Entry(**entry))

    def drop(self, at: At) -> None:
        """Take a record off the list."""
        entry = self.entries.pop(at)
        self._held.remove(at[0], entry.key_digest)
        self._changes[entry_key(self._beginning, at)] = None

    def end_order(self) -> None:
        """Take the order off, which was carried out."""
        self.order = None
        self._changes[order_key(self._beginning)] = None

    def take_changes(self) -> dict[bytes, bytes | None]:
        """Return keys and values for the next transaction; None takes an entry off."""
        changes, self._changes = self._changes, {}
        self.fresh = set()
        return changes

    def is_entry_of(self, at: At, record: Received) -> bool:
        """Tell whether a record is the one that was parked, and not another of a topic made anew."""
        return self.entries[at].position_digest == self._position_digest(record)

    def key_digest(self, record: Received) -> bytes:
        """Return the keyed digest of a record's key; empty for a truncate, or where it cannot be decoded."""
        return b"" if record.key is None else self._digest(b"key", json_text(record.key))

    def alarm(self, firsts: Mapping[int, int]) -> str:
        """Return what a person must know, empty where nothing is parked. firsts: offsets, by partition."""
        if not self.entries:
            return ""
        subscriber, view, _ = self._beginning.split("/")
        oldest_ms = min(entry.parked_at_ms for entry in self.entries.values())
        told = (
            f"{view}: {counted(len(self.entries), 'record')} parked, the oldest since {instant(oldest_ms)}; "
            f"mend the receiver, then `exchange parked redrive {subscriber}`, before retention takes them"
        )
        gone = gone_places(self.entries, firsts)
        if gone:
            told += f". {len(gone)} of them GONE from Kafka already: `exchange parked list {subscriber}`"
        return told

    def _put(self, at: At, entry: Entry) -> None:
        self.entries[at] = entry
        self._changes[entry_key(self._beginning, at)] = entry.encode()

    def _position_digest(self, record: Received) -> bytes:
        return self._digest(b"position", str(record.header and record.header.position))

    def _digest(self, purpose: bytes, text: str) -> bytes:
        return hmac.digest(self._key, purpose + b"\0" + text.encode(), "sha256")[:_DIGEST_BYTES]


def entry_key(beginning: str, at: At) -> bytes:
    """Return the Kafka key of an entry. beginning: `<subscriber>/<view>/`."""
    return f"{beginning}{at[0]}/{at[1]}".encode()


def order_key(beginning: str) -> bytes:
    """Return the Kafka key of a view's order."""
    return f"{beginning}{_ORDER}".encode()


def entries_of(held: Mapping[bytes, bytes], beginning: str) -> tuple[dict[At, Entry], Order | None]:
    """Return the entries of a view by partition and offset, in order, and its order where there is one.

    Raises: ConfigError when one was not written by this version.
    """
    entries: dict[At, Entry] = {}
    order = None
    for key, value in held.items():
        text = key.decode()
        if not text.startswith(beginning):
            continue
        name = text.removeprefix(beginning)
        if name == _ORDER:
            order = _decoded_order(value)
        else:
            partition, _, offset = name.partition("/")
            entries[int(partition), int(offset)] = Entry(**_decoded(_ENTRIES, value))
    return dict(sorted(entries.items())), order


def gone_places(entries: Iterable[At], firsts: Mapping[int, int]) -> list[At]:
    """Return the places that Kafka no longer has. firsts: its first offsets, by partition."""
    return [(partition, offset) for partition, offset in entries if offset < firsts.get(partition, 0)]


def instant(at_ms: int) -> str:
    """Return a time as people read it, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _decoded_order(value: bytes) -> Order:
    return Order(**_decoded(_ORDERS, value))


def _decoded(codec: singleobject.Codec, value: bytes) -> dict[str, Any]:
    try:
        return codec.decode(value)
    except ValueError:
        msg = f"{PARKED_TOPIC}: a record was not written by this version; run the one that wrote it"
        raise ConfigError(msg) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
