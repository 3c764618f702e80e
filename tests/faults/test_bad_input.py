"""Parts that fail and input that is wrong: each with its clear error, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from exchange import local
from exchange.local import stack as parts
from exchange.local.home import Home
from tests.integration.nursery import nursery
from tests.stack import wait_for
from tests.trial.bus import CITY, PARTITIONS, QUARANTINE, RAW, Child, TrialBus, Watch
from tests.trial.load import load
from tests.trial.people import id_number, insert, person


@pytest.fixture(scope="module")
def started(bus: TrialBus) -> Watch:
    watch = bus.watch("judge")
    bus.start()
    return watch


@pytest.fixture
def watch(started: Watch) -> Iterator[Watch]:
    """The judge; after each test everything runs again and everything has arrived."""
    yield started
    local.up(started.bus.settings)
    for child in started.bus.children.values():
        child.revive()
        if child.process is None:
            child.start()
    assert started.settle() == []
    assert started.journey.outstanding == 0


def see_progress(watch: Watch, records: int = 50) -> None:
    enough = watch.journey.count(CITY) + records
    watch.until("records are readable", lambda: watch.journey.count(CITY) >= enough)


def arrive(watch: Watch) -> None:
    """Wait until all that is committed in the source has arrived where it belongs."""
    watch.step()
    watch.until("everything has arrived", lambda: not watch.journey.outstanding)


def kill_part(bus: TrialBus, name: str) -> None:
    """SIGKILL one of the parts and wait until it is gone."""
    running = Home(bus.settings.root).running(name)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    wait_for(lambda: Home(bus.settings.root).running(name) is None, f"{name} is gone")


def add(bus: TrialBus, number: int, **columns: Any) -> None:
    """Insert one row."""
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(number) | columns)


# ---- parts that fail ------------------------------------------------------------------------------------


def test_kafka_killed_under_load_loses_nothing(bus: TrialBus, watch: Watch) -> None:
    with load(bus, seed=1, source_may_go=True):
        see_progress(watch)
        kill_part(bus, "kafka")
        local.up(bus.settings)
        see_progress(watch)


def test_with_kafka_down_at_the_start_the_processes_wait_and_say_so(bus: TrialBus, watch: Watch) -> None:
    bus.stop()
    kill_part(bus, "kafka")
    add(bus, 500)
    said = {name: len(bus.child(name).text()) for name in ("connector", "worker")}
    bus.start()
    for name, before in said.items():
        child = bus.child(name)
        wait_for(partial(says, child, before, "kafka"), f"{name} says that it waits for Kafka")
        assert "Traceback" not in child.text()[before:]
    local.up(bus.settings)
    arrive(watch)


def says(child: Child, since: int, text: str) -> bool:
    """Whether a text is in what a child has logged since."""
    return text in child.text()[since:].lower()


def test_a_source_killed_under_load_loses_nothing(bus: TrialBus, watch: Watch) -> None:
    with load(bus, seed=2, source_may_go=True):
        see_progress(watch)
        kill_part(bus, "postgres")
    local.up(bus.settings)
    with load(bus, seed=3, source_may_go=True):
        see_progress(watch)


@pytest.mark.parametrize("name", ["redis", "monitor"])
def test_without_redis_or_monitor_the_data_goes_on(bus: TrialBus, watch: Watch, name: str) -> None:
    with load(bus, seed=4, source_may_go=True):
        see_progress(watch)
        kill_part(bus, name)
        see_progress(watch, 200)


def test_a_worker_that_starts_without_the_registry_waits_for_it(bus: TrialBus, watch: Watch) -> None:
    bus.stop("worker")
    parts.stop(bus.settings, "monitor")
    add(bus, 501)
    before = len(bus.child("worker").text())
    bus.start("worker")
    worker = bus.child("worker")
    wait_for(partial(says, worker, before, "registry"), "the worker says that it waits")
    local.up(bus.settings)
    arrive(watch)


# ---- passwords and keys ---------------------------------------------------------------------------------


def start_with(bus: TrialBus, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a connector or worker that is expected to end by itself."""
    child = bus.child(name)
    return nursery().run(child.arguments, dict(child.environment) | environment)


def one_error(done: subprocess.CompletedProcess[str], *wanted: str) -> str:
    """See that a command failed with one error for people, and return it."""
    assert done.returncode == 1, done.stderr[-2_000:]
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, done.stderr[-2_000:]
    told = done.stderr[done.stderr.index(errors[0]) :]
    for text in wanted:
        assert text in told
    return told


def test_a_wrong_source_password_ends_the_connector_with_a_clear_error(bus: TrialBus, watch: Watch) -> None:
    bus.stop("connector")
    add(bus, 502)
    wrong = bus.dsn.replace("postgres:", "postgres:not-the-password-", 1)
    told = one_error(start_with(bus, "connector", TRIAL_DSN=wrong), "trial", "password")
    assert "not-the-password" not in told


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("connector", "TRIAL_DSN"),
        ("connector", "EXCHANGE_KAFKA_PASSWORD_CONNECTOR_TRIAL"),
        ("worker", "EXCHANGE_KAFKA_PASSWORD_WORKER"),
        ("worker", "EXCHANGE_MASK_KEY"),
    ],
)
def test_a_missing_secret_is_named(bus: TrialBus, watch: Watch, name: str, secret: str) -> None:
    bus.stop(name)
    add(bus, 510 + len(secret))
    file = bus.settings.root / "secrets" / secret
    kept = file.rename(file.with_name("kept-aside"))
    try:
        one_error(start_with(bus, name), secret)
    finally:
        kept.rename(file)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("connector", "EXCHANGE_KAFKA_PASSWORD_CONNECTOR_TRIAL"),
        ("worker", "EXCHANGE_KAFKA_PASSWORD_WORKER"),
    ],
)
def test_a_wrong_kafka_password_is_a_clear_error(bus: TrialBus, watch: Watch, name: str, secret: str) -> None:
    bus.stop(name)
    told = one_error(start_with(bus, name, **{secret: "wrong-on-purpose"}), "password")
    assert "wrong-on-purpose" not in told


def test_a_mask_key_that_is_none_stops_the_worker(bus: TrialBus, watch: Watch) -> None:
    bus.stop("worker")
    told = one_error(start_with(bus, "worker", EXCHANGE_MASK_KEY="abc123"), "EXCHANGE_MASK_KEY")
    assert "abc123" not in told


# ---- records --------------------------------------------------------------------------------------------


def test_a_value_of_two_megabytes_is_refused_by_reference_and_the_others_go_on(
    bus: TrialBus, watch: Watch
) -> None:
    refused = watch.journey.count(QUARANTINE)
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(600))
        insert(connection, person(601) | {"remark": "大" * 700_000})
        insert(connection, person(602))
    arrive(watch)
    assert watch.journey.count(QUARANTINE) == refused + 1
    listed = json.loads(bus.cli("quarantine", "list", "trial.person", "--json").stdout.splitlines()[-1])
    assert "too_large" in json.dumps(listed)


def test_a_row_that_was_too_large_is_delivered_once_it_is_mended_and_deleted_when_it_goes(
    bus: TrialBus, watch: Watch
) -> None:
    add(bus, 603)
    with psycopg.connect(bus.dsn, autocommit=True) as connection:
        here = [id_number(603)]
        for remark in ("大" * 700_000, "小"):
            connection.execute("UPDATE public.person SET remark = %s WHERE id_number = %s", [remark, *here])
        connection.execute(
            "UPDATE public.person SET remark = %s WHERE id_number = %s", ["大" * 700_000, *here]
        )
        connection.execute("DELETE FROM public.person WHERE id_number = %s", here)


def produce(bus: TrialBus, partition: int, key: bytes | None, value: bytes, header: bytes | None) -> None:
    """Write to the raw topic past the connector."""
    failed: list[Any] = []
    producer = Producer(bus.client() | {"on_delivery": lambda error, _: failed.append(error)})
    producer.produce(RAW, value, key, partition, headers={} if header is None else {"x-exchange": header})
    assert producer.flush(30) == 0
    assert failed == [None]


def test_random_bytes_in_a_raw_topic_go_to_quarantine_and_hold_up_nothing(
    bus: TrialBus, watch: Watch
) -> None:
    before = watch.journey.foreign
    for partition in range(PARTITIONS):
        produce(bus, partition, os.urandom(8), os.urandom(300), None)
        produce(bus, partition, None, b"", b"\0" + os.urandom(39))  # never by chance a header of ours
    add(bus, 604)
    watch.until("six foreign records", lambda: watch.journey.foreign == before + 2 * PARTITIONS)


def registered(bus: TrialBus, path: str) -> Any:
    with urllib.request.urlopen(bus.settings.endpoints().registry + path, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_an_unknown_schema_id_halts_its_partition_alone_until_the_schema_is_there(
    bus: TrialBus, watch: Watch
) -> None:
    """The record goes to quarantine once its schema is known: its bytes are not of that schema."""
    from exchange.registry import Registry

    latest = registered(bus, f"/subjects/{RAW}-value/versions/latest")
    newest = max(
        registered(bus, f"/subjects/{subject}/versions/latest")["id"]
        for subject in registered(bus, "/subjects")
    )
    header = struct.pack(">BcBxIQQIHxxQ", 1, b"c", 0, 0, 0, 1, 1, 0, 1)
    before, foreign = len(bus.child("worker").text()), watch.journey.foreign
    produce(bus, 0, None, b"\0" + struct.pack(">I", newest + 1) + os.urandom(50), header)
    worker = bus.child("worker")
    wait_for(partial(says, worker, before, "partition_halted"), "the worker says that it halted")
    others = watch.journey.count(CITY)
    for number in range(605, 625):
        add(bus, number)
    watch.until("other partitions go on", lambda: watch.journey.count(CITY) > others)
    schema = json.loads(latest["schema"]) | {"doc": "the same again"}
    with Registry(
        bus.settings.endpoints().registry, bus.settings.secrets.get("EXCHANGE_REGISTRY_PASSWORD")
    ) as client:
        assert client.register("planted-value", schema) == newest + 1
    watch.until("the record is refused", lambda: watch.journey.foreign == foreign + 1)


# ---- files through the command line ---------------------------------------------------------------------


@pytest.fixture
def files(bus: TrialBus, tmp_path: Path) -> Path:
    """A copy of topology and contracts, to be broken."""
    shutil.copytree(bus.files, tmp_path / "files")
    return tmp_path / "files"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


BROKEN: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "not YAML": (lambda files: edit(files / "topology.yaml", "systems:", "systems: ["), ("topology.yaml:",)),
    "empty file": (lambda files: write(files / "topology.yaml", b""), ("topology.yaml",)),
    "no file": (lambda files: (files / "topology.yaml").unlink(), ("topology.yaml",)),
    "not text": (lambda files: write(files / "topology.yaml", b"\xff\xfe\0\x80"), ("topology.yaml",)),
    "unknown field in a view": (
        lambda files: edit(files / "topology.yaml", "      mobile:", "      mobil:"),
        ("topology.yaml:", "mobil", "Did you mean", "mobile"),
    ),
    "sensitive field shown without a reason": (
        lambda files: edit(files / "topology.yaml", "email: redact", "email: clear"),
        ("topology.yaml:", "email"),
    ),
    "masked keys may collide": (
        lambda files: edit(files / "topology.yaml", "id_number: token", "id_number: redact"),
        ("topology.yaml:", "id_number"),
    ),
    "contract is not JSON": (
        lambda files: edit(files / "avro/trial/person.avsc", '"fields": [', '"fields": '),
        ("person.avsc",),
    ),
    "unknown rule": (
        lambda files: edit(files / "avro/trial/person.avsc", '"cn_mobile"', '"cn_mobil"'),
        ("person.avsc", "cn_mobil", "cn_mobile"),
    ),
    "field without classification": (
        lambda files: edit(files / "avro/trial/person.avsc", '"classification": 2,', ""),
        ("person.avsc", "classification"),
    ),
}


@pytest.mark.parametrize("command", ["check", "apply"])
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_file_is_refused_with_its_place(
    bus: TrialBus, files: Path, broken: str, command: str
) -> None:
    break_it, wanted = BROKEN[broken]
    break_it(files)
    done = bus.cli(
        *({"check": ["check"], "apply": ["apply", "--yes"]}[command]),
        check=False,
        EXCHANGE_TOPOLOGY=str(files / "topology.yaml"),
        EXCHANGE_CONTRACTS=str(files / "avro"),
    )
    one_error(done, *wanted)


def test_a_table_that_is_not_there_is_refused(bus: TrialBus, files: Path) -> None:
    edit(files / "topology.yaml", "table: public.person", "table: public.persons")
    done = bus.cli("apply", "--yes", check=False, EXCHANGE_TOPOLOGY=str(files / "topology.yaml"))
    one_error(done, "public.persons")


def test_a_broken_apply_leaves_the_running_plan_alone(bus: TrialBus, watch: Watch) -> None:
    """All the refused applies above changed nothing: rows still flow under the plan as it was."""
    add(bus, 650)
    arrive(watch)


def test_a_system_nobody_declared_is_a_clear_error(bus: TrialBus) -> None:
    one_error(bus.cli("connect", "nowhere", check=False), "NOWHERE")


def child_log_is_free_of_tracebacks(child: Child) -> bool:
    return "Traceback (most recent call last)" not in child.text()


def test_no_process_ever_printed_a_traceback(bus: TrialBus, watch: Watch) -> None:
    assert all(child_log_is_free_of_tracebacks(child) for child in bus.children.values())
