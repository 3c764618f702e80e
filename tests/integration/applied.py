"""A bus of two source databases to apply topologies to, and the topology that most tests begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from exchange import topology
from exchange.apply.steps import Applied, Line, Survey
from exchange.apply.work import Work, apply
from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.files import yaml_source
from exchange.keys import generate_steward_keys
from exchange.plan_topic import read_plan
from exchange.settings import Settings
from tests.stack import Stack
from tests.unit.exchange.topologies import PERSON

CONTRACT = PERSON | {"namespace": "applied"}
DEPARTMENTS = ("applied_north", "applied_south")
TOPOLOGY = """\
departments:
  applied_north:
    label: {zh: 北, en: North}
  applied_south:
    label: {zh: 南, en: South}
systems:
  applied_a:
    department: applied_north
    kind: postgres
    connection_env: APPLIED_A_DSN
  applied_b:
    department: applied_south
    kind: postgres
    connection_env: APPLIED_B_DSN
resources:
  applied.person:
    label: {zh: 人, en: Person}
    system: applied_a
    table: public.person
    catalogue_code: A-1
    share: unconditional
    partitions: 2
  applied.other:
    label: {zh: 人, en: Person}
    system: applied_b
    table: public.person
    contract: applied.person
    catalogue_code: A-2
    share: unconditional
    partitions: 2
views:
  applied.person.near:
    resource: applied.person
    label: {zh: 近, en: Near}
    fields: {id_number: token, region_code: clear}
    rows:
      - {field: region_code, prefix: ['33']}
  applied.person.far:
    resource: applied.person
    label: {zh: 远, en: Far}
    fields: {id_number: token, full_name: redact}
subscribers:
  reader-one:
    department: applied_south
    label: {zh: 一, en: One}
  reader-two:
    department: applied_south
    label: {zh: 二, en: Two}
grants:
  - {subscriber: reader-one, view: applied.person.near}
  - {subscriber: reader-two, view: applied.person.near}
  - {subscriber: reader-two, view: applied.person.far}
"""
TABLE = """
CREATE TABLE person (id_number text PRIMARY KEY, full_name text, region_code text);
ALTER TABLE person REPLICA IDENTITY FULL;
"""
SHARE = "share.applied.person."
RAW = ("raw.applied_a.public.person", "raw.applied_b.public.person")
QUARANTINE = ("quarantine.applied.person", "quarantine.applied.other")
INTERNAL = (
    *(
        f"_exchange.{name}"
        for name in (
            "plan",
            "positions",
            "accounts",
            "receipts",
            "parked",
            "snapshots",
            "made",
            "revocations",
            "decisions",
            "corrections",
            "pauses",
            "resnapshots",
        )
    ),
    "_schemas",
)
KAFKA_OWN = ("__consumer_offsets", "__transaction_state")


@dataclass(frozen=True)
class Bus:
    """A stack with two source databases."""

    stack: Stack
    dsns: dict[str, str] = field(repr=False)

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    def apply(
        self, text: str = TOPOLOGY, allow_delete: Callable[[Line], bool] = lambda _line: False
    ) -> Applied:
        applied = apply(self.settings, self.load(text), self.contracts(), allow_delete=allow_delete)
        assert applied is not None
        return applied

    def survey(self, text: str = TOPOLOGY) -> Survey:
        return Work(self.settings, self.load(text), self.contracts()).survey()

    def refusal(self, text: str = TOPOLOGY) -> str:
        """Return the error of an application that must be refused, and see that it changed nothing."""
        before = self.state()
        with pytest.raises(ConfigError) as refused:
            self.apply(text)
        assert self.state() == before
        return str(refused.value)

    def state(self) -> tuple[Any, ...]:
        admin = self.stack.admin
        return admin.topics(), admin.acls(), admin.scram_users(), self.plan_version()

    def plan_version(self) -> int:
        plan = read_plan(self.settings.kafka_client("admin"))
        return plan.version if plan is not None else 0

    def sql(self, system: str, *statements: str) -> None:
        with psycopg.connect(self.dsns[system], autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def secret(self, name: str, value: str | None) -> Iterator[None]:
        """Replace a secret, or take it away, for a while."""
        file = self.settings.root / "secrets" / name
        kept = file.read_text()
        file.unlink()
        if value is not None:
            self.settings.secrets.put(name, value)
        try:
            yield
        finally:
            self.settings.secrets.put(name, kept)

    def load(self, text: str) -> topology.Topology:
        source = yaml_source.parse(text, "applied.yaml")
        return topology.check(source, self.contracts(), topology.today()).topology

    def contracts(self) -> dict[str, Contract]:
        return {"applied.person": Contract.parse(CONTRACT, "person.avsc")}


def ready_bus(stack: Stack) -> Bus:
    """Return a bus to which the topology is applied."""
    dsns = {system: stack.create_database(system) for system in ("applied_a", "applied_b")}
    bus = Bus(stack, dsns)
    for system, dsn in dsns.items():
        bus.sql(system, TABLE)
        stack.settings.secrets.put(f"{system.upper()}_DSN", dsn)
    for department in DEPARTMENTS:
        write_key(bus, department)
    bus.apply()
    return bus


def write_key(bus: Bus, department: str) -> None:
    keys = bus.settings.root / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    (keys / f"{department}.pub").write_text(generate_steward_keys()[1] + "\n")


def without(text: str, *parts: str) -> str:
    for part in parts:
        assert part in text
        text = text.replace(part, "")
    return text
