"""A bus of departments that push or hand over files, for tests: applied by commands, run as processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import Consumer

from tests.checkers.committed import CommittedReader
from tests.checkers.wire import Schemas, Stamp, stamp
from tests.integration.capture import COMMAND, Running
from tests.integration.nursery import nursery
from tests.stack import Stack, wait_for

RAW = "raw.hospitals.health.case"
OTHER_RAW = "raw.clinics.health.visit"
VIEW = "share.health.case.all"
RECEIPTS = "_exchange.receipts"


def contract_field(name: str, type_: Any, *rules: dict[str, Any], label: str = "") -> dict[str, Any]:
    nullable = {"default": None} if isinstance(type_, list) else {}
    words = {"zh": label or name, "en": name}
    return {
        "name": name,
        "type": type_,
        "classification": 1,
        "label": words,
        "rules": list(rules),
        **nullable,
    }


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
PLACE = {
    "type": "record",
    "name": "Place",
    "fields": [
        contract_field("street", "string", {"rule": "length", "max": 20}),
        contract_field("lift", ["null", "double"]),
    ],
}
CASE: dict[str, Any] = {
    "type": "record",
    "namespace": "health",
    "name": "case",
    "contractVersion": 1,
    "label": {"zh": "病例", "en": "Case"},
    "key": ["case_id"],
    "fields": [
        contract_field("case_id", "string", {"rule": "length", "min": 1, "max": 40}, label="病例编号"),
        contract_field("count", "int", {"rule": "range", "min": 0, "max": 1_000_000}, label="次数"),
        contract_field("name", ["null", "string"], label="姓名"),
        contract_field("amount", ["null", DECIMAL], label="金额"),
        contract_field("day", ["null", {"type": "int", "logicalType": "date"}], label="日期"),
        contract_field("at", ["null", {"type": "long", "logicalType": "timestamp-micros"}]),
        contract_field("grade", ["null", {"type": "enum", "name": "Grade", "symbols": ["A", "B"]}]),
        contract_field("open", ["null", "boolean"]),
        contract_field("tags", ["null", {"type": "array", "items": "string"}]),
        contract_field("place", ["null", PLACE]),
    ],
}
TOPOLOGY = """\
departments:
  health:
    label: {{zh: 卫健委, en: Health}}
  tax:
    label: {{zh: 税务局, en: Tax}}
systems:
  hospitals:
    department: health
    kind: http
    listen: 127.0.0.1:{ports[0]}
    keys_env: HOSPITALS_KEYS
  clinics:
    department: tax
    kind: http
    listen: 127.0.0.1:{ports[1]}
    keys_env: CLINICS_KEYS
  registry:
    department: health
    kind: files
resources:
  health.case:
    label: {{zh: 病例, en: Cases}}
    system: hospitals
    table: health.case
    catalogue_code: A-1
    share: unconditional
    partitions: 3
  health.visit:
    label: {{zh: 就诊, en: Visits}}
    system: clinics
    table: health.visit
    contract: health.case
    catalogue_code: A-2
    share: unconditional
    partitions: 3
  health.paper:
    label: {{zh: 档案, en: Papers}}
    system: registry
    table: health.paper
    folder: {folder}
    contract: health.case
    catalogue_code: A-3
    share: unconditional
    partitions: 3
views:
  health.case.all:
    resource: health.case
    label: {{zh: 全部, en: All}}
    fields: {{case_id: clear, count: clear, name: clear, amount: clear, tags: clear, place.street: clear}}
subscribers:
  tax:
    department: tax
    label: {{zh: 税务局, en: Tax}}
grants:
  - {{subscriber: tax, view: health.case.all}}
"""


@dataclass(frozen=True)
class Pushed:
    """One committed record of a raw topic."""

    stamp: Stamp
    key: Any
    value: Any


class PushBus:
    """The bus of TOPOLOGY on a stack, applied."""

    def __init__(self, stack: Stack, place: Path, topology: str = TOPOLOGY) -> None:
        self.stack = stack
        self.folder = place / "papers"
        self.folder.mkdir()
        self.ports = free_ports(2)
        (place / "avro" / "health").mkdir(parents=True)
        (place / "avro" / "health" / "case.avsc").write_text(json.dumps(CASE))
        self.topology = place / "topology.yaml"
        self.topology.write_text(topology.format(ports=self.ports, folder=self.folder))
        self.environment = os.environ | {
            "EXCHANGE_HOME": str(stack.home),
            "EXCHANGE_TOPOLOGY": str(place / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(place / "avro"),
        }
        for department in ("health", "tax"):
            self.cli("keys", "create", department)
        self.cli("apply", "--yes")
        self.key = self.cli("push-key", "hospitals").stdout.strip()
        self.other_key = self.cli("push-key", "clinics").stdout.strip()
        self._schemas = Schemas(stack.settings.endpoints().registry)
        self._count = 0
        self._asking: dict[str, Consumer] = {}
        self.shared: Running | None = None

    def cli(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = nursery().run([*COMMAND, *args], self.environment)
        assert not check or done.returncode == 0, done.stderr
        return done

    def start(self, arguments: Sequence[str]) -> Running:
        """Start a process of Python's `arguments`; the caller ends it."""
        self._count += 1
        log = self.stack.home / "logs" / f"push-{self._count}.log"
        log.touch()
        return Running(nursery().start(arguments, self.environment, log), log)

    @contextmanager
    def running(self, arguments: Sequence[str]) -> Iterator[Running]:
        """Run a process for a while; it is killed at the end if it is still there."""
        running = self.start(arguments)
        try:
            yield running
        finally:
            running.kill()

    @contextmanager
    def door(self, *, system: str = "hospitals") -> Iterator[Running]:
        """Run a system's connector, from when it is ready."""
        with self.running([*COMMAND, "connect", system]) as running:
            self.wait_until_ready(running, system)
            yield running

    def wait_until_ready(self, running: Running, system: str = "hospitals") -> None:
        def ready() -> bool:
            assert running.process.poll() is None, running.text()
            try:
                return httpx.get(f"{self.url(system)}/health", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, f"{system} to be ready: {running.text()}")

    def url(self, system: str = "hospitals") -> str:
        return f"http://127.0.0.1:{self.ports[['hospitals', 'clinics'].index(system)]}"

    def client(self, key: str | None = None, system: str = "hospitals") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=self.url(system), headers=headers, timeout=90)

    def committed(self, topic: str) -> list[Any]:
        """Return all committed messages of a topic."""
        reader = CommittedReader(self.stack.settings.kafka_client("admin"), [topic])
        try:
            return reader.read_to_end()
        finally:
            reader.close()

    def asking(self, isolation: str) -> Consumer:
        """Return a consumer that asks for the ends of partitions as an isolation level sees them."""
        if isolation not in self._asking:
            client = self.stack.settings.kafka_client("admin")
            self._asking[isolation] = Consumer(client | {"group.id": "ends", "isolation.level": isolation})
        return self._asking[isolation]

    def records(self, topic: str = RAW) -> list[Pushed]:
        found = []
        for message in self.committed(topic):
            of = stamp(message.headers())
            assert of is not None
            key = None if message.key() is None else self._schemas.decode(message.key())
            value = None if message.value() is None else self._schemas.decode(message.value())
            found.append(Pushed(of, key, value))
        return sorted(found, key=lambda record: record.stamp.at)


def upsert(case_id: str, count: int = 1, **fields: Any) -> dict[str, Any]:
    return {"upsert": {"case_id": case_id, "count": count, **fields}}


def post(client: httpx.Client, body: Any, key: str, **headers: str) -> httpx.Response:
    """Push a value as JSON, bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Idempotency-Key": key, "Content-Type": "application/json"} | headers
    return client.post("/ingest/health.case", content=content, headers=given)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def ids(records: Sequence[Pushed]) -> list[str]:
    return [record.key["case_id"] for record in records]
