"""Kinds of source that are handed their rows: requests that are pushed, files that are dropped.

Their department has no table here: a row is what was handed over last, and its types are the contract's.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import httpx

from connectors.http.keys import make_key
from exchange.cluster import Acl
from exchange.plan import RECEIPTS_TOPIC, PlannedResource, PlannedSystem
from tests.conformance import struck
from tests.conformance.subject import AMOUNT, AnySubject, Change, Delete, Put
from tests.integration.capture import Running
from tests.integration.push import contract_field, free_ports

_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
_PLACE = {
    "type": "record",
    "name": "Place",
    "fields": [contract_field("street", "string"), contract_field("lift", ["null", "double"])],
}
_TYPES: dict[str, Any] = {
    "n": "int", "b": "long", "d": _DECIMAL, "f": "float", "g": "double", "t": "string", "o": "boolean",
    "da": {"type": "int", "logicalType": "date"}, "ti": {"type": "long", "logicalType": "time-micros"},
    "tz": {"type": "long", "logicalType": "timestamp-micros"},
    "ts": {"type": "long", "logicalType": "local-timestamp-micros"},
    "u": {"type": "string", "logicalType": "uuid"},
    "e": {"type": "enum", "name": "Grade", "symbols": ["A", "B"]},
    "ar": {"type": "array", "items": "string"}, "re": _PLACE,
}  # fmt: skip
_TYPED_ROW: dict[str, Any] = {
    "n": -2147483648, "b": 9223372036854775807, "d": Decimal("-1234567890.12"), "f": 1.5, "g": -2.5e-8,
    "t": '中文 🙂 "a",\nb', "o": True, "da": "2024-02-29", "ti": "23:59:59.999999",
    "tz": "2024-02-29T12:34:56.789012+08:00", "ts": "2024-02-29T12:34:56.789012",
    "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "e": "B", "ar": ["x", "Łódź"],
    "re": {"street": "长街", "lift": 2.5},
}  # fmt: skip


class HandedSubject(AnySubject):
    """A system whose rows are upserts and deletes, each with all of its row."""

    lacks: ClassVar = {
        "snapshot": "there is no table to read: what was not handed over does not exist",
        "transactions": "a request or file is taken whole or not at all; there is nothing to roll back",
        "key change": "it is a delete and an upsert, which the department sends itself",
    }
    started = "capture_started"
    created = "u"
    faults: ClassVar = {"acknowledge-first": "lost", "receipts-apart": "twice"}
    expected: ClassVar = {
        "n": -2147483648, "b": 9223372036854775807, "d": Decimal("-1234567890.12"), "f": 1.5, "g": -2.5e-8,
        "t": '中文 🙂 "a",\nb', "o": True, "da": date(2024, 2, 29), "ti": time(23, 59, 59, 999999),
        "tz": datetime(2024, 2, 29, 4, 34, 56, 789012, UTC),
        "ts": datetime(2024, 2, 29, 12, 34, 56, 789012),  # noqa: DTZ001 - a local timestamp
        "u": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), "e": "B", "ar": '["x","Łódź"]',
        "re": '{"street":"长街","lift":2.5}',
    }  # fmt: skip

    def __post_init__(self) -> None:
        self.make_steward()
        self._contract_fields: list[dict[str, Any]] = []

    def create(self, *, typed: bool) -> None:
        types = _TYPES if typed else {"name": "string", "amount": _DECIMAL}
        self._contract_fields = [contract_field(name, ["null", type_]) for name, type_ in types.items()]
        self.tables = ["trial.person"]

    def publish(self, of: str = "") -> None:
        self.make_kafka_objects()
        who = f"connector-{self.name}"
        acls = [Acl(who, "topic", RECEIPTS_TOPIC, "literal", operation) for operation in ("read", "write")]
        self.stack.admin.ensure_acls(acls)
        self.publish_plan(1)

    def close(self) -> None:
        self.registry.close()

    def put_typed(self, key: int, *, nulls: bool) -> None:
        self.hand_over([{"id": key} | (dict.fromkeys(_TYPED_ROW) if nulls else _TYPED_ROW)], 0)

    @abstractmethod
    def hand_over(self, rows: Sequence[dict[str, Any]], writer: int) -> None:
        """Hand rows over in one."""

    def _resource(self, table: str) -> PlannedResource:
        contract = {
            "type": "record", "namespace": "trial", "name": "person", "contractVersion": 1,
            "label": {"zh": "人", "en": "Person"}, "key": ["id"],
            "fields": [contract_field("id", "long"), *self._contract_fields],
        }  # fmt: skip
        return super()._resource(table).model_copy(update={"contract": contract})


@dataclass
class _Outbox:
    """One client: a request is sent again with its key until it is confirmed; only then comes the next."""

    sent: int = 0
    request: tuple[str, str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class HttpSubject(HandedSubject):
    lacks: ClassVar = HandedSubject.lacks | {
        "take-over": "on one machine the address is taken: the second ends, the first goes on (test_push.py)"
    }
    large = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        key = make_key(self.stack.settings.secrets, f"{self.name.upper()}_KEYS", only=True)
        (self._port,) = free_ports(1)
        self._client = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=180)
        self._outboxes: dict[int, _Outbox] = {}

    def planned_system(self) -> PlannedSystem:
        address, keys = f"127.0.0.1:{self._port}", f"{self.name.upper()}_KEYS"
        return PlannedSystem(name=self.name, kind="http", listen=address, keys_env=keys)

    def commit(self, changes: Sequence[Change], writer: int = 0, *, undo: bool = False) -> None:
        self._send([_operation(change) for change in changes], writer)

    def hand_over(self, rows: Sequence[dict[str, Any]], writer: int) -> None:
        self._send([{"upsert": row} for row in rows], writer)

    def fill(self, keys: range) -> None:
        raise AssertionError("a request holds 10,000 records at most")

    def confirm(self, writer: int) -> bool:
        outbox = self._outboxes.setdefault(writer, _Outbox())
        with outbox.lock:
            if outbox.request is not None and self._is_taken(*outbox.request):
                outbox.request = None
            return outbox.request is None

    def close(self) -> None:
        self._client.close()
        super().close()

    def _send(self, operations: list[dict[str, Any]], writer: int) -> None:
        outbox = self._outboxes.setdefault(writer, _Outbox())
        assert outbox.request is None
        outbox.sent += 1
        outbox.request = f"{writer}-{outbox.sent}", json.dumps(operations, default=float)
        self.confirm(writer)

    def _is_taken(self, key: str, body: str) -> bool:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        (resource,) = map(self._resource, self.tables)
        url = f"http://127.0.0.1:{self._port}/ingest/{resource.name}"
        try:
            answer = self._client.post(url, content=body.encode(), headers=headers)
        except httpx.TransportError:
            return False
        assert answer.status_code in (202, 429, 503), answer.text
        return answer.status_code == 202


def _operation(change: Change) -> dict[str, Any]:
    match change:
        case Put(key, name):
            return {"upsert": {"id": key, "name": name, "amount": int(AMOUNT)}}
        case Delete(key):
            return {"delete": {"id": key}}
    raise AssertionError(change)


class FilesSubject(HandedSubject):
    lacks: ClassVar = HandedSubject.lacks | {"delete": "a file's rows are upserts; deletes are pushed"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = self.stack.home / f"drop-{self.name}"
        self.folder.mkdir()
        self._lock = threading.Lock()
        self._dropped = 0

    def planned_system(self) -> PlannedSystem:
        return PlannedSystem(name=self.name, kind="files")

    @contextmanager
    def connector(self, *program: str, **environment: str) -> Iterator[Running]:
        """Run one that does not wait five seconds for a file to settle; ours are renamed when whole."""
        with super().connector(*(program or struck.UNHARMED), **environment) as running:
            yield running

    def commit(self, changes: Sequence[Change], writer: int = 0, *, undo: bool = False) -> None:
        puts = [change for change in changes if isinstance(change, Put)]
        assert len(puts) == len(changes)
        self.hand_over([{"id": put.key, "name": put.name, "amount": AMOUNT} for put in puts], writer)

    def hand_over(self, rows: Sequence[dict[str, Any]], writer: int) -> None:
        text = io.StringIO()
        out = csv.DictWriter(text, list(rows[0]))
        out.writeheader()
        out.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        with self._lock:  # files are taken in the order of their time of change, then of their names
            self._dropped += 1
            draft = self.folder / f"{self._dropped:06}-{writer}.csv.part"
            draft.write_text(text.getvalue(), encoding="utf-8", newline="")
            draft.rename(draft.with_suffix(""))

    def confirm(self, writer: int) -> bool:
        """A few files may wait; more would only be read at the end."""
        return len(list(self.folder.glob(f"*-{writer}.csv"))) < 3

    def _resource(self, table: str) -> PlannedResource:
        return super()._resource(table).model_copy(update={"folder": str(self.folder)})


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
