"""The stream worker on a real Kafka of its own: exactly once, whatever is done to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import psutil  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from exchange import local
from exchange.account import Account
from exchange.apply import access
from exchange.change import HEADER, Op, Position, Reason, RecordHeader
from exchange.cluster import TopicSpec
from exchange.keys import QuarantineRecord
from exchange.local.home import Home
from exchange.plan import ACCOUNTS_TOPIC, PLAN_TOPIC, PublishedPlan
from exchange.plan_topic import PLAN_KEY
from tests.stack import Stack, running_stack, wait_for
from tests.unit.exchange import samples

PARTITIONS = 3
ALL = range(PARTITIONS)


@pytest.fixture(scope="module")
def kafka() -> Iterator[Stack]:
    """A Kafka that nobody else uses: these tests stop and restart it."""
    with running_stack(("kafka",)) as running:
        yield running


class Bench:
    """One test's topics, its source of records, its workers, and what can be read at the other end."""

    def __init__(self, stack: Stack, files: Path) -> None:
        self.name = uuid.uuid4().hex[:8]
        self.stack = stack
        self.client = stack.settings.kafka_client("admin")
        self.raw, self.out = f"raw.t{self.name}.public.a", f"share.t{self.name}.a.copy"
        self.files = files
        self.native = os.environ.get("EXCHANGE_NATIVE", "on")
        self.workers: list[Running] = []
        self.sent = 0
        self._producer: Producer | None = None
        self.make_topics(self.raw, self.out)

    def make_topics(self, *topics: str) -> None:
        self.stack.admin.ensure_topics([TopicSpec(topic, PARTITIONS, {}) for topic in topics])

    def send(self, records: int, per_transaction: int = 500) -> None:
        """Write numbered records over all partitions, transaction by transaction as a connector does."""
        if self._producer is None:
            self._producer = Producer(self.client | {"transactional.id": f"cdc-{self.name}"})
            self._producer.init_transactions(30)
        until = self.sent + records
        while self.sent < until:
            self._producer.begin_transaction()
            for _ in range(min(per_transaction, until - self.sent)):
                self._producer.produce(
                    self.raw,
                    b"%08d" % self.sent,
                    partition=self.sent % PARTITIONS,
                    headers=[(HEADER, header())],
                )
                self.sent += 1
            self._producer.commit_transaction(30)

    def start(self, worker: str = "stream-0", **given: Any) -> Running:
        """Start a worker in a process of its own."""
        whole = {"worker": worker, "group": f"g-{self.name}", "topics": [self.raw], "out": self.out} | given
        started = Running(whole, self.stack, self.files / f"{worker}.log", {"EXCHANGE_NATIVE": self.native})
        self.workers.append(started)
        return started

    def copied(self, isolation: str = "read_committed") -> list[tuple[int, int]]:
        """Return (partition, number) of everything readable in `out`, in order."""
        records = read(self.client, self.out, isolation)
        return [(record.partition() or 0, int(record.value() or b"")) for record in records]

    def wait_for_copies(self, at_least: int, timeout_s: float = 90) -> None:
        """Wait until so many different records have arrived."""
        with tail(self.client, self.out) as counted:
            wait_for(lambda: counted() >= at_least, f"{at_least} records in {self.out}", timeout_s)

    def assert_exactly_once(self) -> None:
        """Everything sent is there once, in order within its partition, and the accounts say the same."""
        self.wait_for_copies(self.sent)
        copied = self.copied()
        for partition in ALL:
            numbers = [number for at, number in copied if at == partition]
            assert numbers == list(range(partition, self.sent, PARTITIONS))
        assert sum(account.changes for account in self.accounts()) == self.sent

    def committed(self) -> list[int]:
        """Return the group's next offsets."""
        asked = [TopicPartition(self.raw, partition) for partition in ALL]
        with closing(Consumer(self.client | {"group.id": f"g-{self.name}"})) as consumer:
            return [at.offset for at in consumer.committed(asked, 30)]

    def ends(self) -> list[int]:
        """Return where the raw topic's partitions end, markers of transactions included."""
        with closing(Consumer(self.client | {"group.id": "test-reader"})) as consumer:
            return [consumer.get_watermark_offsets(TopicPartition(self.raw, at), 30)[1] for at in ALL]

    def remove_records(self, *ends: int) -> None:
        """Have Kafka remove what lies before these offsets of partition 0, 1, ..., as retention does."""
        wanted = [TopicPartition(self.raw, at, end) for at, end in enumerate(ends)]
        for answer in self.stack.admin.client.delete_records(wanted).values():
            answer.result(30)

    def accounts(self) -> list[Account]:
        records = read(self.client, ACCOUNTS_TOPIC)
        accounts = [Account.decode(bytes(record.value() or b"")) for record in records]
        return [account for account in accounts if account.topic == self.raw]


class Running:
    """A worker's process."""

    def __init__(
        self,
        given: dict[str, Any] | None,
        stack: Stack,
        log: Path,
        environment: dict[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """`given`: see stream_worker.py; None runs `exchange stream` itself, with these options."""
        self.log = log
        script = ["tests.integration.stream_worker", json.dumps(given)]
        self._command = [sys.executable, "-m", *(script if given else ["exchange.cli", "stream", *options])]
        self._environment = os.environ | {"EXCHANGE_HOME": str(stack.settings.root)} | (environment or {})
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self._command, env=self._environment, cwd=Path(__file__).parents[2], stderr=out
            )

    def revive(self) -> bool:
        """Start it again if it asked for that, and say whether it did."""
        code = self.process.poll()
        if code is not None:
            assert code == 3
            self.process = self._start()
        return code is not None

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def text(self) -> str:
        return self.log.read_text(errors="replace")


@pytest.fixture
def bench(kafka: Stack, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(kafka, tmp_path)
    yield made
    for worker in made.workers:
        if worker.process.poll() is None:
            worker.end(signal.SIGKILL)
    for log in sorted(tmp_path.glob("*.log")):
        sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')}")


both_ways = pytest.mark.parametrize("native", ["on", pytest.param("off", marks=pytest.mark.slow_faults)])


def header(position: int = 0) -> bytes:
    return RecordHeader(Position(1, position, 0), Op.CREATE, samples.NOW_MS).pack()


@contextmanager
def reader(client: dict[str, Any], topic: str, isolation: str) -> Iterator[Consumer]:
    consumer = Consumer(
        client
        | {
            "group.id": "test-reader",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    try:
        yield consumer
    finally:
        consumer.close()


def read(client: dict[str, Any], topic: str, isolation: str = "read_committed") -> list[Message]:
    """Return what can be read up to the end of each partition."""
    with reader(client, topic, isolation) as consumer:
        ends: set[int | None] = set()
        records = []
        while len(ends) < len(consumer.assignment()) or not ends:
            message = consumer.poll(30)
            assert message is not None, f"no end of {topic} within 30 s"
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.add(message.partition())
    return records


@contextmanager
def tail(client: dict[str, Any], topic: str) -> Iterator[Any]:
    """Yield a function that returns how many different values were readable so far."""
    seen: set[bytes | None] = set()
    with reader(client, topic, "read_committed") as consumer:

        def count() -> int:
            seen.update(
                bytes(message.value() or b"")
                for message in consumer.consume(10_000, 0.2)
                if message.error() is None
            )
            return len(seen)

        yield count


def test_a_group_without_committed_offsets_starts_at_the_first_record(bench: Bench) -> None:
    bench.send(900)
    bench.start()
    bench.assert_exactly_once()


def test_records_are_copied_once_over_orderly_restarts(bench: Bench) -> None:
    bench.send(3_000)
    seen = 0
    for goal in (300, 1_200, 2_100):
        worker = bench.start(slow_ms=1)
        bench.wait_for_copies(goal)
        wait_for(lambda: "worker_ready" in worker.text()[seen:], "the worker to be ready")  # noqa: B023
        assert worker.end() == 0
        seen = len(worker.text())
    bench.start()
    bench.assert_exactly_once()


@both_ways
def test_records_are_copied_once_over_kill_9_in_open_transactions(bench: Bench, native: str) -> None:
    bench.native = native
    bench.send(4_000)
    for goal in (1, 400, 800, 1_200, 1_600):
        worker = bench.start(hold_ms=400)
        bench.wait_for_copies(goal)
        worker.end(signal.SIGKILL)
    bench.start()
    bench.assert_exactly_once()
    assert len(bench.copied("read_uncommitted")) > bench.sent, "no kill fell into an open transaction"


@both_ways
def test_workers_may_come_and_go_while_records_flow(bench: Bench, native: str) -> None:
    bench.native = native
    bench.send(3_000)
    first = bench.start("stream-0", slow_ms=1)
    bench.wait_for_copies(300)
    second = bench.start("stream-1", slow_ms=1)
    wait_for(lambda: "partitions_assigned" in second.text(), "the second worker's partitions")
    bench.send(3_000)
    assert first.end() == 0
    bench.assert_exactly_once()
    assert "partitions_revoked" in first.text()
    assert all(f"native={native == 'on'}" in worker.text() for worker in (first, second))


@pytest.mark.parametrize("fault", ["raise", "commit"])
def test_an_error_of_our_own_loses_nothing_and_doubles_nothing(bench: Bench, fault: str) -> None:
    worker = bench.start(fault=fault)

    def has_failed() -> bool:
        bench.send(300)
        return "RuntimeError" in worker.text()

    wait_for(has_failed, "the planted error")
    bench.send(300)
    bench.assert_exactly_once()
    assert worker.process.poll() is None, "the worker went on by itself"


def test_a_raw_topic_that_was_removed_to_its_end_is_no_gap(bench: Bench) -> None:
    """Behind the last record lies a marker, which is nothing that a worker could have missed."""
    bench.send(300)
    worker = bench.start()
    bench.wait_for_copies(300)
    wait_for(lambda: bench.committed() == bench.ends(), "the markers to be committed")
    assert worker.end() == 0
    bench.remove_records(*bench.ends())
    worker = bench.start()
    bench.send(300)
    bench.assert_exactly_once()
    assert "partition_halted" not in worker.text()


@pytest.mark.parametrize("fault", ["raise", "commit"])
def test_a_gap_stays_halted_while_the_others_are_read_again(bench: Bench, fault: str) -> None:
    bench.send(300)
    worker = bench.start()
    bench.wait_for_copies(300)
    wait_for(lambda: bench.committed() == bench.ends(), "the markers to be committed")
    assert worker.end() == 0
    bench.send(300)
    bench.remove_records(bench.ends()[0])
    worker = bench.start(fault=fault)
    wait_for(lambda: "partition_halted" in worker.text(), "the gap")

    def has_failed() -> bool:
        bench.send(300)
        return "RuntimeError" in worker.text()

    wait_for(has_failed, "the planted error")
    bench.send(300)
    wanted = [number for number in range(bench.sent) if number % PARTITIONS or number < 300]
    bench.wait_for_copies(len(wanted))
    assert sorted(number for _, number in bench.copied()) == wanted
    assert worker.process.poll() is None, "the worker went on by itself"


def test_a_frozen_worker_that_wakes_up_writes_nothing_visible(bench: Bench) -> None:
    bench.send(3_000)
    frozen = bench.start("stream-0", hold_ms=300)
    bench.wait_for_copies(1)
    frozen.process.send_signal(signal.SIGSTOP)
    bench.start("stream-1")
    bench.wait_for_copies(bench.sent)  # after the session timeout, and the frozen transaction's
    frozen.process.send_signal(signal.SIGCONT)
    signs = ("transaction_step_failed", "partitions_revoked")  # the latter when no transaction was open
    wait_for(
        lambda: frozen.process.poll() is not None or any(sign in frozen.text() for sign in signs),
        "the woken worker to notice",
    )
    bench.send(600)
    bench.assert_exactly_once()


def test_a_second_worker_of_the_same_name_takes_over(bench: Bench) -> None:
    bench.send(2_000)
    old = bench.start(slow_ms=2)
    bench.wait_for_copies(100)
    bench.start()
    bench.assert_exactly_once()
    assert old.process.wait(60) == 3


def test_kafka_may_be_killed_and_restarted_in_mid_run(bench: Bench) -> None:
    bench.send(3_000)
    worker = bench.start(slow_ms=1)
    bench.wait_for_copies(300)
    running = Home(bench.stack.settings.root).running("kafka")
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    local.up(bench.stack.settings, parts=("kafka",))
    with tail(bench.client, bench.out) as counted:
        wait_for(lambda: not worker.revive() and counted() == bench.sent, "all records to be copied", 150)
    bench.assert_exactly_once()


class Planned:
    """A plan of two resources with the same contract, so that one can be halted and the other watched."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.table = samples.Table(samples.PERSON)
        self.schemas = bench.files / "schemas"
        self.schemas.mkdir()
        self.resources = [self._resource(f"raw.t{bench.name}.public.{name}", name) for name in ("a", "b")]
        plan = PublishedPlan(version=7, systems=(), resources=tuple(self.resources))
        (bench.files / "plan.json").write_text(plan.model_dump_json())
        for resource in self.resources:
            topics = (resource.raw_topic, resource.quarantine_topic, resource.views[0].topic)
            bench.make_topics(*topics)

    def _resource(self, topic: str, name: str) -> Any:
        full_name = f"t{self.bench.name}.{name}"
        resource = samples.resource(
            samples.PERSON,
            samples.PERSON_VIEW,
            name=full_name,
            raw_topic=topic,
            quarantine_topic=f"quarantine.{full_name}",
        )
        view = resource.views[0].model_copy(update={"topic": f"share.{full_name}.v0"})
        return resource.model_copy(update={"views": (view,)})

    def know(self, *schema_ids: int) -> None:
        """Put schemas in the registry."""
        for schema_id in schema_ids:
            draft = self.schemas / "draft"
            draft.write_text(json.dumps(self.table.schema_of(schema_id)))
            draft.rename(self.schemas / f"{schema_id}.json")

    def start(self) -> Running:
        return self.bench.start(plan=str(self.bench.files / "plan.json"), schemas=str(self.schemas))

    def send(self, resource: Any, people: Sequence[int], junk: Sequence[bytes] = ()) -> None:
        """Write records of people, then junk with a valid header, all to partition 0."""
        producer = Producer(self.bench.client)
        for number in people:
            row = samples.person_row(id_number=samples.id_number(number))
            value = self.table.value("c", None, row)
            self._produce(producer, resource.raw_topic, self.table.key(row), value, number)
        for number, value in enumerate(junk):
            self._produce(producer, resource.raw_topic, None, value, 100_000 + number)
        assert producer.flush(30) == 0

    def _produce(self, producer: Producer, topic: str, key: bytes | None, value: bytes, number: int) -> None:
        producer.produce(topic, value, key, 0, headers=[(HEADER, header(number))])


def header_of(record: Message) -> RecordHeader:
    found = RecordHeader.unpack(cast(bytes, dict(record.headers() or ())[HEADER]))
    assert found is not None
    return found


def positions(records: Sequence[Message]) -> list[int]:
    return [header_of(record).position.commit for record in records]


def test_an_unknown_schema_halts_its_partition_alone_until_the_schema_is_known(bench: Bench) -> None:
    planned = Planned(bench)
    a, b = planned.resources
    planned.send(a, range(1, 50))
    worker = planned.start()
    wait_for(lambda: "partition_halted" in worker.text(), "the partition to be halted")
    # b cannot be read either, as it has the same schemas: know them, and a goes on by itself as well
    assert read(bench.client, a.views[0].topic) == []
    planned.know(samples.RAW_KEY_ID, samples.RAW_VALUE_ID)
    planned.send(b, range(1, 50))
    for resource in (a, b):
        with tail(bench.client, resource.views[0].topic) as counted:
            wait_for(lambda: counted() == 49, "every record of the resource")
        assert positions(read(bench.client, resource.views[0].topic)) == list(range(1, 50))
    assert worker.end() == 0


def test_other_partitions_flow_while_one_is_halted(bench: Bench) -> None:
    planned = Planned(bench)
    a, b = planned.resources
    planned.know(samples.RAW_KEY_ID, samples.RAW_VALUE_ID)
    unknown = b"\x00\x00\x00\x03\xe7" + b"whatever"
    planned.send(a, range(1, 10), junk=[unknown])
    worker = planned.start()
    wait_for(lambda: "partition_halted" in worker.text(), "the partition to be halted")
    planned.send(a, range(10, 20))
    planned.send(b, range(1, 200))
    with tail(bench.client, b.views[0].topic) as counted:
        wait_for(lambda: counted() == 199, "every record of the other resource")
    assert positions(read(bench.client, a.views[0].topic)) == list(range(1, 10)), "what precedes the halt"
    assert read(bench.client, a.quarantine_topic) == [], "an unknown schema is nobody's bad record"


def test_bytes_that_are_no_record_go_to_quarantine_and_the_rest_flows(bench: Bench) -> None:
    planned = Planned(bench)
    a, _ = planned.resources
    planned.know(samples.RAW_KEY_ID, samples.RAW_VALUE_ID)
    junk = [b"", b"\x00", os.urandom(40), b"\x00\x00\x00\x00\x0c" + os.urandom(30)]
    junk[2] = b"\x01" + junk[2]  # never by chance a known schema's prefix
    planned.send(a, range(1, 10), junk=junk)
    planned.send(a, range(10, 20))
    planned.start()
    with tail(bench.client, a.views[0].topic) as counted:
        wait_for(lambda: counted() == 19, "every good record")
    refused = [
        QuarantineRecord.decode(bytes(record.value() or b""))
        for record in read(bench.client, a.quarantine_topic)
    ]
    assert [record.reason for record in refused] == [Reason.MALFORMED] * 4
    assert [record.offset for record in refused] == [9, 10, 11, 12]


@contextmanager
def registry_of(table: samples.Table) -> Iterator[str]:
    """Serve the schemas of a table as a registry does; yield its address."""

    class Schemas(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            schema = table.schema_of(int(self.path.rpartition("/")[2]))
            answer = json.dumps({"schema": json.dumps(schema)}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Schemas) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def publish(bench: Bench, version: int, resources: Sequence[Any]) -> None:
    plan = PublishedPlan(version=version, systems=(), resources=tuple(resources))
    producer = Producer(bench.client)
    producer.produce(PLAN_TOPIC, plan.model_dump_json(), PLAN_KEY, 0)
    assert producer.flush(30) == 0


def test_the_command_follows_the_published_plan(bench: Bench) -> None:
    """With its own principal's rights, without Redis, and started before there is any plan."""
    planned = Planned(bench)
    a, b = planned.resources
    view = a.views[0].topic
    bench.stack.admin.ensure_scram_user("worker")
    bench.stack.admin.ensure_acls(access._worker())
    with registry_of(planned.table) as url:
        environment = {"EXCHANGE_REGISTRY_URL": url, "EXCHANGE_MASK_KEY": "00" * 32}
        worker = Running(None, bench.stack, bench.files / "command.log", environment)
        bench.workers.append(worker)
        wait_for(lambda: "waiting_for_plan" in worker.text(), "the worker to wait for a plan")
        publish(bench, 1, [a])
        planned.send(a, range(1, 10))
        with tail(bench.client, view) as counted:
            wait_for(lambda: counted() == 9, "the records under plan 1")
        publish(bench, 2, [a])
        wait_for(lambda: "newer_plan" in worker.text(), "the worker to see plan 2")
        planned.send(a, range(10, 20))
        with tail(bench.client, view) as counted:
            wait_for(lambda: counted() == 19, "the records under plan 2")
        publish(bench, 3, [a, b])
        assert worker.process.wait(60) == 3, "other topics need a new process"
        # At once, within the session timeout: Kafka would give a static member what it had before.
        bench.workers.append(Running(None, bench.stack, bench.files / "again.log", environment))
        planned.send(b, range(1, 10))
        with tail(bench.client, b.views[0].topic) as counted:
            wait_for(lambda: counted() == 9, "the records of the topic that plan 3 brought")
    headers = [header_of(record) for record in read(bench.client, view)]
    assert [found.plan_version for found in headers] == [1] * 9 + [2] * 10


def test_several_workers_of_one_command_share_the_work_and_end_together(bench: Bench) -> None:
    planned = Planned(bench)
    a, b = planned.resources
    bench.stack.admin.ensure_scram_user("worker")
    bench.stack.admin.ensure_acls(access._worker())
    with registry_of(planned.table) as url:
        environment = {"EXCHANGE_REGISTRY_URL": url, "EXCHANGE_MASK_KEY": "00" * 32}
        publish(bench, 4, [a, b])
        options = ["--worker-id", bench.name, "--workers", "2"]
        parent = Running(None, bench.stack, bench.files / "parent.log", environment, options)
        bench.workers.append(parent)
        wait_for(lambda: parent.text().count("worker_ready") == 2, "two workers")
        planned.send(a, range(1, 200))
        children = psutil.Process(parent.process.pid).children()
        children[0].kill()
        wait_for(lambda: parent.text().count("worker_ready") == 3, "the killed worker to be there again")
        planned.send(b, range(1, 200))
        for resource in (a, b):
            with tail(bench.client, resource.views[0].topic) as counted:
                wait_for(lambda: counted() == 199, "every record of both resources")
        children = psutil.Process(parent.process.pid).children()
        assert parent.end() == 0
    assert len(children) == 2
    assert not any(child.is_running() for child in children)


def test_workers_that_lack_a_secret_end_their_parent_with_what_they_say(bench: Bench) -> None:
    environment = {"EXCHANGE_MASK_KEY": ""}
    options = ["--worker-id", bench.name, "--workers", "2"]
    parent = Running(None, bench.stack, bench.files / "parent.log", environment, options)
    bench.workers.append(parent)
    assert parent.process.wait(60) == 1
    assert "EXCHANGE_MASK_KEY" in parent.text()
