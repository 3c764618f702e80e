"""`exchange apply` on the real parts: what it sets up, takes away and refuses, and that it repeats well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Producer,
    TopicPartition,
)

from connectors.runner import Connector
from exchange import topology
from exchange.apply import access
from exchange.apply.schemas import Schemas
from exchange.apply.steps import Mark, Survey
from exchange.apply.work import Work, apply
from exchange.cluster import Acl, TopicSpec
from exchange.commands import plan as plan_command
from exchange.commands import topology as command
from exchange.contract import Contract
from exchange.errors import ConfigError, PartError
from exchange.files import yaml_source
from exchange.librdkafka import send
from exchange.plan_topic import read_plan
from exchange.selfcheck import check_cluster, check_denies
from streams.runner import Runner
from tests.integration.applied import (
    CONTRACT,
    INTERNAL,
    KAFKA_OWN,
    QUARANTINE,
    RAW,
    SHARE,
    TOPOLOGY,
    Bus,
    ready_bus,
    without,
)
from tests.integration.matrix import OPERATIONS, expected, tried
from tests.stack import Stack, wait_for


@pytest.fixture(scope="module")
def bus(stack: Stack) -> Bus:
    return ready_bus(stack)


# --- what is set up ---------------------------------------------------------------------------------------


def test_a_second_apply_has_nothing_to_do(bus: Bus) -> None:
    first = bus.apply()
    again = bus.apply()
    assert not again.changed, [line for line in again.lines if line.mark != Mark.UNCHANGED]
    assert again.plan_version == first.plan_version >= 1


def test_the_published_plan_says_what_the_topology_says(bus: Bus) -> None:
    bus.apply()
    plan = read_plan(bus.settings.kafka_client("worker"))
    assert plan is not None
    assert [resource.name for resource in plan.resources] == ["applied.other", "applied.person"]
    person = plan.resources[1]
    assert (person.partitions, person.department, person.raw_topic) == (2, "applied_north", RAW[0])
    assert [view.topic for view in person.views] == [f"{SHARE}far", f"{SHARE}near"]
    assert plan.systems[0].publication == "exchange_applied_a"


def test_topics_have_their_partitions_and_retention(bus: Bus) -> None:
    bus.apply()
    assert all(bus.stack.admin.topics()[topic] == 2 for topic in (*RAW, *QUARANTINE, f"{SHARE}near"))
    config = bus.stack.admin.topic_config([RAW[0], QUARANTINE[0]])
    assert config[RAW[0]]["retention.ms"] == "604800000"
    assert config[QUARANTINE[0]]["retention.ms"] == "7776000000"
    assert config[RAW[0]]["max.message.bytes"] == "1048576"


def test_a_publication_that_drifted_is_set_right(bus: Bus) -> None:
    bus.apply()
    bus.sql(
        "applied_a",
        "CREATE TABLE drifted (id int PRIMARY KEY)",
        "ALTER PUBLICATION exchange_applied_a ADD TABLE drifted",
        "ALTER PUBLICATION exchange_applied_a SET (publish = 'insert')",
    )
    applied = bus.apply()
    changed = [line for line in applied.lines if line.mark != Mark.UNCHANGED]
    assert [(line.mark, line.kind) for line in changed] == [(Mark.CHANGED, "publication")]
    assert changed[0].detail == "public.drifted, public.person → public.person"
    bus.sql("applied_a", "DROP TABLE drifted")
    assert not bus.apply().changed


def test_a_topic_setting_that_drifted_is_set_right(bus: Bus) -> None:
    bus.apply()
    bus.stack.admin.ensure_topics([TopicSpec(RAW[0], 2, {"retention.ms": "1000"})])
    changed = [line for line in bus.apply().lines if line.mark != Mark.UNCHANGED]
    assert [str(line) for line in changed] == [f"~ topic {RAW[0]}: retention.ms 1000 → 604800000"]


def test_an_apply_that_broke_off_is_finished_by_the_next(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    bus.apply()
    new_view = """
  applied.person.third:
    resource: applied.person
    label: {zh: 三, en: Third}
    fields: {id_number: token}
"""
    new_reader = "  reader-three:\n    department: applied_south\n    label: {zh: 三, en: Three}\n"
    text = TOPOLOGY.replace("subscribers:\n", new_view.strip("\n") + "\nsubscribers:\n" + new_reader)
    kafka = type(bus.stack.admin)
    for owner, broken in (
        (kafka, "ensure_scram_users"),
        (kafka, "ensure_acls"),
        (Schemas, "_register"),
        (Work, "_publish"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, broken, _break_off)
            with pytest.raises(PartError, match="broken off"):
                bus.apply(text)
    assert bus.apply(text).changed
    assert not bus.apply(text).changed
    bus.apply(allow_delete=lambda _line: True)


def _break_off(*_args: Any) -> None:
    msg = "broken off"
    raise PartError(msg)


# --- who may read -----------------------------------------------------------------------------------------


MORE = (
    TOPOLOGY.replace(
        "resources:\n",
        """  applied_c:
    department: applied_north
    kind: http
    listen: 127.0.0.1:1
    keys_env: APPLIED_C_KEYS
resources:
  applied.pushed:
    label: {zh: 推, en: Pushed}
    system: applied_c
    table: pushed.person
    contract: applied.person
    catalogue_code: A-3
    share: unconditional
    partitions: 2
""",
    )
    .replace("    label: {zh: 一, en: One}\n", "    label: {zh: 一, en: One}\n    pull_keys_env: ONE_PULL\n")
    .replace(
        "    label: {zh: 二, en: Two}\n",
        """    label: {zh: 二, en: Two}
    delivery: {kind: webhook, url: "https://two.example/in", keys_env: TWO_KEYS}
""",
    )
)


def test_every_user_may_do_with_every_topic_what_the_table_says_and_nothing_else(bus: Bus) -> None:
    bus.apply(MORE)
    try:
        bus_topics = {name for name in INTERNAL if name.startswith("_exchange.")}
        plan, accounts, positions, receipts, parked, snapshots, revocations, corrections, pauses, anew = (
            f"_exchange.{name}"
            for name in (
                "plan",
                "accounts",
                "positions",
                "receipts",
                "parked",
                "snapshots",
                "revocations",
                "corrections",
                "pauses",
                "resnapshots",
            )
        )
        near, far = f"{SHARE}near", f"{SHARE}far"
        pushed, pushed_refused = "raw.applied_c.pushed.person", "quarantine.applied.pushed"
        raw, refused = {*RAW, pushed}, {*QUARANTINE, pushed_refused}
        north_refused = {QUARANTINE[0], pushed_refused}
        may = {
            "reader-one": expected(read={near}),
            "reader-two": expected(read={near, far}),
            "deliver-reader-two": expected(
                read={near, far, plan, revocations, parked}, write={accounts, parked}
            ),
            "pull": expected(read={plan, revocations, corrections}, write={accounts}),
            "worker": expected(read={*raw, plan}, write={near, far, *refused, accounts}),
            "monitor": expected(
                read={*bus_topics, "_schemas", *refused}, write={"_schemas"}, describe={*raw, near, far}
            ),
            "connector-applied_a": expected(
                read={plan, positions, snapshots, pauses, anew},
                write={RAW[0], QUARANTINE[0], accounts, positions, anew},
            ),
            "connector-applied_b": expected(
                read={plan, positions, snapshots, pauses, anew},
                write={RAW[1], QUARANTINE[1], accounts, positions, anew},
            ),
            "connector-applied_c": expected(
                read={plan, positions, receipts, pauses},
                write={pushed, pushed_refused, accounts, positions, receipts},
            ),
            "steward-applied_north": expected(read=north_refused),
            "steward-applied_south": expected(read={QUARANTINE[1]}),
            "redrive-applied_north": expected(
                read={*north_refused, RAW[0], pushed}, write={RAW[0], pushed, accounts}
            ),
            "redrive-applied_south": expected(read={QUARANTINE[1], RAW[1]}, write={RAW[1], accounts}),
        }
        assert may.keys() == set(access.principals(bus.load(MORE)))
        topics = {*raw, near, far, *refused, *INTERNAL, *KAFKA_OWN}
        for principal, cells in may.items():
            assert tried(bus.settings.kafka_client(principal), topics) == cells, principal
        ours = topics - {*KAFKA_OWN}
        assert tried(bus.settings.kafka_client("admin"), ours) == dict.fromkeys(OPERATIONS, frozenset(ours))
        bus.stack.admin.ensure_acls(
            [Acl("pull", "topic", near, "literal", word) for word in ("delete", "alter", "write")]
        )
        wrong = tried(bus.settings.kafka_client("pull"), topics)
        told = {word for word, cells in may["pull"].items() if wrong[word] != cells}
        assert told == {"describe", "write", "alter", "delete"}
    finally:
        bus.apply(allow_delete=lambda _line: True)


def test_a_subscriber_can_write_nowhere(bus: Bus) -> None:
    bus.apply()
    topics = [f"{SHARE}near", *RAW, *QUARANTINE, *INTERNAL]
    assert _written(bus, "reader-one", topics) == set()


def test_a_connector_writes_its_own_topics_only(bus: Bus) -> None:
    bus.apply()
    topics = [f"{SHARE}near", *RAW, *QUARANTINE, *INTERNAL]
    written = _written(bus, "connector-applied_a", topics, "cdc-applied_a")
    assert written == {
        RAW[0],
        QUARANTINE[0],
        "_exchange.accounts",
        "_exchange.positions",
        "_exchange.resnapshots",
    }


def test_a_subscriber_reads_in_groups_of_its_own_name_only(bus: Bus) -> None:
    bus.apply()
    assert _join(bus, "reader-one", "reader-one.app") is None
    for foreign in ("reader-two.app", "exchange-stream", "reader-one"):
        assert _join(bus, "reader-one", foreign) == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_subscriber_whose_grant_is_gone_is_refused_by_kafka(bus: Bus) -> None:
    bus.apply()
    near = f"{SHARE}near"
    assert _read_all(bus, "reader-one", {near}) == {near: False}
    applied = bus.apply(without(TOPOLOGY, "  - {subscriber: reader-one, view: applied.person.near}\n"))
    removed = [str(line) for line in applied.lines if line.mark == Mark.REMOVED]
    assert removed == [f"- access reader-one: READ topic {near}"]
    assert _read_all(bus, "reader-one", {near}) == {near: True}
    assert _read_all(bus, "reader-two", {near}) == {near: False}
    bus.apply()


def test_access_is_withdrawn_even_when_a_source_is_down(bus: Bus) -> None:
    bus.apply()
    near = f"{SHARE}near"
    reduced = without(TOPOLOGY, "  - {subscriber: reader-one, view: applied.person.near}\n")
    nowhere = bus.secret("APPLIED_A_DSN", "postgresql://nobody:x@127.0.0.1:1/none")
    with nowhere, pytest.raises(ConfigError, match="does not let us in"):
        bus.apply(reduced)
    assert _read_all(bus, "reader-one", {near}) == {near: True}
    bus.apply()


def test_an_expired_grant_gives_no_access(bus: Bus) -> None:
    near = f"{SHARE}near"
    granted = "{subscriber: reader-one, view: applied.person.near}"
    bus.apply(TOPOLOGY.replace(granted, granted[:-1] + ", until: 2020-01-01}"))
    assert _read_all(bus, "reader-one", {near}) == {near: True}
    bus.apply()


def test_a_subscriber_that_is_gone_loses_its_access_at_once(bus: Bus) -> None:
    bus.apply()
    foreign = Acl("foreign-app", "topic", "foreign.orders", "literal", "read")
    bus.stack.admin.ensure_acls([foreign])
    applied = bus.apply(
        without(
            TOPOLOGY,
            "  reader-one:\n    department: applied_south\n    label: {zh: 一, en: One}\n",
            "  - {subscriber: reader-one, view: applied.person.near}\n",
        )
    )
    removed = {str(line) for line in applied.lines if line.mark == Mark.REMOVED}
    rights = f"READ group reader-one.*, READ topic {SHARE}near"
    assert removed == {f"- access reader-one: {rights}"}
    assert [str(line) for line in applied.kept] == ["x user reader-one"]
    assert "reader-one" in bus.stack.admin.scram_users()
    assert foreign in bus.stack.admin.acls()
    bus.apply()
    assert _read_all(bus, "reader-one", {f"{SHARE}near"}) == {f"{SHARE}near": False}


def test_rules_added_by_hand_to_a_subscriber_do_not_linger(bus: Bus) -> None:
    bus.apply()
    bus.stack.admin.ensure_acls([Acl("reader-one", "topic", "raw.", "prefixed", "read")])
    assert _read_all(bus, "reader-one", {RAW[0]}) == {RAW[0]: False}
    bus.apply()
    assert _read_all(bus, "reader-one", {RAW[0]}) == {RAW[0]: True}


# --- what is refused --------------------------------------------------------------------------------------


@pytest.fixture
def opened(bus: Bus) -> Iterator[Bus]:
    """A Kafka that lets everybody look at every topic."""
    bus.apply()
    for_all = [Acl("*", "topic", "*", "literal", "describe_configs")]
    bus.stack.admin.ensure_acls(for_all)
    yield bus
    bus.stack.admin.remove_acls(for_all)


def test_nothing_works_on_a_kafka_that_does_not_deny_by_default(opened: Bus) -> None:
    told = "user monitor may look at a topic for which it has no rule"
    assert told in opened.refusal()
    taken = opened.settings.model_copy(update={"kafka_accept_risks": "open_by_default"})
    assert apply(taken, opened.load(TOPOLOGY), opened.contracts()) is not None
    with pytest.raises(ConfigError, match="open_by_default: user worker may look at a topic"):
        Runner(opened.settings, "unsafe", accept_refusals=False).run()
    with pytest.raises(ConfigError, match="open_by_default: user connector-applied_a may look at a topic"):
        Connector(opened.settings, "applied_a").run()


def test_what_a_kafka_that_denies_is_asked_is_no_reason_to_stop(bus: Bus) -> None:
    """Control: the same looks find nothing, for every kind of user."""
    bus.apply()
    for name in (access.MONITOR, access.WORKER, access.connector("applied_a"), "reader-one"):
        check_denies(bus.settings, bus.settings.kafka_client(name))
    check_cluster(bus.settings, [access.MONITOR])


def test_a_missing_steward_key_is_told_with_its_command(bus: Bus) -> None:
    bus.apply()
    file = bus.settings.root / "keys" / "applied_north.pub"
    kept = file.read_text()
    file.unlink()
    assert "exchange keys create applied_north" in bus.refusal()
    file.write_text("not a key")
    assert "expected an X25519 key" in bus.refusal()
    file.write_text(kept)


def test_a_missing_connection_string_names_the_variable(bus: Bus) -> None:
    bus.apply()
    with bus.secret("APPLIED_A_DSN", None):
        assert "system applied_a: no connection string: set the environment variable APPLIED_A_DSN" in (
            bus.refusal()
        )


def test_a_wrong_password_is_told_without_showing_it(bus: Bus) -> None:
    bus.apply()
    user, _, rest = bus.dsns["applied_a"].partition("@")
    with bus.secret("APPLIED_A_DSN", f"{user.rpartition(':')[0]}:wrong-pass-17@{rest}"):
        text = bus.refusal()
    assert "password authentication failed" in text
    assert "wrong-pass-17" not in text


def test_a_malformed_connection_string_is_not_shown(bus: Bus) -> None:
    bus.apply()
    with bus.secret("APPLIED_A_DSN", "host with secret-4711"):
        text = bus.refusal()
    assert "APPLIED_A_DSN: not a connection string" in text
    assert "4711" not in text


@pytest.mark.parametrize(
    ("spoil", "mend", "told"),
    [
        (
            "ALTER TABLE person RENAME TO person_old",
            "ALTER TABLE person_old RENAME TO person",
            "table public.person (resource applied.person) does not exist",
        ),
        (
            "ALTER TABLE person DROP CONSTRAINT person_pkey",
            "ALTER TABLE person ADD PRIMARY KEY (id_number)",
            'ALTER TABLE "public"."person" ADD PRIMARY KEY',
        ),
        (
            "ALTER TABLE person REPLICA IDENTITY DEFAULT",
            "ALTER TABLE person REPLICA IDENTITY FULL",
            'ALTER TABLE "public"."person" REPLICA IDENTITY FULL;',
        ),
        (
            "ALTER TABLE person RENAME COLUMN full_name TO fullname",
            "ALTER TABLE person RENAME COLUMN fullname TO full_name",
            "Did you mean 'fullname'",
        ),
    ],
    ids=["missing table", "no primary key", "no full replica identity", "missing column"],
)
def test_a_table_that_cannot_be_captured_is_refused_with_what_to_do(
    bus: Bus, spoil: str, mend: str, told: str
) -> None:
    bus.apply()
    bus.sql("applied_a", spoil)
    try:
        assert told in bus.refusal()
    finally:
        bus.sql("applied_a", mend)
    assert not bus.apply().changed


def test_a_user_without_rights_is_told_the_statements_for_the_owner(bus: Bus) -> None:
    bus.apply()
    bus.sql("applied_b", "DROP PUBLICATION exchange_applied_b")
    bus.sql("applied_b", "CREATE ROLE applied_weak LOGIN PASSWORD 'weak'")
    _, _, place = bus.dsns["applied_b"].partition("@")
    with bus.secret("APPLIED_B_DSN", f"postgresql://applied_weak:weak@{place}"):
        assert 'GRANT SELECT ON "public"."person" TO "applied_weak";' in bus.refusal()
        bus.sql("applied_b", "GRANT SELECT ON person TO applied_weak")
        text = bus.refusal()
    assert 'CREATE PUBLICATION "exchange_applied_b" FOR TABLE "public"."person"' in text
    bus.apply()


def test_all_problems_of_all_parts_come_at_once(bus: Bus) -> None:
    bus.apply()
    with bus.secret("APPLIED_A_DSN", None), bus.secret("APPLIED_B_DSN", None):
        text = bus.refusal(TOPOLOGY.replace("A-1\n    share: unconditional\n    partitions: 2",
                                            "A-1\n    share: unconditional\n    partitions: 3"))  # fmt: skip
    assert "APPLIED_A_DSN" in text
    assert "APPLIED_B_DSN" in text
    assert f"topic {RAW[0]} has 2 partitions, 3 are asked for" in text


def test_a_view_that_would_break_its_readers_is_refused(bus: Bus) -> None:
    bus.apply()
    changed = CONTRACT | {"fields": [*CONTRACT["fields"][:2], _region_as_number()]}  # type: ignore[index]
    contracts = {"applied.person": Contract.parse(changed, "person.avsc")}
    text = without(TOPOLOGY, "    rows:\n      - {field: region_code, prefix: ['33']}\n")
    source = yaml_source.parse(text, "applied.yaml")
    declared = topology.check(source, contracts, topology.today()).topology
    before = bus.state()
    with pytest.raises(ConfigError, match="would break its readers"):
        apply(bus.settings, declared, contracts)
    assert bus.state() == before


def _region_as_number() -> dict[str, Any]:
    label = {"zh": "区划", "en": "Region"}
    return {
        "name": "region_code",
        "type": ["null", "long"],
        "default": None,
        "classification": 1,
        "label": label,
    }


def test_a_lost_masking_key_is_never_replaced_by_a_new_one(bus: Bus) -> None:
    bus.apply()
    with bus.secret("EXCHANGE_MASK_KEY", None):
        assert "A new one would change every token" in bus.refusal()
        assert bus.settings.secrets.find("EXCHANGE_MASK_KEY") is None
    with bus.secret("EXCHANGE_MASK_KEY", "abc"):
        assert "64 hex digits" in bus.refusal()


# --- the commands ------------------------------------------------------------------------------------------


def test_nothing_is_changed_when_the_answer_is_no(bus: Bus) -> None:
    bus.apply()
    before = bus.state()
    reduced = without(TOPOLOGY, "  - {subscriber: reader-one, view: applied.person.near}\n")
    asked: list[str] = []

    def decline(seen: Survey) -> bool:
        asked.extend(map(str, seen.changes))
        return False

    assert apply(bus.settings, bus.load(reduced), bus.contracts(), confirm=decline) is None
    assert asked == [f"- access reader-one: READ topic {SHARE}near"]
    assert bus.state() == before


@pytest.fixture
def files(bus: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Apply the topology, and return its file for the commands."""
    bus.apply()
    file, avsc = tmp_path / "t.yaml", tmp_path / "avro" / "applied" / "person.avsc"
    file.write_text(TOPOLOGY, encoding="utf-8")
    avsc.parent.mkdir(parents=True)
    avsc.write_text(json.dumps(CONTRACT), encoding="utf-8")
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    return file


def planned(file: Path, output: Path | None = None, *, as_json: bool = False) -> int:
    """Run `exchange plan` and return its exit code."""
    try:
        plan_command.plan(file, output, as_json=as_json)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def narrowed() -> str:
    """Return the topology without the row scope of a view, and without a reader of it."""
    text = without(TOPOLOGY, "    rows:\n      - {field: region_code, prefix: ['33']}\n")
    return without(text, "  - {subscriber: reader-one, view: applied.person.near}\n")


def test_the_command_prints_what_it_did_as_json(
    bus: Bus, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.apply(files, yes=True, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["changed"] is False
    assert {entry["mark"] for entry in answer["objects"]} == {"="}
    assert answer["plan_version"] == bus.plan_version()


def test_after_apply_a_plan_is_empty(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert planned(files) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_a_plan_shows_old_and_new_and_who_sees_more_and_changes_nothing(
    bus: Bus, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bus.state()
    files.write_text(narrowed(), encoding="utf-8")
    assert planned(files) == 2
    version = bus.plan_version()
    assert capsys.readouterr().out == (
        "access\n"
        f"  - access reader-one: READ topic {SHARE}near\n"
        "plan\n"
        f"  ~ plan in force: version {version} → {version + 1}\n"
        "what it means to readers\n"
        "  ! view applied.person.near, rows: region_code in 33… → all (read by reader-two)\n"
        "  ~ view applied.person.near, reader reader-one: reads → no access (read by reader-two)\n"
        "2 changes: 1 to be changed, 1 to be removed; 1 of what readers notice shows them more\n"
    )
    assert bus.state() == before


def test_a_plan_is_carried_out_as_it_was_shown_and_then_nothing_is_left(
    bus: Bus, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_text(narrowed(), encoding="utf-8")
    kept = tmp_path / "plan.json"
    assert planned(files, kept, as_json=True) == 2
    shown = json.loads(capsys.readouterr().out)
    assert json.loads(kept.read_text()) == {
        name: shown[name] for name in shown if name not in ("problems", "notes")
    }
    assert [view["exposes"] for view in shown["views"]] == [True, False]

    command.apply(kept)
    told = capsys.readouterr().out
    for change in shown["changes"]:
        line = re.escape(f"{change['mark']} {change['kind']} {change['name']}")
        assert re.search(rf"^{line}.* \(done, \d+\.\d s\)$", told, re.MULTILINE)
    assert planned(files) == 0
    command.apply(kept)
    assert "nothing to change" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["the topology", "Kafka"])
def test_a_stale_plan_is_refused(what: str, bus: Bus, files: Path, tmp_path: Path) -> None:
    kept = tmp_path / "plan.json"
    files.write_text(narrowed(), encoding="utf-8")
    assert planned(files, kept) == 2
    if what == "Kafka":
        bus.stack.admin.ensure_topics([TopicSpec(f"{SHARE}far", 2, {"retention.ms": "1000"})])
    else:
        files.write_text(narrowed().replace("en: Near", "en: Nearer"), encoding="utf-8")
    before = bus.state()
    with pytest.raises(ConfigError, match="the plan is stale") as refused:
        command.apply(kept)
    why = f"~ topic {SHARE}far" if what == "Kafka" else "a contract is no longer what was planned"
    assert why in str(refused.value)
    assert bus.state() == before


def test_a_plan_that_broke_off_is_finished_by_carrying_it_out_again(
    bus: Bus, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "plan.json"
    files.write_text(narrowed(), encoding="utf-8")
    assert planned(files, kept) == 2
    with monkeypatch.context() as broken:
        broken.setattr(Work, "_publish", _break_off)
        with pytest.raises(PartError):
            command.apply(kept)
    command.apply(kept)
    assert planned(files) == 0


def test_what_is_no_plan_is_told(bus: Bus, files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        command.apply(other)
    other.write_text('{"format": 1}')
    with pytest.raises(ConfigError, match="not a plan that this version wrote"):
        command.apply(other)
    with pytest.raises(ConfigError, match=r"ends with \.json"):
        planned(files, tmp_path / "plan.txt")


# --- helpers ----------------------------------------------------------------------------------------------


def _consumer(bus: Bus, principal: str, group: str) -> Consumer:
    return Consumer(
        bus.settings.kafka_client(principal)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )


def _read_all(bus: Bus, principal: str, topics: set[str]) -> dict[str, bool]:
    """Return topic → whether Kafka denies it; what may be described is read to the end of partition 0."""
    consumer = _consumer(bus, principal, f"{principal}.matrix")
    try:
        hidden = {
            topic for topic in topics if consumer.list_topics(topic, 15).topics[topic].error is not None
        }
        outcome = dict.fromkeys(hidden, True)
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in topics - hidden])

        def all_answered() -> bool:
            message = consumer.poll(0.2) if outcome.keys() != topics else None
            if message is not None and message.topic() in topics:
                error = message.error()
                denied = error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
                outcome[str(message.topic())] = denied
            return outcome.keys() == topics

        wait_for(all_answered, f"{principal}: an answer for each topic")
    finally:
        consumer.close()
    return outcome


def _written(bus: Bus, principal: str, topics: list[str], transactional_id: str | None = None) -> set[str]:
    """Return the topics that take a record; where others would read it, in a transaction that is aborted."""
    taken: set[str] = set()
    refusals = {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    if (
        transactional_id is not None
    ):  # refused when the topic joins the transaction: then all of it is dropped
        refusals.add(KafkaError._PURGE_QUEUE)
    for topic in topics:
        settings = bus.settings.kafka_client(principal) | {"log_level": 0, "message.timeout.ms": 30_000}
        if transactional_id is not None:
            settings |= {"transactional.id": transactional_id}
        producer = Producer(settings)
        if transactional_id is not None:
            producer.init_transactions(30)
            producer.begin_transaction()
        outcome: list[KafkaError | None] = []

        def note(error: KafkaError | None, _message: object, to: list[KafkaError | None] = outcome) -> None:
            to.append(error)

        send(producer, note, topic=topic, value=None, key=b"probe", partition=0)
        producer.flush(45)
        assert outcome, f"{principal} → {topic}: no answer"
        if outcome[0] is None:
            taken.add(topic)
            if transactional_id is not None:
                producer.abort_transaction(15)
        else:
            assert outcome[0].code() in refusals, (topic, outcome[0])
    return taken


def _join(bus: Bus, principal: str, group: str) -> int | None:
    """Return the code with which Kafka refuses a consumer of the group, None when it lets it read."""
    consumer = _consumer(bus, principal, group)
    try:
        consumer.subscribe([f"{SHARE}near"])
        message = wait_for(lambda: consumer.poll(0.2), f"{principal}: an answer for group {group}")
        error = message.error()
        ended = error is None or error.code() == KafkaError._PARTITION_EOF
        return None if ended or error is None else int(error.code())
    finally:
        consumer.close()
