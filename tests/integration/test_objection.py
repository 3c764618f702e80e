"""Objections on real parts: who may, two at once, what corrects, and that no claim leaves the store."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from exchange import rawkeys
from exchange import topology as topologies
from exchange.apply.access import STREAM_GROUP
from exchange.boxes import RAW_KEYS, BoxOpener, BoxSealer
from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.cli import build
from exchange.cluster import Acl, TopicSpec
from exchange.contract import Contract
from exchange.encoding.wire import frame
from exchange.errors import ConfigError, GovernanceError, PartError
from exchange.files import yaml_source
from exchange.governance import corrections, objected
from exchange.governance.objection import Event, Objection, Place, State
from exchange.governance.objection_desk import Objected, ObjectionDesk
from exchange.governance.store import Decision, Store
from exchange.plan import CORRECTIONS_TOPIC, DECISIONS_TOPIC, raw_topic, view_topic
from exchange.topology import Topology
from tests.checkers.committed import CommittedReader
from tests.integration.test_catalogue import PEOPLE, in_kafka
from tests.stack import Stack, wait_for
from tests.unit.exchange.topologies import GOOD, PERSON, TODAY

SHARES_STACK = True

NOW = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
TEXT = (GOOD + PEOPLE).replace("population", "objected").replace("tax", "objector").replace("TAX", "OBJECTOR")
VIEW = "objected.person.basic"
TOPIC, RAW = view_topic("objected.person", "basic"), raw_topic("objected", "public.person")
SUBSCRIBER = "objector"
SECRET = "张三的姓名应为李四"
DOCUMENT: dict[str, Any] = dict(PERSON) | {"namespace": "objected"}
CHANGE, LATER = Place(offset=5, position="five"), Place(offset=9, position="nine")


def a_topology() -> Topology:
    contracts = {"objected.person": Contract.parse(DOCUMENT, "person.avsc")}
    return topologies.check(yaml_source.parse(TEXT, "t.yaml"), contracts, TODAY).topology


def desk(store: Store, today: dt.date = TODAY) -> ObjectionDesk:
    return ObjectionDesk(store, a_topology(), today)


def about(**changes: Any) -> Objected:
    given: dict[str, Any] = {
        "subscriber": SUBSCRIBER,
        "view": VIEW,
        "partition": 2,
        "offset": 17,
        "fields": ("full_name",),
        "claim": SECRET,
    }
    return Objected(**(given | changes))


def filed(store: Store) -> Objection:
    return desk(store).new("li-na", about(), lambda: CHANGE, NOW)


def nothing_looked_up() -> Place:
    raise AssertionError("it was looked up before it was clear who may")


def noted(store: Store) -> list[Decision]:
    with store.change() as change:
        return change.decisions(0, 10_000)


def test_an_objection_is_answered_and_corrected_and_stays_so(store: Store) -> None:
    one = filed(store)
    answered = desk(store).act("wang-wei", one.id, Event.ANSWER, 1, NOW, answer=SECRET)
    done = desk(store).act("wang-wei", one.id, Event.CORRECT, 2, NOW, find=lambda _: LATER)
    assert (answered.state, done.state, done.correction) == (State.ANSWERED, State.CORRECTED, LATER)
    assert desk(store).one(one.id) == done
    told = noted(store)
    assert [(x.event, x.state, x.about) for x in told] == [
        ("new", "filed", "objection 1"),
        ("answer", "answered", "objection 1"),
        ("correct", "corrected", "objection 1"),
    ]
    assert not any(SECRET in x.model_dump_json() for x in told)


@pytest.mark.parametrize(
    ("actor", "changes", "told"),
    [
        ("wang-wei", {}, "not requester"),
        ("nobody", {}, "not among the people"),
        ("li-na", {"view": "objected.street.all"}, "no grant of"),
        ("li-na", {"view": "objected.person.none"}, "not among the views"),
        ("li-na", {"fields": ("salary",)}, "shows no field"),
        ("li-na", {"fields": ()}, "name the fields"),
    ],
)
def test_who_may_not_read_a_value_may_not_object_to_it(
    store: Store, actor: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(GovernanceError, match=told):
        desk(store).new(actor, about(**changes), nothing_looked_up, NOW)
    assert desk(store).all() == []
    assert (noted(store)[-1].outcome, SECRET in noted(store)[-1].model_dump_json()) == ("refused", False)


def test_a_grant_that_is_over_and_a_second_objection_to_the_same_are_refused(store: Store) -> None:
    with pytest.raises(GovernanceError, match="no grant of"):
        desk(store, dt.date(2028, 1, 1)).new("li-na", about(), nothing_looked_up, NOW)
    filed(store)
    with pytest.raises(GovernanceError, match="objection 1 is to the same fields"):
        filed(store)
    other = desk(store).new("li-na", about(fields=("region_code",)), lambda: CHANGE, NOW)
    assert other.id == 2


@pytest.mark.parametrize(
    ("actor", "event", "version", "told"),
    [
        ("li-na", Event.ANSWER, 1, "not steward of department police"),
        ("wang-wei", Event.WITHDRAW, 1, "not requester"),
        ("wang-wei", Event.REJECT, 2, "version 2 was shown"),
        ("wang-wei", Event.REJECT, 1, "needs a text"),
        ("wang-wei", Event.CORRECT, 1, "must be a later change"),
        ("nobody", Event.ANSWER, 1, "not among the people"),
    ],
)
def test_what_may_not_be_is_refused_and_noted(
    store: Store, actor: str, event: Event, version: int, told: str
) -> None:
    one = filed(store)
    with pytest.raises(GovernanceError, match=told):
        desk(store).act(actor, one.id, event, version, NOW)
    assert desk(store).one(one.id) == one
    assert (noted(store)[-1].outcome, noted(store)[-1].about) == ("refused", "objection 1")


def test_a_claim_is_shown_to_who_filed_it_and_to_its_steward_alone(store: Store) -> None:
    one = filed(store)
    for actor in ("li-na", "wang-wei"):
        desk(store).expect_may_read(actor, one)
    for actor in ("chen-jie", "nobody"):
        with pytest.raises(GovernanceError):
            desk(store).expect_may_read(actor, one)


def test_of_several_who_act_on_one_version_one_gets_through(url: str, store: Store) -> None:
    one = filed(store)

    def act(actor: str, event: Event) -> Callable[[ObjectionDesk], Objection]:
        return lambda at: at.act(actor, one.id, event, 1, NOW, answer="a", find=lambda _: LATER)

    does = [act("wang-wei", Event.REJECT), act("zhao-min", Event.CORRECT), act("li-na", Event.WITHDRAW)]
    start, done = threading.Barrier(len(does)), list[Objection]()

    def run(do: Callable[[ObjectionDesk], Objection]) -> None:
        with Store(url) as own:
            start.wait(60)
            with suppress(GovernanceError):
                done.append(do(desk(own)))

    threads = [threading.Thread(target=run, args=(do,)) for do in does]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) == 1
    assert desk(store).one(one.id) == done[0]


# --- in Kafka and by commands -----------------------------------------------------------------------------


def header(index: int, op: Op = Op.UPDATE, **more: Any) -> list[tuple[str, str | bytes | None]]:
    now_ms = int(time.time() * 1000)
    return [(HEADER, RecordHeader(Position(7, 100, index), op, now_ms, **more).pack())]


@pytest.fixture(scope="module")
def records(stack: Stack) -> Iterator[Stack]:
    """Write changes of two rows, and the view's records of the first three, as the bus would.

    Those of the raw topic are sealed from the fourth on.
    """
    sealer = BoxSealer(rawkeys.rotate(stack.settings.secrets))
    config = {"cleanup.policy": "delete"}
    stack.admin.ensure_topics([TopicSpec(TOPIC, 2, config), TopicSpec(RAW, 2, config)])
    stack.admin.ensure_scram_user(SUBSCRIBER)
    stack.admin.ensure_acls([Acl(SUBSCRIBER, "topic", TOPIC, "literal", "read")])
    stack.admin.ensure_acls([Acl(SUBSCRIBER, "group", f"{SUBSCRIBER}.", "prefixed", "read")])
    one, other = b"row one", b"row other"
    changes: list[tuple[bytes, int, dict[str, Any]]] = [
        (one, 1, {"op": Op.CREATE}),
        (other, 2, {"op": Op.CREATE}),
        (one, 3, {}),
        (one, 2, {"redriven": True}),
        (other, 4, {}),
        (one, 3, {"op": Op.READ}),
        (one, 5, {}),
        (one, 6, {"op": Op.DELETE}),
    ]
    producer = Producer(stack.settings.kafka_client("admin") | {"transactional.id": "objection-test"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for number, (key, index, more) in enumerate(changes):
        # another schema of the key in between: what is the same row is told by the key itself
        framed = frame(1 + number % 2, key)
        headers = header(index, **more)
        [(_, packed)] = headers
        assert isinstance(packed, bytes)
        written: dict[str, Any] = {"key": framed, "value": b"{}"}
        if number >= 3:
            written = {"value": sealer.seal(RAW, 1, packed, framed, b"{}")}
        producer.produce(RAW, **written, partition=1, headers=headers)
    for index in (1, 2, 3):
        producer.produce(TOPIC, key=b"k", value=b"masked", partition=1, headers=header(index))
    producer.commit_transaction(60)
    wait_until_committed(stack, len(changes) + 3)
    yield stack
    (stack.settings.root / "secrets" / RAW_KEYS).unlink()


def wait_until_committed(stack: Stack, count: int) -> None:
    """Wait until so many records can be read: Kafka answers a commit before its readers are told."""
    with closing(CommittedReader(stack.settings.kafka_client("admin"), [TOPIC, RAW])) as reader:
        read: list[object] = []

        def all_there() -> bool:
            read.extend(reader.read())
            return len(read) == count

        wait_for(all_there, "what was written is committed")


def found(stack: Stack, offset: int) -> tuple[Place, list[int]]:
    """Return the change of a view's record, and the offsets of later changes of its row."""
    client, admin = stack.settings.kafka_client(SUBSCRIBER), stack.settings.kafka_client("admin")
    seen = objected.shown(client, TOPIC, 1, offset, f"{SUBSCRIBER}.objections")
    opener = rawkeys.opener(stack.settings.secrets)
    place = objected.change_of(admin, RAW, 1, seen, opener)
    return place, [one.offset for one in objected.later_changes(admin, RAW, 1, place, opener)]


def test_the_change_of_a_record_and_the_later_ones_of_its_row_are_found(records: Stack) -> None:
    assert [(place.offset, later) for place, later in (found(records, n) for n in range(3))] == [
        (0, [2, 6, 7]),
        (1, [4]),
        (2, [6, 7]),
    ]


def test_the_checker_sees_changes_of_another_row_and_what_was_sent_again(
    records: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objected, "_follows", lambda *_: True)
    assert found(records, 0)[1] != [2, 6, 7]
    monkeypatch.undo()
    monkeypatch.setattr(objected, "unframe", lambda key: (0, b"same"))
    assert found(records, 1)[1] != [4]


def test_where_no_record_stands_or_none_may_be_read_nothing_is_found(records: Stack) -> None:
    client = records.settings.kafka_client(SUBSCRIBER)
    for offset in (3, 999):
        with pytest.raises(GovernanceError, match="no record of a change"):
            objected.shown(client, TOPIC, 1, offset, f"{SUBSCRIBER}.objections")
    with pytest.raises(PartError, match="Kafka denies access"):
        objected.shown(client, RAW, 1, 0, f"{SUBSCRIBER}.objections")
    gone, opener = Place(offset=3, position="another"), rawkeys.opener(records.settings.secrets)
    with pytest.raises(GovernanceError, match="no longer there"):
        objected.later_changes(records.settings.kafka_client("admin"), RAW, 1, gone, opener)


def test_without_the_key_of_sealed_changes_nothing_is_found(records: Stack) -> None:
    place, _ = found(records, 0)
    with pytest.raises(ConfigError, match="EXCHANGE_RAW_KEYS"):
        objected.later_changes(records.settings.kafka_client("admin"), RAW, 1, place, BoxOpener())


SEALED = TEXT.replace("    table: public.person\n", "    table: public.person\n    sealed: true\n")


class Examined:
    """`exchange doctor --sealing` on the records, and the keys that it is given; what it said is kept."""

    def __init__(self, records: Stack) -> None:
        self.secrets = records.settings.secrets
        self.file = records.settings.root / "secrets" / RAW_KEYS
        self.keys = rawkeys.read(self.secrets)
        self.said = ""

    def finds(self, check: str) -> list[tuple[str, str]]:
        """Return level and text of the findings of one check."""
        done = CliRunner().invoke(build(), ["doctor", "--sealing", "--json"])
        assert done.exit_code == 2, done.output
        self.said += done.output
        found = json.loads(done.stdout)["findings"]
        return [(one["level"], one["seen"]) for one in found if one["check"] == check]


@pytest.fixture
def examined(records: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Examined]:
    """Yield it for a bus that seals the records' resource; the keys are put back at the end."""
    (tmp_path / "topology.yaml").write_text(SEALED)
    (tmp_path / "avro" / "objected").mkdir(parents=True)
    (tmp_path / "avro" / "objected" / "person.avsc").write_text(json.dumps(DOCUMENT))
    monkeypatch.setenv("EXCHANGE_HOME", str(records.home))
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(tmp_path / "topology.yaml"))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    made = Examined(records)
    assert made.keys is not None
    yield made
    made.secrets.put(RAW_KEYS, made.keys.text())


def test_doctor_says_what_is_sealed_and_under_which_key(examined: Examined) -> None:
    assert examined.finds("missing_key") == []
    assert [level for level, _ in examined.finds("key")] == ["note"]
    [(level, seen)] = examined.finds("sealed")
    assert (level, RAW in seen, "version 1 (" in seen, seen.endswith("in clear too")) == (
        "note",
        True,
        True,
        True,
    )
    [(_, now)] = examined.finds("not_in_force")  # no plan is published
    assert RAW in now
    rawkeys.rotate(examined.secrets)
    assert any("older key than version 2" in text for _, text in examined.finds("sealed"))


def test_doctor_says_which_sensitive_fields_lie_in_clear(examined: Examined, tmp_path: Path) -> None:
    assert not any("objected.person:" in text for _, text in examined.finds("stored_in_clear"))
    (tmp_path / "topology.yaml").write_text(TEXT)
    [(level, seen)] = [one for one in examined.finds("stored_in_clear") if "objected.person:" in one[1]]
    assert (level, "id_number" in seen, RAW in seen) == ("warning", True, True)


def test_doctor_finds_the_keys_that_workers_would_halt_without(examined: Examined) -> None:
    """Planted: the keys away, another key of that version, the old one missing, open to others, no keys."""
    five = "5 records looked at, from 1:3 on, sealed under version 1 ("
    examined.file.unlink()
    [(level, seen)] = examined.finds("missing_key")
    assert (level, five in seen, seen.endswith("here is none")) == ("error", True, True)
    [(level, seen)] = examined.finds("key")
    assert (level, "is missing here" in seen) == ("error", True)
    rawkeys.rotate(examined.secrets)
    [(level, seen)] = examined.finds("missing_key")
    assert (level, five in seen, "here is version 1 (" in seen) == ("error", True, True)
    later = rawkeys.rotate(examined.secrets).without(1)
    examined.secrets.put(RAW_KEYS, later.text())
    [(level, seen)] = examined.finds("missing_key")
    assert (level, five in seen, "here is version 2 (" in seen) == ("error", True, True)
    examined.file.chmod(0o644)
    assert "chmod 600" in examined.finds("key")[0][1]
    examined.secrets.put(RAW_KEYS, "1:beef")
    assert [level for level, _ in examined.finds("key")] == ["error"]
    assert examined.keys is not None
    for keys in (examined.keys, later):
        assert not any(key.hex() in examined.said for key in keys.by_version.values())
    assert "beef" not in examined.said


def test_doctor_warns_of_keys_that_only_processed_records_need(examined: Examined, records: Stack) -> None:
    client = records.settings.kafka_client("admin") | {"group.id": STREAM_GROUP}
    examined.file.unlink()
    for offset, level in ((8, "warning"), (5, "error")):
        with closing(Consumer(client)) as worker:
            worker.commit(offsets=[TopicPartition(RAW, 1, offset)], asynchronous=False)
        assert [found_ for found_, _ in examined.finds("missing_key")] == [level]


def test_an_objection_by_commands_and_its_marker_without_a_word_of_the_claim(
    records: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "topology.yaml").write_text(TEXT)
    (tmp_path / "avro" / "objected").mkdir(parents=True)
    (tmp_path / "avro" / "objected" / "person.avsc").write_text(json.dumps(DOCUMENT))
    (tmp_path / "claim.txt").write_text(SECRET)
    monkeypatch.setenv("EXCHANGE_HOME", str(records.home))
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(tmp_path / "topology.yaml"))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    command, claim, told = build(), str(tmp_path / "claim.txt"), list[str]()

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(command, ["objection", *words])
        assert done.exit_code == code, done.output
        told.append(f"{done.output}{done.exception}")
        return told[-1]

    def new(place: str, actor: str = "li-na", code: int = 0) -> str:
        return run(
            *("new", SUBSCRIBER, VIEW, place, "--as", actor, "--field", "full_name", "--claim-file", claim),
            code=code,
        )

    assert "not requester" in new("1:0", "wang-wei", 1)
    assert "no record of a change" in new("1:77", code=1)
    assert "<partition>:<offset> is wanted" in new("latest", code=1)
    assert "objection 1 version 1" in new("1:0")
    assert "none of the row's later" in run(
        "correct", "1", "--as", "wang-wei", "--version", "1", "--position", "x", code=1
    )

    def markers() -> list[dict[str, Any]]:
        listed = run("corrections", SUBSCRIBER, "--json")
        found_: list[dict[str, Any]] = json.loads(listed.splitlines()[0])["corrections"]
        return found_

    with monkeypatch.context() as crash:  # planted: it ends behind the decision, before the marker is written
        crash.setattr(corrections, "announce", lambda *_: 0)
        assert "corrected" in run("correct", "1", "--as", "wang-wei", "--version", "1")
        assert markers() == []
    run("sweep")
    (marker,) = markers()
    assert (marker["objection"], marker["partition"]) == (1, 1)
    assert (marker["wrong"], marker["corrected"]) == tuple(f"{7:016x}/0/64/{n}.0" for n in (1, 6))
    run("list")
    assert not any(SECRET in text for text in told)
    assert SECRET in run("show", "1", "--as", "wang-wei")
    assert [(x.event, x.outcome) for x in in_kafka(records, "objection", 5)] == [
        ("new", "refused"),
        ("new", "refused"),
        ("new", "done"),
        ("correct", "refused"),
        ("correct", "done"),
    ]

    client = records.settings.kafka_client("admin")
    with Store.of(records.settings) as store:
        assert corrections.announce(store, client) == 0
    reader = CommittedReader(client, [DECISIONS_TOPIC, CORRECTIONS_TOPIC])
    values = [message.value() or b"" for _ in range(10) for message in reader.read()]
    reader.close()
    assert values
    assert not any(SECRET.encode() in value for value in values)
