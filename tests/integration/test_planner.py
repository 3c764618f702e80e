"""Deletes by name, quotas, adoption, many resources and crashes of plan and apply, on the real parts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from exchange import topology
from exchange.adopt import users as adopt_users
from exchange.apply import source
from exchange.apply.ledger import INTENDED, Ledger
from exchange.apply.steps import Line, Mark, Survey
from exchange.apply.work import Work, apply
from exchange.cluster import Acl, Cluster, TopicSpec
from exchange.commands import adopt as adopt_command
from exchange.commands import plan as plan_command
from exchange.commands import topology as command
from exchange.errors import ConfigError, SourceError
from exchange.librdkafka import write
from exchange.plan import POSITIONS_TOPIC
from exchange.quotas import client_quotas, set_client_quotas
from exchange.registry import Registry, for_writing
from tests.integration.applied import CONTRACT, RAW, SHARE, TOPOLOGY, Bus, ready_bus, without, write_key
from tests.stack import Stack

EXTRA_VIEW = """
  applied.person.{name}:
    resource: applied.person
    label: {{zh: 三, en: Third}}
    fields: {{id_number: token}}
"""
EXTRA_READER = "  {name}:\n    department: applied_south\n    label: {{zh: 三, en: Three}}\n"
QUOTAS = "    quotas: {consumer_byte_rate: 1048576, producer_byte_rate: 2048, request_percentage: 12.5}\n"
SECOND_SYSTEM = (
    "  applied_b:\n    department: applied_south\n    kind: postgres\n    connection_env: APPLIED_B_DSN\n",
    "  applied.other:\n    label: {zh: 人, en: Person}\n    system: applied_b\n    table: public.person\n"
    "    contract: applied.person\n    catalogue_code: A-2\n    share: unconditional\n    partitions: 2\n",
)


@pytest.fixture(scope="module")
def bus(stack: Stack) -> Bus:
    return ready_bus(stack)


def with_view(name: str) -> str:
    text = EXTRA_VIEW.format(name=name).strip("\n")
    return TOPOLOGY.replace("subscribers:\n", f"{text}\nsubscribers:\n")


def also_reader(text: str, name: str) -> str:
    return text.replace("subscribers:\n", "subscribers:\n" + EXTRA_READER.format(name=name))


def with_reader(name: str) -> str:
    return also_reader(TOPOLOGY, name)


def undeclared(bus: Bus, text: str = TOPOLOGY) -> list[str]:
    return [str(line) for line in bus.survey(text).undeclared]


def everything(_line: Line) -> bool:
    return True


# --- adoption; the cluster of others comes first, while no plan is in force -------------------------------

ORDERS = "shop.public.orders"
ROW = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "mobile", "type": ["null", "string"], "default": None},
        {
            "name": "placed_at",
            "type": {
                "type": "long",
                "connect.version": 1,
                "connect.name": "io.debezium.time.MicroTimestamp",
            },
        },
        {
            "name": "total",
            "type": {
                "type": "bytes",
                "scale": 2,
                "precision": 10,
                "connect.version": 1,
                "connect.parameters": {"scale": "2", "connect.decimal.precision": "10"},
                "connect.name": "org.apache.kafka.connect.data.Decimal",
                "logicalType": "decimal",
            },
        },
    ],
}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": ORDERS,
    "fields": [
        {"name": "before", "type": ["null", ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": []}},
        {"name": "op", "type": "string"},
    ],
}
ORDER_KEY = {
    "type": "record",
    "name": "Key",
    "namespace": ORDERS,
    "fields": [{"name": "id", "type": "long"}],
}
THEIR_RULES = (
    Acl("their-app", "topic", ORDERS, "literal", "read"),
    Acl("their-app", "group", "their-group", "literal", "read"),
)


@pytest.fixture
def theirs(stack: Stack) -> Iterator[None]:
    """Make a cluster as others have it: Debezium's topic, a plain one, a user with access and quotas."""
    admin = stack.admin
    admin.ensure_topics([TopicSpec(ORDERS, 3), TopicSpec("plain", 1)])
    admin.client.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                "their-app", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"theirs", b"salt" * 8
            )
        ]
    )["their-app"].result()
    admin.ensure_acls(THEIR_RULES)
    set_client_quotas(stack.settings, {"their-app": {"consumer_byte_rate": 4096.0}})
    with for_writing(stack.settings) as registry:
        registry.register(f"{ORDERS}-key", ORDER_KEY)
        registry.register(f"{ORDERS}-value", ENVELOPE)
        registry.register("plain-value", {"type": "string"})
        yield
        for subject in (f"{ORDERS}-key", f"{ORDERS}-value", "plain-value"):
            registry.delete_subject(subject)
    set_client_quotas(stack.settings, {"their-app": {"consumer_byte_rate": None}})
    admin.remove_acls(THEIR_RULES)
    admin.remove_scram_user("their-app")
    for topic in (ORDERS, "plain"):
        admin.delete_topic(topic)


@pytest.mark.usefixtures("theirs")
def test_a_cluster_of_others_is_adopted_and_joined_and_what_is_theirs_stays(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXCHANGE_HOME", str(stack.home))
    bus = Bus(stack, {})
    write_key(bus, "adopted")
    before = kafka_state(bus)
    assert adopted(tmp_path / "joined", as_json=True) == 2
    told = json.loads(capsys.readouterr().out)
    assert kafka_state(bus) == before
    assert told["only_adds"] is True
    assert told["problems"] == []
    assert {line["mark"] for line in told["lines"]} == {"+"}
    assert not [line for line in told["lines"] if "their-app" in line["name"] or not line["why"]]
    assert "topic plain: its records are not changes as Debezium tells them" in told["outside"]
    assert f"user their-app: READ topic {ORDERS}" in told["outside"]
    contract = json.loads((tmp_path / "joined" / "avro" / "shop" / "orders.avsc").read_text())
    assert contract["key"] == ["id"]
    types = {field["name"]: field["type"] for field in contract["fields"]}
    assert types["placed_at"] == {"type": "long", "logicalType": "local-timestamp-micros"}
    assert types["total"] == {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}

    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "joined" / "avro"))
    command.apply(tmp_path / "joined" / "topology.yaml", yes=True)
    after = kafka_state(bus)
    assert set(THEIR_RULES) <= after[1]
    assert (after[2]["their-app"], after[3]) == (before[2]["their-app"], before[3])
    assert planned(tmp_path / "joined" / "topology.yaml") == 0
    wide = [
        Acl("their-app", "topic", "*", "literal", "read"),
        Acl("their-app", "topic", "ra", "prefixed", "all"),
    ]
    for rule in wide:
        stack.admin.ensure_acls([rule])
        with pytest.raises(ConfigError, match="this shows it topics of the bus, unmasked"):
            command.apply(tmp_path / "joined" / "topology.yaml", yes=True)
        stack.admin.remove_acls([rule])
    nothing: dict[str, Any] = {"departments": {}, "systems": {}, "resources": {}}
    (tmp_path / "empty.yaml").write_text(json.dumps(nothing))
    empty = topology.load(tmp_path / "empty.yaml", {})
    apply(stack.settings, empty, {}, allow_delete=everything)
    assert "their-app" in stack.admin.scram_users()


def test_nothing_is_written_over(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    (tmp_path / "topology.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="never writes over anything"):
        adopted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["topology.yaml"]


def test_a_bus_whose_files_are_lost_is_adopted_with_an_empty_plan(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    label = "    label: {zh: 一, en: One}\n"
    bus.apply(TOPOLOGY.replace(label, label + QUOTAS))
    before = bus.state()
    assert adopted(tmp_path) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.endswith("proof: a plan against these files is empty\n")
    assert bus.state() == before
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    assert planned(tmp_path / "topology.yaml") == 0
    bus.apply()


def test_that_proof_sees_what_would_be_taken_away(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Grants that are not written are access that apply would withdraw."""
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    monkeypatch.setattr(adopt_users, "_adopt_access", lambda *_given: None)
    assert adopted(tmp_path, as_json=True) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["only_adds"] is False
    assert [line["name"] for line in told["lines"] if line["mark"] == "-"] == ["reader-one", "reader-two"]


# --- deletes ----------------------------------------------------------------------------------------------


def test_what_is_no_longer_declared_is_shown_and_stays_until_it_is_named(bus: Bus) -> None:
    bus.apply(with_view("gone"))
    topic = f"{SHARE}gone"
    shown = [f"x topic {topic}", f"x schema {topic}-key", f"x schema {topic}-value"]
    assert undeclared(bus) == shown
    applied = bus.apply()
    assert [str(line) for line in applied.kept] == shown
    assert topic in bus.stack.admin.topics()

    applied = bus.apply(allow_delete=lambda line: line.name == topic)
    assert [str(line) for line in applied.lines if line.mark == Mark.UNDECLARED] == shown[:1]
    assert topic not in bus.stack.admin.topics()
    assert undeclared(bus) == shown[1:]
    bus.apply(allow_delete=everything)
    with for_writing(bus.settings) as registry:
        assert not {f"{topic}-key", f"{topic}-value"} & set(registry.subjects())
    assert not bus.survey().undeclared


@pytest.mark.slow_faults
def test_a_view_that_is_declared_again_after_its_deletion_is_made_anew(bus: Bus) -> None:
    bus.apply(with_view("again"))
    bus.apply(allow_delete=everything)
    bus.apply(with_view("again"))
    assert not bus.survey(with_view("again")).changes
    assert len(undeclared(bus)) == 3
    bus.apply(allow_delete=everything)


def test_what_others_made_under_names_like_ours_is_never_listed_nor_touched(bus: Bus) -> None:
    admin = bus.stack.admin
    theirs = [f"{SHARE}theirs", "raw.applied_a.public.theirs", "quarantine.applied.theirs"]
    admin.ensure_topics([TopicSpec(name, 1) for name in theirs])
    admin.ensure_scram_user("connector-theirs")
    with for_writing(bus.settings) as registry:
        registry.register(f"{SHARE}theirs-value", {"type": "string"})
        assert not undeclared(bus)
        bus.apply(allow_delete=everything)
        assert set(theirs) <= admin.topics().keys()
        assert "connector-theirs" in admin.scram_users()
        assert f"{SHARE}theirs-value" in registry.subjects()
        notes = bus.survey().notes
        assert [note for note in notes if "theirs" in note] == [
            f"topic {name} is not declared, and not of our making; it is left as it is"
            for name in sorted(theirs)
        ]
        for name in theirs:
            admin.delete_topic(name)
        admin.remove_scram_user("connector-theirs")
        registry.delete_subject(f"{SHARE}theirs-value")


def test_a_topic_that_others_made_in_the_place_of_ours_stays(bus: Bus) -> None:
    bus.apply(with_view("swapped"))
    topic = f"{SHARE}swapped"
    remade(bus, topic)
    assert f"x topic {topic}" not in undeclared(bus)
    bus.apply(allow_delete=everything)
    assert topic in bus.stack.admin.topics()


def test_that_test_sees_a_planner_that_goes_by_names(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    bus.apply(with_view("named"))
    topic = f"{SHARE}named"
    remade(bus, topic)
    ids = {made.name: made.mark for made in ledger(bus).of("topic")}
    with monkeypatch.context() as planted:
        planted.setattr(Cluster, "topic_ids", lambda _self, names: {name: ids[name] for name in names})
        assert f"x topic {topic}" in undeclared(bus)
        bus.apply(allow_delete=everything)
    assert topic not in bus.stack.admin.topics()


@pytest.mark.slow_faults
def test_a_topic_that_was_remade_between_look_and_delete_stays(bus: Bus) -> None:
    bus.apply(with_view("raced"))
    topic = f"{SHARE}raced"

    def remade_meanwhile(line: Line) -> bool:
        if line.name == topic:
            remade(bus, topic)
        return line.name == topic

    with pytest.raises(Exception, match="made anew by somebody else"):
        bus.apply(allow_delete=remade_meanwhile)
    assert topic in bus.stack.admin.topics()
    bus.apply(allow_delete=everything)


@pytest.mark.slow_faults
def test_a_user_whose_password_others_set_anew_stays(bus: Bus) -> None:
    bus.apply(with_reader("reader-lost"))
    assert undeclared(bus) == ["x user reader-lost"]
    others = Cluster(bus.settings)
    others.remove_scram_user("reader-lost")
    others.ensure_scram_user("reader-lost")
    assert not undeclared(bus)
    others.remove_scram_user("reader-lost")


@pytest.mark.slow_faults
def test_a_subject_with_versions_of_others_stays(bus: Bus) -> None:
    bus.apply(with_view("shared"))
    subject = f"{SHARE}shared-value"
    with for_writing(bus.settings) as registry:
        *_, schema = registry.latest(subject) or (0, 0, {})
        registry.register(subject, schema | {"doc": "somebody else's"})
        assert f"x schema {subject}" not in undeclared(bus)
        bus.apply(allow_delete=everything)
        assert subject in registry.subjects()


@pytest.mark.slow_faults
def test_a_user_goes_with_its_quotas(bus: Bus) -> None:
    quoted = with_reader("reader-quoted").replace(
        "en: Three}", "en: Three}\n    quotas: {consumer_byte_rate: 7}"
    )
    bus.apply(quoted)
    assert client_quotas(bus.settings)["reader-quoted"] == {"consumer_byte_rate": 7.0}
    bus.apply(allow_delete=everything)
    assert "reader-quoted" not in bus.stack.admin.scram_users()
    assert "reader-quoted" not in client_quotas(bus.settings)


@pytest.mark.slow_faults
def test_publication_and_slot_of_a_system_that_is_gone_go_when_named(bus: Bus) -> None:
    name = "exchange_applied_b"
    reduced = without(TOPOLOGY, *SECOND_SYSTEM)
    bus.sql("applied_b", f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    about_it = [line for line in undeclared(bus, reduced) if name in line]
    assert about_it == [f"x publication {name}: in system applied_b"]  # no connector has used the slot yet
    position_of(bus, "applied_b")
    about_it = [line for line in undeclared(bus, reduced) if name in line]
    assert about_it == [f"x {kind} {name}: in system applied_b" for kind in ("slot", "publication")]
    bus.apply(reduced, allow_delete=lambda line: line.name == name)
    assert made_in_database(bus) == (False, False)
    left = [line.split()[1:3] for line in undeclared(bus, reduced)]
    assert ["topic", RAW[1]] in left
    assert ["user", "connector-applied_b"] in left
    bus.apply(reduced, allow_delete=everything)
    bus.apply()
    assert not bus.survey().undeclared


@pytest.mark.slow_faults
def test_a_publication_that_others_made_in_the_place_of_ours_stays(bus: Bus) -> None:
    bus.apply()
    bus.sql(
        "applied_b",
        "DROP PUBLICATION exchange_applied_b",
        "CREATE PUBLICATION exchange_applied_b FOR TABLE person",
    )
    reduced = without(TOPOLOGY, *SECOND_SYSTEM)
    assert not [line for line in undeclared(bus, reduced) if line.startswith("x publication")]
    bus.apply(reduced, allow_delete=everything)
    assert made_in_database(bus)[0]
    bus.sql("applied_b", "DROP PUBLICATION exchange_applied_b")
    bus.apply()


@pytest.mark.slow_faults
def test_a_slot_that_is_read_is_not_dropped(bus: Bus) -> None:
    bus.apply()
    made = ledger(bus).find("slot", "exchange_applied_a", "applied_a")
    assert made is not None
    bus.sql("applied_a", f"SELECT pg_create_logical_replication_slot('{made.name}', 'pgoutput')")
    with psycopg.connect(bus.dsns["applied_a"] + "?replication=database", autocommit=True) as reader:
        reader.pgconn.send_query(
            b"START_REPLICATION SLOT exchange_applied_a LOGICAL 0/0 "
            b"(proto_version '1', publication_names 'exchange_applied_a')"
        )
        reader.pgconn.get_result()
        with pytest.raises(SourceError, match="stop `exchange connect applied_a`"):
            source.drop(made, bus.settings.secrets)
        reader.pgconn.finish()
    with psycopg.connect(bus.dsns["applied_a"], autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
    source.drop(made, bus.settings.secrets)


def test_the_command_deletes_what_is_typed_or_named_and_nothing_else(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bus.apply(with_view("typed"))
    file = files(bus, tmp_path, monkeypatch)
    topic = f"{SHARE}typed"
    answers = iter([topic[:-1], f"{topic}-key", ""])
    monkeypatch.setattr("typer.prompt", lambda *_args, **_kept: next(answers))
    command.apply(file, yes=True, allow_delete=True)
    told = capsys.readouterr().out
    assert f"x schema {topic}-key (done" in told
    assert (
        f"kept, though no longer declared; --allow-delete asks for their names:\n  x topic {topic}\n" in told
    )
    assert undeclared(bus) == [f"x topic {topic}", f"x schema {topic}-value"]

    with pytest.raises(ConfigError, match=f"nothing of this name was deleted: {RAW[0]}"):
        command.apply(file, yes=True, delete=[topic, RAW[0]])
    assert undeclared(bus) == [f"x schema {topic}-value"]
    assert RAW[0] in bus.stack.admin.topics()
    capsys.readouterr()
    command.apply(file, yes=True, as_json=True, delete=[f"{topic}-value"])
    assert json.loads(capsys.readouterr().out)["kept"] == []


# --- quotas -----------------------------------------------------------------------------------------------


def test_quotas_are_set_changed_and_taken_away_old_to_new(bus: Bus) -> None:
    label = "    label: {zh: 一, en: One}\n"
    quoted = TOPOLOGY.replace(label, label + QUOTAS)
    told = "consumer_byte_rate none → 1048576, producer_byte_rate none → 2048, request_percentage none → 12.5"
    assert changes(bus, quoted) == [f"+ quotas reader-one: {told}"]
    bus.apply(quoted)
    assert client_quotas(bus.settings)["reader-one"] == {
        "consumer_byte_rate": 1048576.0,
        "producer_byte_rate": 2048.0,
        "request_percentage": 12.5,
    }
    assert changes(bus, quoted) == []
    other = quoted.replace("producer_byte_rate: 2048, ", "").replace("12.5", "50")
    told = "producer_byte_rate 2048 → none, request_percentage 12.5 → 50"
    assert changes(bus, other) == [f"~ quotas reader-one: {told}"]
    bus.apply(other)
    assert changes(bus, other) == []
    told = "consumer_byte_rate 1048576 → none, request_percentage 50 → none"
    assert changes(bus, TOPOLOGY) == [f"- quotas reader-one: {told}"]
    bus.apply()
    assert "reader-one" not in client_quotas(bus.settings)


def test_quotas_that_drifted_are_set_right_and_those_of_others_stay(bus: Bus) -> None:
    set_client_quotas(
        bus.settings, {"reader-two": {"consumer_byte_rate": 5.0}, "their-app": {"consumer_byte_rate": 6.0}}
    )
    assert changes(bus, TOPOLOGY) == ["- quotas reader-two: consumer_byte_rate 5 → none"]
    bus.apply()
    assert client_quotas(bus.settings) == {"their-app": {"consumer_byte_rate": 6.0}}
    set_client_quotas(bus.settings, {"their-app": {"consumer_byte_rate": None}})


# --- many resources, and crashes --------------------------------------------------------------------------


def test_the_registry_is_asked_as_often_for_many_views_as_for_few(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = "\n".join(EXTRA_VIEW.format(name=f"many_{number}").strip("\n") for number in range(4))
    many = TOPOLOGY.replace("subscribers:\n", f"{views}\nsubscribers:\n")
    bus.apply(many)
    asked: list[str] = []
    call = Registry._call

    def noted(registry: Registry, method: str, path: str, *given: Any) -> Any:
        asked.append(path)
        return call(registry, method, path, *given)

    monkeypatch.setattr(Registry, "_call", noted)
    assert not bus.survey(many).changes
    monkeypatch.undo()
    assert len([path for path in asked if not path.startswith("/subjects")]) == 2, asked
    assert not [path for path in asked if ".many_" in path]
    bus.apply(allow_delete=everything)


@pytest.mark.slow_faults
@pytest.mark.timeout(3600)
def test_an_apply_that_is_killed_at_any_step_is_finished_by_the_next(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files(bus, tmp_path, monkeypatch)
    label = "    label: {zh: 一, en: One}\n"
    text = also_reader(with_view("struck").replace(label, label + QUOTAS), "reader-struck")
    file.write_text(without(text, "  - {subscriber: reader-two, view: applied.person.near}\n"))
    before = also_reader(with_view("doomed"), "reader-doomed")
    for step in count(1):
        bus.apply(before, allow_delete=everything)
        bus.sql("applied_a", "DROP PUBLICATION exchange_applied_a")
        died = killed(file, step)
        command.apply(file, yes=True)
        left = sorted({line.name for line in survey(bus, file).undeclared})
        command.apply(file, yes=True, delete=left)
        assert planned(file) == 0, f"step {step}"
        assert [made for kind in KINDS for made in ledger(bus).of(kind) if made.mark == INTENDED] == []
        if not died:
            break
    assert step > 15
    bus.apply(allow_delete=everything)


@pytest.mark.slow_faults
def test_that_sees_an_apply_that_does_not_write_down_what_it_makes(
    bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files(bus, tmp_path, monkeypatch)
    with monkeypatch.context() as planted:
        planted.setattr(Ledger, "write", lambda *_given: None)
        bus.apply(with_view("unwritten"))
    assert f"x topic {SHARE}unwritten" not in undeclared(bus)
    assert f"{SHARE}unwritten" in bus.stack.admin.topics()
    bus.apply()
    assert planned(file) == 0
    bus.stack.admin.delete_topic(f"{SHARE}unwritten")


@pytest.mark.slow_faults
def test_five_hundred_resources_are_planned_in_seconds(bus: Bus) -> None:
    text = many_resources(500)
    bus.sql("applied_a", MANY_TABLES)
    bus.apply(text)
    declared, contracts = bus.load(text), bus.contracts()
    began_s = time.monotonic()
    seen = Work(bus.settings, declared, contracts).survey()
    took_s = time.monotonic() - began_s
    assert (seen.changes, seen.problems) == ((), [])
    sys.stderr.write(f"500 resources: {len(seen.lines)} objects looked at in {took_s:.1f} s\n")
    assert took_s < 30


# --- helpers ----------------------------------------------------------------------------------------------


KINDS = ("topic", "user", "schema", "publication", "slot")
MANY_TABLES = """
DO $$ BEGIN FOR i IN 0..499 LOOP
  EXECUTE format('CREATE TABLE many_%s (id_number text PRIMARY KEY, full_name text, region_code text)', i);
  EXECUTE format('ALTER TABLE many_%s REPLICA IDENTITY FULL', i);
END LOOP; END $$
"""


def many_resources(count: int) -> str:
    """Return the topology with so many more resources, each with a view and a reader of it."""
    label = "    label: {zh: 多, en: Many}\n"
    resources = "".join(
        f"  applied.many_{n}:\n{label}    system: applied_a\n    table: public.many_{n}\n"
        f"    contract: applied.person\n    catalogue_code: M-{n}\n    share: unconditional\n"
        "    partitions: 1\n"
        for n in range(count)
    )
    views = "".join(
        f"  applied.many_{n}.view:\n    resource: applied.many_{n}\n{label}    fields: {{id_number: token}}\n"
        for n in range(count)
    )
    grants = "".join(f"  - {{subscriber: reader-one, view: applied.many_{n}.view}}\n" for n in range(count))
    text = TOPOLOGY.replace("views:\n", f"{resources}views:\n{views}", 1)
    return text + grants


def killed(file: Path, step: int) -> bool:
    """Run an apply that kills itself before a step; return whether it had so many."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.integration.struck_apply", str(file), str(step)],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert run.returncode in (0, -signal.SIGKILL), run.stderr[-2000:]
    return run.returncode != 0


def survey(bus: Bus, file: Path) -> Survey:
    return bus.survey(file.read_text(encoding="utf-8"))


def adopted(folder: Path, *, as_json: bool = False) -> int:
    """Run `exchange adopt` and return its exit code."""
    try:
        adopt_command.adopt(folder, as_json=as_json)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def planned(file: Path) -> int:
    """Run `exchange plan` and return its exit code."""
    try:
        plan_command.plan(file, None, as_json=False)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def kafka_state(bus: Bus) -> tuple[Any, ...]:
    admin = bus.stack.admin
    return admin.topics(), admin.acls(), admin.scram_iterations(), client_quotas(bus.settings)


def changes(bus: Bus, text: str) -> list[str]:
    return [str(line) for line in bus.survey(text).changes if line.kind != "plan"]


def remade(bus: Bus, topic: str) -> None:
    """Delete a topic and make another one of its name, as others may."""
    bus.stack.admin.delete_topic(topic)
    bus.stack.admin.client.create_topics([NewTopic(topic, 2, 1)])[topic].result()


def ledger(bus: Bus) -> Ledger:
    found = Ledger(bus.settings.kafka_client("admin"))
    found.read()
    return found


def position_of(bus: Bus, system: str) -> None:
    """Store what a connector leaves behind, as far as its key."""
    record = {"topic": POSITIONS_TOPIC, "key": f"cdc-{system}".encode(), "value": b"-", "partition": 0}
    assert not write(bus.settings.kafka_client("admin"), [record], 60)


def made_in_database(bus: Bus) -> tuple[bool, bool]:
    """Return whether publication and slot of the second system are there."""
    with psycopg.connect(bus.dsns["applied_b"]) as connection:
        found = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = 'exchange_applied_b'),"
            " EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'exchange_applied_b')"
        ).fetchone()
    assert found is not None
    return found[0], found[1]


def files(bus: Bus, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write topology and contract for the commands."""
    file, avsc = folder / "t.yaml", folder / "avro" / "applied" / "person.avsc"
    file.write_text(TOPOLOGY, encoding="utf-8")
    avsc.parent.mkdir(parents=True)
    avsc.write_text(json.dumps(CONTRACT), encoding="utf-8")
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(folder / "avro"))
    return file
