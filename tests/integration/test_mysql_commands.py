"""`exchange doctor` and `contract draft` on a real MariaDB: wrong on purpose, then as its advice says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from exchange import topology
from exchange.binlog.address import server_id
from exchange.binlog.fitness import IN_CONFIGURATION
from exchange.doctor import binlog, finding
from exchange.doctor.finding import Finding, Level, Patient
from exchange.files import yaml_source
from exchange.files.contracts import load_contracts
from exchange.settings import Secrets
from tests.mariadb import MISSING, Server, is_here, running_mariadb
from tests.trial.people import id_number
from tests.unit.exchange.topologies import PERSON

pytestmark = pytest.mark.skipif(not is_here(), reason=MISSING)

TOPOLOGY = """\
departments:
  shop: {label: {zh: 商店, en: Shop}}
systems:
  shop: {department: shop, kind: mariadb, connection_env: SHOP_URL}
resources:
  shop.person:
    label: {zh: 人, en: Person}
    system: shop
    table: shop.person
    catalogue_code: C-1
    share: unconditional
"""
WRONG_SETTINGS = {
    "binlog_format": "MIXED",
    "binlog_row_image": "MINIMAL",
    "binlog_row_metadata": "MINIMAL",
    "binlog_checksum": "NONE",
    "log_bin_compress": "ON",
    "gtid_strict_mode": "OFF",
    "binlog_expire_logs_seconds": "3600",
    "server_id": str(server_id("shop")),
    "binlog_ignore_db": "shop",
    "mysql56_temporal_format": "OFF",
}
WRONG_TABLES = """
CREATE DATABASE shop;
CREATE TABLE shop.person (id_number varchar(20), full_name text, region_code text);
CREATE TABLE shop.parent (id int PRIMARY KEY);
CREATE TABLE shop.child (id int PRIMARY KEY, p int,
  CONSTRAINT gone FOREIGN KEY (p) REFERENCES shop.parent (id) ON DELETE CASCADE);
CREATE TABLE shop.big (id int PRIMARY KEY, t varchar(9) CHARACTER SET big5, e enum('é') CHARACTER SET latin1);
CREATE TABLE shop.packed (id int PRIMARY KEY, b varchar(99) COMPRESSED NOT NULL DEFAULT 'x');
CREATE TABLE shop.old (id int PRIMARY KEY, at datetime(3));
CREATE TABLE shop.closed (id int PRIMARY KEY);
CREATE VIEW shop.seen AS SELECT * FROM shop.parent;
CREATE USER weak IDENTIFIED BY 'pw'
"""
MORE = ("child", "big", "packed", "old", "closed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_mariadb() as running:
        for statement in WRONG_TABLES.split(";"):
            running.execute("SET GLOBAL mysql56_temporal_format = OFF")
            running.execute(statement)
        for table in ("person", "child", "big", "packed", "old", "parent", "seen"):
            running.execute(f"GRANT SELECT ON shop.{table} TO weak")
        yield running


@dataclass
class Shop:
    """A server, and a user of it that is not its administrator."""

    server: Server
    files: Path
    settings: dict[str, str] = field(default_factory=dict)

    def doctor(self, *args: str, login: str = "weak:pw") -> subprocess.CompletedProcess[str]:
        return self.run("doctor", "shop", *args, login=login)

    def run(self, *args: str, login: str = "root:") -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "EXCHANGE_HOME": str(self.files),
            "EXCHANGE_TOPOLOGY": str(self.files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(self.files / "avro"),
            "SHOP_URL": f"mysql://{login}@127.0.0.1:{self.server.port}/",
        }
        command = [sys.executable, "-m", "exchange.cli", *args]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    def findings(self, *tables: str) -> list[dict[str, str]]:
        """Return the findings to mend."""
        args = [part for table in tables for part in ("--table", f"shop.{table}")]
        done = self.doctor(*args, "--json")
        assert done.returncode in (0, 2), done.stderr
        found = json.loads(done.stdout)["findings"]
        return [one for one in found if one["level"] != "note"]

    def mend(self, found: list[dict[str, str]]) -> None:
        """Do what the findings say: statements at once, the configuration with a restart at the end."""
        for one in found:
            statements, _, configuration = one["mend"].partition(IN_CONFIGURATION)
            for statement in statements.partition(" -- ")[0].replace("<columns>", "id_number").split(";"):
                if statement.strip():
                    self.server.execute(statement)
            self.settings |= dict(re.findall(r"(\w+)=(\w+)", configuration))
        self.server.restart(**self.settings)

    def state(self) -> list[Any]:
        """Return what the examination must leave as it is."""
        questions = ("SHOW MASTER STATUS", "SELECT user, host FROM mysql.user", "SHOW TABLES IN shop")
        settings = "SELECT variable_name, global_value FROM information_schema.system_variables"
        return [self.server.execute(sql) for sql in (*questions, settings)]


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Shop:
    contract = tmp_path / "avro" / "shop" / "person.avsc"
    contract.parent.mkdir(parents=True)
    contract.write_text(json.dumps(PERSON | {"namespace": "shop"}))
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    return Shop(server, tmp_path)


def test_each_planted_fault_is_found_and_what_it_prints_mends_all_of_them(shop: Shop) -> None:
    shop.settings = dict(WRONG_SETTINGS)
    shop.server.restart(**shop.settings)
    before = shop.state()
    found = shop.findings(*MORE)
    assert shop.state() == before
    assert {one["check"] for one in found} == {
        *("binlog_format", "binlog_row_image", "binlog_row_metadata", "binlog_checksum", "log_bin_compress"),
        *("grants", "server_id", "gtid_strict_mode", "table"),
    }
    assert all(one["why"] for one in found)
    seen = "\n".join(one["seen"] for one in found)
    for words in (
        "user 'weak'@'%' lacks REPLICATION SLAVE",
        "user 'weak'@'%' lacks REPLICATION CLIENT",
        "table shop.person has no primary key",
        "table shop.child is changed by its foreign key gone",
        "table shop.big: column t has character set big5",
        "table shop.big: column e is an enum with labels in character set latin1",
        "table shop.packed, column b: a compressed column",
        "table shop.old, column at: it has the layout of before MySQL 5.6",
        "table shop.closed does not exist, or the user may not read it",
    ):
        assert words in seen
    shop.mend(found)
    left = shop.findings(*MORE)  # what only who has the rights can be told
    assert {one["check"] for one in left} == {"filters", "binlog_expire_logs_seconds"}
    assert "changes in database shop are left out" in "\n".join(one["seen"] for one in left)
    del shop.settings["binlog_ignore_db"]
    shop.mend(left)
    done = shop.doctor(*(part for table in MORE for part in ("--table", f"shop.{table}")))
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("shop: fit to be captured\n")
    assert shop.server.execute("SHOW CREATE TABLE shop.packed")[0][1].count(
        "varchar(99) NOT NULL DEFAULT 'x'"
    )


def test_a_server_without_a_log_is_told_how_to_write_one(shop: Shop) -> None:
    shop.server.restart(skip_log_bin="1")
    try:
        (found,) = [one for one in shop.findings() if one["check"] == "log_bin"]
    finally:
        shop.server.restart()
    assert found["mend"] == f"{IN_CONFIGURATION} log_bin=ON"


def examined(shop: Shop, monkeypatch: pytest.MonkeyPatch, user: str = "root") -> dict[str, Finding]:
    """Examine in this process; return what is to be mended, by check."""
    monkeypatch.setenv("SHOP_URL", shop.server.url(user, password="pw" if user == "weak" else ""))
    declared = topology.check(yaml_source.parse(TOPOLOGY, "t.yaml"), None, topology.today()).topology
    slim = declared.model_copy(update={"resources": {}})
    found = binlog.examine(Patient("shop", slim, {}), Secrets(shop.files))
    return {one.check: one for one in found if one.level is not Level.NOTE}


def test_a_superuser_a_wrong_clock_a_plain_connection_and_waiting_transactions_are_found(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.server.restart(gtid_strict_mode="ON", binlog_expire_logs_seconds="604800")
    assert examined(shop, monkeypatch).keys() == {"superuser"}
    monkeypatch.setattr(finding, "_MOST_SKEW_S", -1.0)
    monkeypatch.setattr(binlog, "is_here", lambda _: False)
    shop.server.execute("SET GLOBAL binlog_expire_logs_seconds = 0, binlog_row_image = FULL")
    with shop.server.connect("shop") as connection, connection.cursor() as cursor:
        for statement in ("XA START 'x'", "INSERT INTO parent VALUES (1)", "XA END 'x'", "XA PREPARE 'x'"):
            cursor.execute(statement)
        found = examined(shop, monkeypatch)
        cursor.execute("XA ROLLBACK 'x'")
    assert found.keys() == {
        *("superuser", "clock", "tls", "prepared_transactions", "binlog_expire_logs_seconds", "sessions")
    }
    assert "never removed by age" in found["binlog_expire_logs_seconds"].seen
    assert "binlog_row_image was set while the server ran" in found["sessions"].seen


def test_a_server_that_lets_nobody_in_is_a_finding_without_the_password(shop: Shop) -> None:
    done = shop.doctor(login="weak:canary-password")
    assert done.returncode == 2
    assert "reachable: source shop: the server at 127.0.0.1" in done.stdout
    assert "canary-password" not in done.stdout + done.stderr


# -- contract draft


DRAFTED = """
CREATE TABLE shop.customer (
    sfzh varchar(18) PRIMARY KEY, xm varchar(50) NOT NULL, c1 text, c2 bigint, c3 text, ti tinyint(1),
    big bigint unsigned, un int unsigned, amount decimal(12,2), born date, seen timestamp NULL,
    local datetime(6), at time, f float, g double, b1 bit(1), b9 bit(9), m enum('ok','bad'),
    o enum('a b','好'), st set('x','y'), bin varbinary(9), u uuid, y year, j json, p point,
    t5 varchar(9) CHARACTER SET big5) COMMENT '常住人口';
ALTER TABLE shop.customer MODIFY c1 text COMMENT '家庭住址', MODIFY born date COMMENT '出生日期'
"""


def test_the_draft_is_a_contract_with_strict_guesses_and_no_value(shop: Shop) -> None:
    for statement in DRAFTED.split(";"):
        shop.server.execute(statement)
    for number in range(40):
        values = f"'{id_number(number)}', '王canary', '浙江省杭州市canary路1号', {13800000000 + number}"
        row = f"{values}, '见{id_number(number + 50)}', X'ff'"
        insert = "INSERT INTO shop.customer (sfzh, xm, c1, c2, c3, bin) VALUES "
        shop.server.execute(f"{insert}({row})")
    file = shop.files / "avro" / "shop" / "customer.avsc"
    done = shop.run("contract", "draft", "shop", "shop.customer", "-o", str(file))
    assert done.returncode == 0, done.stderr
    contract = load_contracts(shop.files / "avro")["shop.customer"]
    assert (contract.key, contract.label_zh) == (("sfzh",), "常住人口")
    fields = contract.fields
    assert {name: field.type.kind for name, field in fields.items()} == {
        **dict.fromkeys(("sfzh", "xm", "c1", "c3", "o", "st", "j"), "string"),
        **dict.fromkeys(("c2", "un"), "long"),
        **dict.fromkeys(("ti", "y"), "int"),
        **dict.fromkeys(("big", "amount"), "decimal"),
        **dict.fromkeys(("b9", "bin", "u", "p"), "bytes"),
        **{"born": "date", "seen": "timestamp", "local": "local_timestamp", "at": "time"},
        **{"f": "float", "g": "double", "b1": "boolean", "m": "enum"},
    }
    assert (fields["sfzh"].type.nullable, fields["c1"].type.nullable) == (False, True)
    assert (fields["big"].type.precision, fields["amount"].type.scale) == (20, 2)
    grades = {name: (field.sensitivity, field.classification) for name, field in fields.items()}
    assert grades["sfzh"] == ("id_number", 4)
    assert grades["xm"] == ("person_name", 3)
    assert grades["c1"] == ("address", 3)
    assert grades["c2"] == ("mobile", 3)
    assert grades["c3"] == ("free_text", 4)
    assert grades["born"] == ("birth_date", 3)
    assert [rule.name for rule in fields["sfzh"].rules] == ["length", "cn_id_number"]
    assert [rule.name for rule in fields["o"].rules] == ["codes"]
    written = file.read_text() + done.stdout + done.stderr
    assert "canary" not in written
    assert not any(id_number(number) in written for number in range(100))
    assert "138000000" not in written
    assert (
        "t5                       left out               varchar: column t5 has character set big5"
        in done.stderr
    )


def test_what_cannot_be_drafted_is_told(shop: Shop) -> None:
    shop.server.execute("CREATE TABLE shop.keyless (id int)")
    for login, table, told in (
        ("root:", "shop.keyless", "table shop.keyless has no primary key; give it one"),
        ("root:", "shop.nowhere", "there is no table shop.nowhere, or its user may not read it"),
        ("weak:pw", "shop.keyless", "there is no table shop.keyless, or its user may not read it"),
        ("weak:no", "shop.parent", "refused user or password"),
    ):
        done = shop.run("contract", "draft", "shop", table, login=login)
        assert done.returncode == 1
        assert told in done.stderr
