"""Deletes by name, quotas, adoption, size and crashes of `exchange plan` and `exchange apply`, on the real parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic

from exchange.apply import leftovers, source
from exchange.apply.ledger import Ledger
from exchange.apply.steps import Line, Mark
from exchange.cluster import Cluster, TopicSpec
from exchange.commands import topology as command
from exchange.errors import ConfigError, SourceError
from exchange.librdkafka import write
from exchange.plan import POSITIONS_TOPIC
from exchange.quotas import client_quotas, set_client_quotas
from exchange.registry import for_writing
from tests.integration.applied import CONTRACT, RAW, SHARE, TOPOLOGY, Bus, ready_bus, without
from tests.stack import Stack

EXTRA_VIEW = """
  applied.person.{name}:
    resource: applied.person
    label: {{zh: 三, en: Third}}
    fields: {{id_number: token}}
"""
EXTRA_READER = "  {name}:\n    department: applied_south\n    label: {{zh: 三, en: Three}}\n"
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


def with_reader(name: str) -> str:
    return TOPOLOGY.replace("subscribers:\n", "subscribers:\n" + EXTRA_READER.format(name=name))


def undeclared(bus: Bus, text: str = TOPOLOGY) -> list[str]:
    return [str(line) for line in bus.survey(text).undeclared]


def everything(_line: Line) -> bool:
    return True


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
        planted.setattr(leftovers, "Cluster", Cluster)
        planted.setattr(Cluster, "topic_ids", lambda _self, names: {name: ids[name] for name in names})
        assert f"x topic {topic}" in undeclared(bus)
        bus.apply(allow_delete=everything)
    assert topic not in bus.stack.admin.topics()


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


def test_a_user_whose_password_others_set_anew_stays(bus: Bus) -> None:
    bus.apply(with_reader("reader-lost"))
    assert undeclared(bus) == ["x user reader-lost"]
    others = Cluster(bus.settings)
    others.remove_scram_user("reader-lost")
    others.ensure_scram_user("reader-lost")
    assert not undeclared(bus)
    others.remove_scram_user("reader-lost")


def test_a_subject_with_versions_of_others_stays(bus: Bus) -> None:
    bus.apply(with_view("shared"))
    subject = f"{SHARE}shared-value"
    with for_writing(bus.settings) as registry:
        *_, schema = registry.latest(subject) or (0, 0, {})
        registry.register(subject, schema | {"doc": "somebody else's"})
        assert f"x schema {subject}" not in undeclared(bus)
        bus.apply(allow_delete=everything)
        assert subject in registry.subjects()


def test_a_user_goes_with_its_quotas(bus: Bus) -> None:
    quoted = with_reader("reader-quoted").replace(
        "en: Three}", "en: Three}\n    quotas: {consumer_byte_rate: 7}"
    )
    bus.apply(quoted)
    assert client_quotas(bus.settings)["reader-quoted"] == {"consumer_byte_rate": 7.0}
    bus.apply(allow_delete=everything)
    assert "reader-quoted" not in bus.stack.admin.scram_users()
    assert "reader-quoted" not in client_quotas(bus.settings)


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


def test_a_slot_that_is_read_is_not_dropped(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

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

QUOTAS = "    quotas: {consumer_byte_rate: 1048576, producer_byte_rate: 2048, request_percentage: 12.5}\n"


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


# --- helpers ----------------------------------------------------------------------------------------------


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
    import psycopg

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
