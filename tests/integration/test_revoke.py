"""A grant taken away on the real Kafka: at once, for good, certified, and finished after a crash anywhere."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, Consumer, KafkaError, TopicPartition

from exchange import heartbeat
from exchange.apply import work
from exchange.apply.flush import Flush
from exchange.apply.revoke import Revoking, Wish, restore, revoke
from exchange.apply.steps import Survey
from exchange.apply.work import apply
from exchange.certificate import KEY_SECRET, Signer, as_text, verify
from exchange.cluster import Acl
from exchange.commands import revoke as command
from exchange.commands import watch as watch_command
from exchange.errors import ConfigError, PartError, SealError
from exchange.governance.clock import ZONE
from exchange.librdkafka import AUTHENTICATION, write
from exchange.plan import REVOCATIONS_TOPIC
from exchange.plan_topic import read_plan
from exchange.revocations import Revocation, key_of, read_revocations
from exchange.watch import service
from exchange.watch.service import Watch
from tests.integration.applied import CONTRACT, TOPOLOGY, Bus, ready_bus
from tests.stack import Stack, wait_for
from tests.unit.exchange.topologies import CONTRACTS, GOOD

NEAR, FAR = "applied.person.near", "applied.person.far"
NEAR_TOPIC = f"share.{NEAR}"
LAST = Wish("reader-one", NEAR, "Li Wei", "contract ended")
"""The only view of its subscriber."""
ONE_OF_TWO = Wish("reader-two", NEAR, "Li Wei", "not needed")
KEY_LAST, KEY_ONE_OF_TWO = key_of(LAST.subscriber, NEAR), key_of(ONE_OF_TWO.subscriber, NEAR)


@pytest.fixture(scope="module")
def applied(stack: Stack) -> Bus:
    return ready_bus(stack)


@pytest.fixture
def bus(applied: Bus) -> Iterator[Bus]:
    """Yield the bus with all its grants, and leave it so."""
    yield applied
    for one in known(applied).values():
        if one.in_force:
            restore(applied.settings, Wish(one.subscriber, one.view, "test", "over"), for_good=True)
    applied.apply()


def known(bus: Bus) -> dict[str, Revocation]:
    return read_revocations(bus.settings.kafka_client("admin"))


def readers(bus: Bus) -> frozenset[str]:
    return bus.stack.admin.readers_of(NEAR_TOPIC) - {"worker"}


def put(bus: Bus, key: str, value: bytes | None) -> bytes | None:
    """Put a record into the topic of revocations, and return the one before."""
    client = bus.settings.kafka_client("admin")
    before = read_revocations(client).get(key)
    record = {"topic": REVOCATIONS_TOPIC, "key": key.encode(), "value": value, "partition": 0}
    assert not write(client, [record], 30)
    return None if before is None else before.model_dump_json().encode()


def assert_stays_revoked(bus: Bus) -> None:
    """Check that applying a topology with the grant does not give it."""
    bus.apply()
    assert "reader-two" not in readers(bus)


# --- what goes, and what stays ------------------------------------------------------------------------------


def test_one_of_two_views_goes_and_the_other_stays(bus: Bus) -> None:
    certificate = revoke(bus.settings, ONE_OF_TWO)
    assert readers(bus) == {"reader-one"}
    assert "reader-two" in bus.stack.admin.readers_of(f"share.{FAR}")
    assert "reader-two" in bus.stack.admin.scram_users()
    assert certificate["login_removed"] is False
    assert [certificate[name] for name in ("subscriber", "view", "actor", "reason", "plan_version")] == [
        "reader-two", NEAR, "Li Wei", "not needed", bus.plan_version(),
    ]  # fmt: skip
    times = [certificate[name] for name in ("ordered_at", "access_gone_at", "signed_at")]
    assert times == sorted(times)


def test_apply_does_not_give_it_back_and_says_so(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    revoke(bus.settings, ONE_OF_TWO)
    assert_stays_revoked(bus)
    seen = work.Work(bus.settings, bus.load(TOPOLOGY), bus.contracts()).survey()
    assert [note for note in seen.notes if "by Li Wei: not needed" in note and "reader-two: revoked" in note]
    assert not seen.changes
    plan = read_plan(bus.settings.kafka_client("worker"))
    assert plan is not None
    assert plan.revoked == (KEY_ONE_OF_TWO,)
    with monkeypatch.context() as fault:  # an apply that does not heed what was revoked
        fault.setattr(work, "without_revoked", lambda topology, _revoked: topology)
        with pytest.raises(AssertionError):
            assert_stays_revoked(bus)
    assert_stays_revoked(bus)


def test_revoked_while_an_apply_is_under_way_it_is_not_given(bus: Bus) -> None:
    bus.stack.admin.close_topic(NEAR_TOPIC, ["reader-two"])

    def confirm(seen: Survey) -> bool:
        assert [str(line) for line in seen.changes] == [f"+ access reader-two: READ topic {NEAR_TOPIC}"]
        revoke(bus.settings, ONE_OF_TWO)
        return True

    assert apply(bus.settings, bus.load(TOPOLOGY), bus.contracts(), confirm=confirm) is not None
    assert readers(bus) == {"reader-one"}


def test_the_last_view_takes_the_login_with_it_and_both_come_back(bus: Bus) -> None:
    certificate = revoke(bus.settings, LAST)
    assert certificate["login_removed"] is True
    assert "reader-one" not in bus.stack.admin.scram_users()
    bus.apply()
    assert not bus.apply().changed
    assert "reader-one" not in bus.stack.admin.scram_users()
    again = Wish("reader-one", NEAR, "Li Wei", "new contract")
    with pytest.raises(ConfigError, match="was revoked from reader-one, not suspended"):
        restore(bus.settings, again, for_good=False)
    restore(bus.settings, again, for_good=True)
    bus.apply()
    assert readers(bus) == {"reader-one", "reader-two"}
    consumer = Consumer(bus.settings.kafka_client("reader-one") | {"group.id": "reader-one.x"})
    assert consumer.list_topics(NEAR_TOPIC, 30).topics[NEAR_TOPIC].error is None
    consumer.close()


def assert_foreign_login_stays(bus: Bus) -> None:
    """Check that the last grant of a user that others made takes no login with it."""
    admin = bus.stack.admin
    admin.ensure_scram_user("foreign")
    there = admin.scram_iterations()["foreign"]
    try:
        admin.ensure_acls([Acl("foreign", "topic", NEAR_TOPIC, "literal", "read")])
        certificate = revoke(bus.settings, Wish("foreign", NEAR, "Li Wei", "over"))
        assert "foreign" not in readers(bus)
        assert (certificate["login_removed"], admin.scram_iterations().get("foreign")) == (False, there)
    finally:
        admin.remove_scram_user("foreign")


def test_a_login_that_the_bus_did_not_make_stays_at_its_last_grant(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_foreign_login_stays(bus)
    restore(bus.settings, Wish("foreign", NEAR, "test", "again"), for_good=True)
    with monkeypatch.context() as fault:  # one that takes every login for its own
        fault.setattr(Revoking, "_is_ours", lambda *_: True)
        with pytest.raises((AssertionError, PartError)):
            assert_foreign_login_stays(bus)


def test_rules_made_by_hand_go_too_and_one_for_everybody_is_told(bus: Bus) -> None:
    admin = bus.stack.admin
    by_hand = Acl("reader-two", "topic", "share.", "prefixed", "read")
    admin.ensure_acls([by_hand])
    revoke(bus.settings, ONE_OF_TWO)
    assert by_hand not in admin.acls()
    everybody = Acl("*", "topic", NEAR_TOPIC, "literal", "read")
    admin.ensure_acls([everybody])
    try:
        with pytest.raises(PartError, match=r"still lets everybody \(User:\*\) read it"):
            revoke(bus.settings, LAST)
        assert known(bus)[KEY_LAST].certificate is None
    finally:
        admin.remove_acls([everybody])
    assert verify(as_text(revoke(bus.settings, LAST)), Signer(bus.settings.secrets).public_key, "it")


@pytest.mark.parametrize(
    ("subscriber", "view", "told"),
    [
        ("reader-oen", NEAR, "Did you mean 'reader-one'"),
        ("worker", NEAR, "no subscriber 'worker'"),
        ("reader-one", "applied.person.neer", f"Did you mean '{NEAR}'"),
    ],
)
def test_an_unknown_name_changes_nothing(bus: Bus, subscriber: str, view: str, told: str) -> None:
    before = bus.state(), known(bus)
    with pytest.raises(ConfigError, match=told):
        revoke(bus.settings, Wish(subscriber, view, "Li Wei", "why"))
    with pytest.raises(ConfigError, match="reason: wanted is a text"):
        revoke(bus.settings, Wish("reader-one", NEAR, "Li Wei", ""))
    assert (bus.state(), known(bus)) == before


def test_a_fetch_that_kafka_held_gets_nothing_that_is_written_later(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with waiting_reader(bus) as reader:
        revoke(bus.settings, LAST)
        assert_cut(bus, reader)
    restore(bus.settings, Wish("reader-one", NEAR, "test", "again"), for_good=True)
    bus.apply()
    with waiting_reader(bus) as reader:
        monkeypatch.setattr(Flush, "run", lambda *_: None)  # a revocation that takes away the access alone
        revoke(bus.settings, LAST)
        with pytest.raises(AssertionError, match="after its access was gone"):
            assert_cut(bus, reader)


@contextmanager
def waiting_reader(bus: Bus) -> Iterator[Consumer]:
    """Yield a reader whose fetch waits in Kafka for the next record, for longer than the test takes."""
    given = {"group.id": "reader-one.x", "fetch.wait.max.ms": 100_000, "socket.timeout.ms": 200_000}
    consumer = Consumer(bus.settings.kafka_client("reader-one") | given)
    try:
        write_one(bus)
        at = TopicPartition(NEAR_TOPIC, 0)
        at.offset = consumer.get_watermark_offsets(at, timeout=30)[1] - 1
        consumer.assign([at])
        wait_for(lambda: (found := consumer.poll(0.2)) and not found.error(), "the reader to read")
        consumer.poll(0.5)  # its next fetch went out when the record came in
        yield consumer
    finally:
        consumer.close()


def write_one(bus: Bus) -> None:
    record = {"topic": NEAR_TOPIC, "value": b"x", "partition": 0}
    assert not write(bus.settings.kafka_client("admin"), [record], 30)


def assert_cut(bus: Bus, reader: Consumer) -> None:
    """Write a record, and see that a reader is refused without having got it."""
    write_one(bus)

    def refused() -> bool:
        found = reader.poll(0.2)
        error = None if found is None else found.error()
        assert found is None or error is not None, "a record after its access was gone"
        return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED

    wait_for(refused, "the reader to be refused")


@pytest.mark.slow_faults
def test_the_session_of_a_deleted_login_ends(bus: Bus) -> None:
    errors: list[KafkaError] = []
    given = {"group.id": "reader-one.x", "error_cb": errors.append}
    consumer = Consumer(bus.settings.kafka_client("reader-one") | given)
    try:
        consumer.assign([TopicPartition(NEAR_TOPIC, 0, OFFSET_END)])
        wait_for(lambda: consumer.list_topics(NEAR_TOPIC, 30), "the reader to be logged in")
        revoke(bus.settings, LAST)

        def ended() -> bool:
            consumer.poll(0.5)
            return AUTHENTICATION in {error.code() for error in errors}

        wait_for(ended, "its session to end", 150)
    finally:
        consumer.close()


# --- what was revoked must be known -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["unreadable", "lost"])
def test_without_knowing_what_was_revoked_no_access_is_given(bus: Bus, how: str) -> None:
    revoke(bus.settings, ONE_OF_TWO)
    bus.apply()
    bus.stack.admin.close_topic(NEAR_TOPIC, ["reader-one"])  # what an apply would set right
    before = put(bus, KEY_ONE_OF_TWO, b"{}" if how == "unreadable" else None)
    told = "nobody can tell what was revoked" if how == "unreadable" else "has lost what was revoked"
    assert told in bus.refusal()
    assert not readers(bus)
    client = bus.settings.kafka_client("admin")
    record = {"topic": REVOCATIONS_TOPIC, "key": KEY_ONE_OF_TWO.encode(), "value": before, "partition": 0}
    assert not write(client, [record], 30)
    bus.apply()
    assert readers(bus) == {"reader-one"}


# --- a crash anywhere ---------------------------------------------------------------------------------------

STEPS = ("_remember", "_close", "_ends", "_remove_login", "_confirm", "_sign")
IN_EVERY_RUN = ("_remember", "_close")
DIES = """
import os, sys
from pathlib import Path
from exchange.apply import revoke
from exchange.settings import Settings
step = getattr(revoke.Revoking, sys.argv[2])
def dies(*given):
    step(*given)
    os.kill(os.getpid(), 9)
setattr(revoke.Revoking, sys.argv[2], dies)
revoke.revoke(Settings(home=Path(sys.argv[1])), revoke.Wish(*sys.argv[3:]))
"""


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=() if step in IN_EVERY_RUN else pytest.mark.slow_faults) for step in STEPS],
)
def test_killed_behind_each_step_the_next_run_finishes_it(bus: Bus, step: str) -> None:
    revoke(bus.settings, LAST)
    wanted = outcome(bus)
    restore(bus.settings, Wish("reader-one", NEAR, "test", "again"), for_good=True)
    bus.apply()
    words = [str(bus.settings.root), step, LAST.subscriber, LAST.view, LAST.actor, LAST.reason]
    died = subprocess.run([sys.executable, "-c", DIES, *words], timeout=120, check=False)
    assert died.returncode == -9
    begun = known(bus)[KEY_LAST]
    assert (begun.in_force, begun.certificate) == (True, None)
    certificate = revoke(bus.settings, Wish("reader-one", NEAR, "Wang Fang", "finished by another"))
    assert outcome(bus) == wanted
    assert certificate["ordered_at"] == begun.ordered_at.isoformat(timespec="milliseconds")
    assert (certificate["actor"], certificate["reason"]) == (LAST.actor, LAST.reason)


def test_what_is_done_is_not_done_again(bus: Bus) -> None:
    first = revoke(bus.settings, LAST)
    assert revoke(bus.settings, LAST) == first
    bus.stack.admin.ensure_acls([Acl("reader-one", "topic", NEAR_TOPIC, "literal", "read")])
    anew = revoke(bus.settings, LAST)
    assert anew["access_gone_at"] > first["access_gone_at"]


def outcome(bus: Bus) -> tuple[Any, ...]:
    admin, revocation = bus.stack.admin, known(bus)[KEY_LAST]
    assert revocation.certificate is not None
    told = verify(as_text(revocation.certificate), Signer(bus.settings.secrets).public_key, "it")
    return admin.acls(), admin.scram_users(), revocation.kind, told["view"], told["login_removed"]


# --- the certificate ----------------------------------------------------------------------------------------


def test_a_certificate_is_kept_and_a_changed_byte_is_found(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXCHANGE_HOME", str(bus.settings.root))
    command.revoke("reader-two", NEAR, "不再需要", "Li Wei", suspend=True, as_json=True)
    certificate = json.loads(capsys.readouterr().out)
    [file] = (bus.settings.root / "certificates").glob("reader-two.*.json")
    command.revoke_verify(file, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"valid": True} | {
        name: value for name, value in certificate.items() if name != "signature"
    }
    command.revoke_verify(file)
    assert "is suspended from reader-two (its login stays)\n  by Li Wei: 不再需要" in capsys.readouterr().out
    content, key = file.read_bytes(), Signer(bus.settings.secrets).public_key
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(SealError):
            verify(changed.decode("utf-8", "replace"), key, "it")
    forged = json.loads(content) | {"actor": "Li Wen"}
    assert_refused(as_text(forged), key)
    with monkeypatch.context() as fault:  # a check that believes every signature
        fault.setattr("exchange.certificate.Ed25519PublicKey", _Believes)
        with pytest.raises(AssertionError):
            assert_refused(as_text(forged), key)
    command.restore("reader-two", NEAR, "needed again", "Li Wei")
    assert "is no longer suspended for reader-two" in capsys.readouterr().out
    file.unlink()


def test_a_certificate_of_another_bus_is_refused(bus: Bus, tmp_path: Path) -> None:
    text = as_text(revoke(bus.settings, ONE_OF_TWO))
    with bus.secret(KEY_SECRET, None):
        with pytest.raises(ConfigError, match=KEY_SECRET):
            Signer(bus.settings.secrets)
        other = Signer(bus.settings.secrets, make=True)
        with pytest.raises(SealError, match="signed with another key"):
            verify(text, other.public_key, "it")


def assert_refused(text: str, key: str) -> None:
    try:
        verify(text, key, "it")
    except SealError:
        return
    raise AssertionError


class _Believes:
    """Ed25519PublicKey that finds every signature right."""

    @classmethod
    def from_public_bytes(cls, _raw: bytes) -> _Believes:
        return cls()

    def verify(self, _signature: bytes, _content: bytes) -> None:
        """Say nothing against it."""


# --- by a rule --------------------------------------------------------------------------------------------


MONDAY = dt.datetime(2026, 3, 2, 10, 0, tzinfo=ZONE)
MINUTE = dt.timedelta(minutes=1)
RULES = """\
watch:
  much: {kind: volume, records: 500, within_minutes: 10}
  again: {kind: reread, action: suspend, records: 50}
  late: {kind: off_hours, opens: '08:30', closes: '18:00'}
  curious: {kind: denials, count: 3, within_minutes: 10}
"""


@pytest.fixture
def watch(bus: Bus) -> Watch:
    return a_watch(bus, TOPOLOGY + RULES)


def a_watch(bus: Bus, text: str) -> Watch:
    """Return a watch that has seen nothing yet."""
    declared = bus.load(text)
    watching = Watch(bus.settings, lambda: declared)
    with closing(heartbeat.connect(bus.settings)) as redis:
        for key in redis.scan_iter("exchange:watch:*"):
            redis.delete(key)
    for who in ("reader-one", "reader-two"):
        commit(bus, who, 0)
    assert watching.look(MONDAY) == []
    return watching


def commit(bus: Bus, who: str, offset: int) -> None:
    """Have a subscriber's group stand at an offset."""
    consumer = Consumer(bus.settings.kafka_client(who) | {"group.id": f"{who}.watched"})
    consumer.commit(offsets=[TopicPartition(NEAR_TOPIC, 0, offset)], asynchronous=False)
    consumer.close()


def alarmed(watch: Watch, at: dt.datetime) -> list[tuple[str, str]]:
    return [(alarm.rule, alarm.subscriber) for alarm in watch.look(at)]


def use_normally(bus: Bus, watch: Watch) -> list[tuple[str, str]]:
    """Return what is told of a reader that goes forward, in hours, and no further than is allowed."""
    for round_ in range(1, 6):
        commit(bus, "reader-one", 90 * round_)
        if told := alarmed(watch, MONDAY + round_ * MINUTE):
            return told
    return []


def test_normal_use_is_never_told(bus: Bus, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert use_normally(bus, watch) == []
    commit(bus, "reader-one", 0)
    assert ("again", "reader-one") in alarmed(watch, MONDAY + 6 * MINUTE)  # control: this is told
    restore(bus.settings, Wish("reader-one", NEAR, "test", "over"), for_good=True)
    bus.apply()
    with monkeypatch.context() as fault:  # a watch that takes every step forward for one back
        fault.setattr(service, "counted_by", lambda _rule, seen, _calendar: seen.amount)
        assert use_normally(bus, watch) != []


def test_who_goes_back_is_suspended_in_the_rules_name_until_it_is_restored(bus: Bus, watch: Watch) -> None:
    commit(bus, "reader-two", 100)
    assert alarmed(watch, MONDAY + MINUTE) == []
    commit(bus, "reader-two", 0)
    assert alarmed(watch, MONDAY + 2 * MINUTE) == [("again", "reader-two")]
    assert readers(bus) == {"reader-one"}
    found = known(bus)[KEY_ONE_OF_TWO]
    assert (found.kind, found.actor) == ("suspended", "rule:again")
    assert "reader-two of applied.person.near: 1 step back to read again in 60 min" in found.reason
    assert found.certificate is not None
    assert_stays_revoked(bus)
    restore(bus.settings, Wish("reader-two", NEAR, "Li Wei", "was agreed"), for_good=False)
    bus.apply()
    commit(bus, "reader-two", 100)
    assert alarmed(watch, MONDAY + 3 * MINUTE) == []
    assert readers(bus) == {"reader-one", "reader-two"}
    commit(bus, "reader-two", 0)  # and who does it again is suspended again
    assert alarmed(watch, MONDAY + 4 * MINUTE) == [("again", "reader-two")]
    assert readers(bus) == {"reader-one"}


def test_a_suspension_that_kafka_does_not_carry_out_is_owed(
    bus: Bus, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(bus, "reader-two", 100)
    watch.look(MONDAY + MINUTE)
    commit(bus, "reader-two", 0)
    with monkeypatch.context() as away:

        def refuse(*_given: Any) -> None:
            msg = "Kafka does not answer"
            raise PartError(msg)

        away.setattr(service, "revoke", refuse)
        assert alarmed(watch, MONDAY + 2 * MINUTE) == [("again", "reader-two")]
    assert readers(bus) == {"reader-one", "reader-two"}
    assert alarmed(watch, MONDAY + 3 * MINUTE) == []
    assert readers(bus) == {"reader-one"}


def test_too_much_is_told_once_a_window_and_what_an_alarm_is_for_goes_on(bus: Bus, watch: Watch) -> None:
    commit(bus, "reader-one", 400)
    assert alarmed(watch, MONDAY + MINUTE) == []
    commit(bus, "reader-one", 600)
    assert alarmed(watch, MONDAY + 2 * MINUTE) == [("much", "reader-one")]
    commit(bus, "reader-one", 1200)
    assert alarmed(watch, MONDAY + 3 * MINUTE) == []
    assert "reader-one" in readers(bus)


def test_more_than_a_grant_expects_is_told_and_of_a_grant_that_expects_nothing_is_not(bus: Bus) -> None:
    grant = "{subscriber: reader-one, view: applied.person.near"
    rule = "  planned: {kind: expected, percent: 200, within_minutes: 10}\n"
    text = (TOPOLOGY + RULES + rule).replace(grant, f"{grant}, expected_records_per_day: 1440")
    watching = a_watch(bus, text)
    commit(bus, "reader-one", 19)
    commit(bus, "reader-two", 400)
    assert alarmed(watching, MONDAY + MINUTE) == []
    commit(bus, "reader-one", 20)
    assert alarmed(watching, MONDAY + 2 * MINUTE) == [("planned", "reader-one")]


def test_what_was_read_while_nobody_watched_is_not_counted(bus: Bus, watch: Watch) -> None:
    commit(bus, "reader-one", 100_000)
    assert alarmed(watch, MONDAY + 10 * MINUTE) == []


def test_reading_at_night_is_told(bus: Bus, watch: Watch) -> None:
    night = MONDAY.replace(hour=23)
    assert alarmed(watch, night) == []
    commit(bus, "reader-one", 5)
    assert alarmed(watch, night + MINUTE) == [("late", "reader-one")]


def test_asking_for_what_one_may_not_have_is_told(bus: Bus, watch: Watch) -> None:
    consumer = Consumer(bus.settings.kafka_client("reader-two") | {"group.id": "reader-two.curious"})
    for _ in range(3):
        consumer.list_topics("raw.applied_a.public.person", 30)
    consumer.close()
    told: list[tuple[str, str]] = []

    def is_told() -> bool:
        told.extend(alarmed(watch, MONDAY))
        return bool(told)

    wait_for(is_told, "the denials are told")
    assert told == [("curious", "reader-two")]
    assert "reader-two" in readers(bus)


def test_without_redis_nothing_is_judged_and_that_is_told(
    bus: Bus, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = bus.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    without = Watch(blind, lambda: bus.load(TOPOLOGY + RULES))
    thread = threading.Thread(target=without.run)
    thread.start()
    wait_for(lambda: "watch_is_blind" in "".join(capsys.readouterr()), "it says that it is blind")
    without.stop()
    thread.join(60)
    assert not thread.is_alive()
    assert readers(bus) == {"reader-one", "reader-two"}
    commit(bus, "reader-two", 100)
    watch.look(MONDAY + MINUTE)
    commit(bus, "reader-two", 0)
    assert alarmed(watch, MONDAY + 2 * MINUTE) == [("again", "reader-two")]  # control: with it, it is


def test_the_command_watches_until_it_is_told_to_stop(bus: Bus, watch: Watch, tmp_path: Path) -> None:
    """The fixture is here for its clean slate; the process that watches is another one."""
    file, avsc = tmp_path / "t.yaml", tmp_path / "avro" / "applied" / "person.avsc"
    avsc.parent.mkdir(parents=True)
    avsc.write_text(json.dumps(CONTRACT), encoding="utf-8")
    file.write_text(TOPOLOGY + RULES, encoding="utf-8")
    given = {"HOME": bus.settings.root, "TOPOLOGY": file, "CONTRACTS": avsc.parents[1]}
    environment = os.environ | {f"EXCHANGE_{name}": str(value) for name, value in given.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "exchange.cli", "watch"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        with closing(heartbeat.connect(bus.settings)) as redis:
            key = "exchange:heartbeat:watch:watch"
            wait_for(lambda: redis.get(key), "it watches")
            commit(bus, "reader-two", 100)
            wait_for(lambda: ("reader-two.watched", 100) in looked_at(redis), "the position is seen")
            commit(bus, "reader-two", 0)
            wait_for(lambda: readers(bus) == {"reader-one"}, "the view is suspended")
            wait_for(lambda: json.loads(redis.get(key) or b"{}").get("alarms"), "the alarm is shown")
    finally:
        process.terminate()
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "abnormal_use" in told


def looked_at(redis: Any) -> set[tuple[str, int]]:
    """Return group and position of partition 0 as the watch last saw them."""
    _, places = json.loads(redis.get("exchange:watch:seen") or b"[0, []]")
    return {(group, offset) for group, _topic, partition, offset in places if partition == 0}


def test_a_topology_without_rules_is_nothing_to_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(GOOD, encoding="utf-8")
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(file))
    monkeypatch.setattr("exchange.files.contracts.load_contracts", lambda _path: CONTRACTS)
    monkeypatch.setenv("EXCHANGE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="there is no rule under `watch`"):
        watch_command.watch()
