"""`exchange doctor` on a real PostgreSQL: one that is wrong on purpose, and one that is fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exchange import topology
from exchange.doctor import postgres
from exchange.doctor.finding import Finding, Level, Patient
from exchange.files import yaml_source
from tests.stack import Stack, running_stack
from tests.unit.exchange.topologies import PERSON

CONTRACT = PERSON | {"namespace": "clinic"}
TOPOLOGY = """\
departments:
  clinic: {label: {zh: 诊所, en: Clinic}}
systems:
  clinic: {department: clinic, kind: postgres, connection_env: CLINIC_DSN}
resources:
  clinic.person:
    label: {zh: 人, en: Person}
    system: clinic
    table: public.person
    catalogue_code: C-1
    share: unconditional
"""
PERSON_TABLE = "CREATE TABLE person (id_number text PRIMARY KEY, full_name text, region_code text);"
WRONG = """
CREATE TABLE person (id_number text, full_name text);
CREATE UNLOGGED TABLE forgetful (id int PRIMARY KEY);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE TABLE closed (id int PRIMARY KEY);
GRANT SELECT ON person, forgetful, parted, guarded TO weak;
"""
WRONG_TABLES = ("forgetful", "parted", "guarded", "closed", "missing")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(["postgres"]) as running:
        yield running


@dataclass
class Clinic:
    """A database of its own, and a user of it that is not the superuser."""

    stack: Stack
    files: Path
    admin: psycopg.Connection[Any]
    user: str
    host: str

    def doctor(self, *args: str, login: str = "pw") -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "EXCHANGE_HOME": str(self.stack.home),
            "EXCHANGE_TOPOLOGY": str(self.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(self.files / "avro"),
            "CLINIC_DSN": f"postgresql://{self.user}:{login}@{self.host}",
        }
        command = [sys.executable, "-m", "exchange.cli", "doctor", "clinic", *args]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    def findings(self, *args: str) -> dict[str, list[dict[str, str]]]:
        """Return the findings to mend, by check."""
        done = self.doctor(*args, "--json")
        assert done.returncode in (0, 2), done.stderr
        by_check: dict[str, list[dict[str, str]]] = {}
        for finding in json.loads(done.stdout)["findings"]:
            if finding["level"] != "note":
                by_check.setdefault(finding["check"], []).append(finding)
        return by_check

    def state(self) -> list[Any]:
        """Return what the examination must leave as it is."""
        return [
            self.admin.execute(sql).fetchall()
            for sql in (
                "SELECT oid, pubname FROM pg_publication",
                "SELECT slot_name, restart_lsn FROM pg_replication_slots",
                "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace",
                "SELECT rolname, rolsuper, rolreplication FROM pg_roles",
                "SELECT name, setting FROM pg_settings WHERE source <> 'client' AND name !~ 'application'",
            )
        ]


@pytest.fixture
def clinic(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Clinic]:
    name = f"d{abs(hash(request.node.nodeid)) % 10**8}"
    admin = psycopg.connect(stack.create_database(name), autocommit=True)
    admin.execute("DROP ROLE IF EXISTS weak")
    admin.execute("CREATE ROLE weak LOGIN PASSWORD 'pw'")
    (tmp_path / "avro" / "clinic").mkdir(parents=True)
    (tmp_path / "avro" / "clinic" / "person.avsc").write_text(json.dumps(CONTRACT))
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    host = stack.postgres_dsn(name).rpartition("@")[2]
    yield Clinic(stack, tmp_path, admin, "weak", host)
    admin.execute("ALTER SYSTEM RESET ALL")
    admin.execute("SELECT pg_reload_conf(), pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    admin.execute("DROP OWNED BY weak")
    admin.close()


def set_up_wrong(clinic: Clinic) -> tuple[str, ...]:
    clinic.admin.execute(WRONG)
    clinic.admin.execute("ALTER SYSTEM SET wal_sender_timeout = 0")
    clinic.admin.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '1h'")
    clinic.admin.execute("SELECT pg_reload_conf()")
    clinic.admin.execute("SELECT pg_create_physical_replication_slot('s' || g) FROM generate_series(1, 20) g")
    return tuple(part for table in WRONG_TABLES for part in ("--table", f"public.{table}"))


def test_each_fault_of_a_wrong_source_is_found_with_its_reason_and_nothing_is_changed(clinic: Clinic) -> None:
    tables = set_up_wrong(clinic)
    before = clinic.state()
    found = clinic.findings(*tables)
    assert clinic.state() == before
    assert set(found) == {
        *("max_replication_slots", "wal_sender_timeout", "idle_replication_slot_timeout"),
        *("replication_right", "table", "max_slot_wal_keep_size"),
    }
    seen = "\n".join(finding["seen"] for finding in found["table"])
    for words in (
        "public.person (resource clinic.person) has no primary key",
        "public.person (resource clinic.person) has no column for field 'region_code'",
        "public.forgetful (resource none yet) is not logged",
        "public.parted (resource none yet) is not an ordinary table",
        "public.guarded (resource none yet) has row-level security",
        "public.closed (resource none yet) may not be read by user weak",
        "public.missing (resource none yet) does not exist",
    ):
        assert words in seen
    assert all(finding["why"] for findings in found.values() for finding in findings)


def test_the_statements_it_gives_mend_what_it_found(clinic: Clinic) -> None:
    tables = set_up_wrong(clinic)
    for findings in clinic.findings(*tables).values():
        for finding in findings:
            statement, table = finding["mend"], finding["seen"]
            if "<columns" in statement:
                statement = statement.replace("<columns that name a row>", "id_number")
            if statement and "--" not in statement and not any(t in table for t in ("missing", "parted")):
                for part in statement.split(";"):
                    clinic.admin.execute(part.encode())
    clinic.admin.execute("ALTER TABLE person ADD COLUMN region_code text")
    clinic.admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    clinic.admin.execute("ALTER TABLE person REPLICA IDENTITY FULL")
    usable = tuple(
        part for name in ("forgetful", "guarded", "closed") for part in ("--table", f"public.{name}")
    )
    left = clinic.findings(*usable)
    assert set(left) == {"publication"}  # the user is not the tables' owner: `exchange apply` needs that one
    assert "may not set up publication" in left["publication"][0]["seen"]


def test_a_fit_source_has_nothing_to_mend(clinic: Clinic) -> None:
    clinic.admin.execute("ALTER ROLE weak REPLICATION")
    clinic.admin.execute("GRANT pg_read_all_stats TO weak")
    clinic.admin.execute(PERSON_TABLE + "ALTER TABLE person REPLICA IDENTITY FULL")
    clinic.admin.execute("ALTER TABLE person OWNER TO weak")
    clinic.admin.execute(f"GRANT CREATE ON DATABASE {clinic.admin.info.dbname} TO weak".encode())
    clinic.admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'")
    clinic.admin.execute("SELECT pg_reload_conf()")
    done = clinic.doctor()
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("clinic: fit to be captured\n")
    assert "publication exchange_clinic does not exist yet" in done.stdout


def test_a_source_that_lets_nobody_in_is_a_finding_without_the_password(clinic: Clinic) -> None:
    done = clinic.doctor(login="canary-password")
    assert done.returncode == 2
    assert "reachable: system clinic: connection from CLINIC_DSN" in done.stdout
    assert "canary-password" not in done.stdout + done.stderr


def test_an_unknown_system_is_an_error_with_the_known_ones(clinic: Clinic) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exchange.cli", "doctor", "clinik"],
        env=os.environ
        | {
            "EXCHANGE_TOPOLOGY": str(clinic.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(clinic.files / "avro"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "no system is called 'clinik' (known: clinic). Did you mean 'clinic'?" in done.stderr


def examined(clinic: Clinic) -> list[Finding]:
    """Examine as superuser, in this process."""
    settings = clinic.stack.settings
    settings.secrets.put("CLINIC_DSN", clinic.stack.postgres_dsn(clinic.admin.info.dbname))
    declared = topology.check(yaml_source.parse(TOPOLOGY, "t.yaml"), None, topology.today()).topology
    slim = declared.model_copy(update={"resources": {}})
    return list(postgres.examine(Patient("clinic", slim, {}), settings.secrets))


def test_open_transactions_a_superuser_and_a_wrong_clock_are_found(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.admin.execute("CREATE TABLE t (i int)")
    monkeypatch.setattr(postgres, "_LONG_TRANSACTION_S", 0)
    monkeypatch.setattr(postgres, "time", type("Clock", (), {"time": staticmethod(lambda: 0.0)}))
    with psycopg.connect(clinic.stack.postgres_dsn(clinic.admin.info.dbname)) as other:
        other.execute("INSERT INTO t VALUES (1)")
        found = {finding.check: finding for finding in examined(clinic) if finding.level is Level.WARNING}
        assert found.keys() >= {"long_transactions", "superuser", "clock"}
        assert f"process {other.info.backend_pid}" in found["long_transactions"].seen
        other.rollback()


def test_the_state_of_the_slot_is_told(clinic: Clinic) -> None:
    clinic.admin.execute("SELECT pg_create_logical_replication_slot('exchange_clinic', 'pgoutput')")
    slots = [finding for finding in examined(clinic) if finding.check == "slot"]
    assert [(finding.level, "nobody reads slot exchange_clinic" in finding.seen) for finding in slots] == [
        (Level.WARNING, True)
    ]
