"""HTTP pull on real Kafka: a walk is the topic, Kafka's access rules decide, cursors lead nowhere else."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connectors.pull.door import MOST_OF_ONE
from exchange import heartbeat
from exchange.account import Account
from exchange.apply.revoke import Wish, restore, revoke
from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.cluster import Acl, TopicSpec
from exchange.corrections import Correction
from exchange.librdkafka import write
from exchange.plan import ACCOUNTS_TOPIC, CORRECTIONS_TOPIC
from tests.checkers.wire import Schemas, stamp
from tests.integration.capture import COMMAND, Running
from tests.integration.push import TOPOLOGY, VIEW, PushBus, free_ports, post, upsert
from tests.stack import Stack, wait_for

PLANTED = Path(__file__).parent / "pull_planted.py"
RECORDS = 150
WHOLE = {
    "name": "张三", "amount": 1234567890.05, "day": "2026-01-31", "at": "2026-01-31T08:00:00.000001+08:00",
    "grade": "B", "open": True, "tags": ["甲", "b"], "place": {"street": "长街", "lift": 2.5},
}  # fmt: skip
CANARY = "canary-91b7f0aa"
SHOWN = "case_id: clear, count: clear, name: clear, amount: clear, tags: clear, place.street: clear"
PULL = TOPOLOGY.replace(
    SHOWN + "}}\n",
    SHOWN.replace("place.street", "place")
    + """, day: clear, at: clear, grade: clear, open: clear}}
  health.case.brief:
    resource: health.case
    label: {{zh: 简, en: Brief}}
    fields: {{case_id: token, count: clear}}
""",
).replace(
    "    label: {{zh: 税务局, en: Tax}}\ngrants:\n",
    """    label: {{zh: 税务局, en: Tax}}
    pull_keys_env: TAX_PULL
  outsider:
    department: tax
    label: {{zh: 外, en: Out}}
    pull_keys_env: OUTSIDER_PULL
grants:
  - {{subscriber: tax, view: health.case.brief}}
  - {{subscriber: outsider, view: health.case.brief}}
""",
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
GRANT = Acl("tax", "topic", VIEW, "literal", "read")


class PullBus(PushBus):
    """A bus whose view holds what was pushed, and no connector or worker any more."""

    def __init__(self, stack: Stack, place: Path) -> None:
        super().__init__(stack, place, PULL)
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.keys = {name: self.cli("pull-key", name).stdout.strip() for name in ("tax", "outsider")}
        with self.door(), self.client() as client, self.running([*COMMAND, "stream"]):
            for first in range(0, RECORDS, 50):
                rows = [upsert(f"c-{n}", n, **WHOLE) for n in range(first, first + 50)]
                assert post(client, [*rows, {"delete": {"case_id": f"c-{first}"}}], f"{first}").is_success
            assert post(client, upsert(CANARY, 7, name=CANARY), "canary").is_success
            wanted = RECORDS + RECORDS // 50 + 1
            wait_for(lambda: len(self.expected()) == wanted, "all that was pushed to be in the view", 120)
            wait_for(lambda: len(self.expected("brief")) == wanted, "and in the other view", 120)
        self.wanted = self.expected()

    def expected(self, view: str = "all") -> list[dict[str, Any]]:
        """Return a view's records but tombstones, decoded by the checkers' own decoder."""
        schemas = Schemas(self.stack.settings.endpoints().registry)
        found = []
        for message in self.committed(f"share.health.case.{view}"):
            told = stamp(message.headers())
            assert told is not None
            if told.tombstone:
                continue
            value = schemas.decode(message.value())
            found.append(
                {
                    "op": told.op,
                    "key": plain(schemas.decode(message.key())),
                    "before": plain(value["before"]),
                    "after": plain(value["after"]),
                    "source_ms": told.source_ms,
                    "partition": message.partition(),
                    "offset": message.offset(),
                }
            )
        return found

    @contextmanager
    def pull_server(self, *program: str) -> Iterator[Running]:
        arguments = [*(program or COMMAND), "serve-pull", "--listen", self.address]
        with self.running(arguments) as running:
            self.wait_until_serving(running)
            yield running

    def wait_until_serving(self, running: Running) -> None:
        def serving() -> bool:
            assert running.process.poll() is None, running.text()
            try:
                return httpx.get(f"http://{self.address}/health", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(serving, f"pull to be served: {running.text()}")

    def reader(self, name: str = "tax") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.keys[name]}"}
        return httpx.Client(base_url=f"http://{self.address}", headers=headers, timeout=60)

    def write(self, header: bytes | None, like: dict[str, Any], value: bytes | None = None) -> None:
        """Write a record of the view once more, under another header."""
        messages = self.committed(VIEW)
        [old] = [m for m in messages if (m.partition(), m.offset()) == (like["partition"], like["offset"])]
        producer = Producer(self.stack.settings.kafka_client("admin"))
        headers: Any = [(HEADER, header)] if header is not None else None
        producer.produce(VIEW, value or old.value(), old.key(), old.partition(), headers=headers)
        assert producer.flush(30) == 0


def plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: plain(one) for name, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case Decimal():
            return format(value, "f")
        case datetime() | date():
            return value.isoformat()
    return value


@pytest.fixture(scope="module")
def bus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> PullBus:
    return PullBus(stack, tmp_path_factory.mktemp("pull"))


@pytest.fixture(scope="module")
def server(bus: PullBus) -> Iterator[Running]:
    with bus.pull_server() as running:
        bus.shared = running
        yield running


@pytest.fixture
def tax(bus: PullBus, server: Running) -> Iterator[httpx.Client]:
    with bus.reader() as client:
        yield client


@pytest.fixture
def alone(bus: PullBus) -> PullBus:
    if bus.shared is not None:
        bus.shared.kill()
    return bus


def pull(client: httpx.Client, after: str | None = None, view: str = "all", **more: Any) -> httpx.Response:
    params = more | ({} if after is None else {"after": after})
    return client.get(f"/pull/health.case.{view}", params=params)


def walk(client: httpx.Client, sizes: Iterator[int], after: str | None = None) -> list[dict[str, Any]]:
    """Follow the cursors to the end, in pages of these sizes."""
    found: list[dict[str, Any]] = []
    while True:
        answer = pull(client, after, max=next(sizes))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["records"]
        after = page["next"]
        if not page["more"]:
            return found


def cycle(*sizes: int) -> Iterator[int]:
    while True:
        yield from sizes


def problems(walked: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> set[str]:
    """Say what is wrong with a walk: this is the checker that the planted faults are for.

    Records behind the wanted ones, which other tests have written, are left out.
    """
    last = {one["partition"]: one["offset"] for one in wanted}
    walked = [one for one in walked if one["offset"] <= last[one["partition"]]]
    at = Counter((one["partition"], one["offset"]) for one in walked)
    there = {(one["partition"], one["offset"]): one for one in wanted}
    found = set()
    if there.keys() - at.keys():
        found.add("lost")
    if any(times > 1 for times in at.values()):
        found.add("twice")
    if any(
        {name: part for name, part in one.items() if name != "position"}
        != there.get((one["partition"], one["offset"]))
        for one in walked
    ):
        found.add("altered")
    for partition in {one["partition"] for one in walked}:
        offsets = [one["offset"] for one in walked if one["partition"] == partition]
        if offsets != sorted(offsets):
            found.add("disordered")
    return found


def test_a_walk_is_the_topic_whatever_the_size_of_its_pages(bus: PullBus, tax: httpx.Client) -> None:
    assert problems(walk(tax, cycle(1, 7, 50)), bus.wanted) == set()
    assert problems(walk(tax, cycle(5000)), bus.wanted) == set()


def test_what_was_pushed_comes_out_the_same(tax: httpx.Client) -> None:
    found = walk(tax, cycle(500))
    row = next(one["after"] for one in found if one["key"] == {"case_id": "c-1"})
    deleted = [one for one in found if one["key"] == {"case_id": "c-0"}]

    same = {**WHOLE, "case_id": "c-1", "count": 1, "amount": "1234567890.05"}
    assert row == same | {"at": "2026-01-31T00:00:00.000001+00:00"}
    assert [(one["op"], one["after"] is None) for one in deleted] == [("u", False), ("d", True)]


def test_the_same_cursor_gives_the_same_records_again(tax: httpx.Client) -> None:
    first = pull(tax, max=10).json()
    again = [pull(tax, first["next"], max=10).json()["records"] for _ in range(5)]

    assert again[0]
    assert all(one == again[0] for one in again)
    assert first["lag_records"] > 100
    assert first["lag_s"] > 0


def test_every_partition_gets_its_turn_one_record_at_a_time(tax: httpx.Client) -> None:
    found = []
    after = None
    for _ in range(6):
        page = pull(tax, after, max=1).json()
        found += [one["partition"] for one in page["records"]]
        after = page["next"]

    assert Counter(found) == {0: 2, 1: 2, 2: 2}


def test_lines_hold_the_same_and_end_with_the_cursor(tax: httpx.Client) -> None:
    answer = tax.get("/pull/health.case.all", params={"max": 9}, headers={"Accept": "application/x-ndjson"})
    *records, last = map(json.loads, answer.text.splitlines())
    page = pull(tax, max=9).json()

    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    assert answer.headers["Cache-Control"] == "no-store"
    assert records == page.pop("records")
    assert last.keys() == page.keys()
    assert last["next"] == page["next"]


def test_a_wait_ends_with_the_first_new_record(bus: PullBus, tax: httpx.Client) -> None:
    end = pull(tax, "latest").json()
    assert (end["records"], end["more"], end["lag_records"], end["lag_s"]) == ([], False, 0, 0)
    began = time.monotonic()
    nothing = pull(tax, end["next"], wait_s=1).json()
    assert nothing["records"] == []
    assert time.monotonic() - began >= 1

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pull, tax, end["next"], wait_s=30)
        bus.write(RecordHeader(Position(5, 1, 0), Op.UPDATE, 0).pack(), bus.wanted[0])
        page = waiting.result(30).json()

    assert [one["op"] for one in page["records"]] == ["u"]
    assert time.monotonic() - began < 25


def test_a_duplicate_is_dropped_also_across_pages_and_a_bad_record_is_told_in_its_place(
    bus: PullBus, tax: httpx.Client
) -> None:
    end = pull(tax, "latest").json()["next"]
    like = bus.wanted[0]
    header = RecordHeader(Position(6, 1, 0), Op.UPDATE, 0).pack()
    bus.write(header, like)
    first = pull(tax, end, wait_s=30).json()
    bus.write(header, like)
    bus.write(None, like)
    bus.write(RecordHeader(Position(6, 2, 0), Op.UPDATE, 0).pack(), like, b"\x00\x00\x00\x00\x01junk")
    rest = walk(tax, cycle(1), first["next"])

    assert len(first["records"]) == 1
    assert [one["op"] for one in rest] == [None, None]
    assert "header" in rest[0]["problem"]
    assert rest[1]["problem"]


def test_a_cursor_that_was_altered_or_is_anothers_is_refused(bus: PullBus, tax: httpx.Client) -> None:
    cursor = pull(tax, max=3).json()["next"]
    brief = pull(tax, max=3, view="brief").json()["next"]
    altered = [
        cursor[:30] + ("A" if cursor[30] != "A" else "B") + cursor[31:],
        cursor[:-4],
        brief,
        "x",
        "",
        "é",
        "A" * 4000,
    ]

    assert [pull(tax, one, max=3).status_code for one in altered] == [400] * len(altered)
    with bus.reader("outsider") as other:
        assert pull(other, brief, view="brief").status_code == 400
        assert pull(other, view="brief").status_code == 200


def test_without_key_grant_or_view_nothing_is_told(bus: PullBus, tax: httpx.Client) -> None:
    with bus.reader("outsider") as other:
        refused = [pull(other), pull(other, view="none"), pull(other, view="A..b"), pull(tax, view="none")]
    assert [answer.status_code for answer in refused] == [403, 403, 403, 403]
    assert refused[0].json()["detail"] == refused[1].json()["detail"]
    assert refused[0].headers["Content-Type"] == "application/problem+json"

    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {bus.key}"}):
        answer = httpx.get(f"http://{bus.address}/pull/health.case.all", headers=headers, timeout=30)
        assert answer.status_code == 401
        assert "WWW-Authenticate" in answer.headers


def test_corrections_of_a_view_are_given_to_who_may_read_it(bus: PullBus, tax: httpx.Client) -> None:
    markers = [
        Correction(objection=n, resource=resource, partition=0, wrong=f"w{n}", corrected=f"c{n}", at="now")
        for n, resource in enumerate(["health.case", "other.thing", "health.case"])
    ]
    records = [
        {
            "topic": CORRECTIONS_TOPIC,
            "key": f"pull {one.objection}".encode(),
            "value": one.model_dump_json().encode(),
        }
        for one in markers
    ]
    assert not write(bus.stack.settings.kafka_client("admin"), records, 60)
    at = "/pull/health.case.all/corrections"

    def wrong(after: str, most: int) -> tuple[list[str], str, bool]:
        page = tax.get(at, params={"after": after, "max": most}).raise_for_status().json()
        return [one["wrong"] for one in page["corrections"]], page["next"], page["more"]

    wait_for(lambda: len(wrong("earliest", 5)[0]) == 2, "the markers are followed")
    first, after, more = wrong("earliest", 1)
    assert (first, more) == (["w0"], True)
    assert wrong(after, 5)[0] == ["w2"]
    lines = tax.get(at, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    assert [json.loads(line).get("wrong") for line in lines] == ["w0", "w2", None]
    with bus.reader("outsider") as other:
        refused = [
            other.get(at),
            tax.get("/pull/health.case.none/corrections"),
            tax.get(at, params={"wait_s": 1}),
        ]
        assert other.get("/pull/health.case.brief/corrections", params={"after": after}).status_code == 410
    assert [answer.status_code for answer in refused] == [403, 403, 400]
    assert refused[0].json()["detail"] == refused[1].json()["detail"]


@pytest.mark.parametrize(
    "params",
    [
        {"max": "0"}, {"max": "5001"}, {"max": "x"}, {"max": ["1", "2"]},
        {"wait_s": "31"}, {"wait_s": "-1"}, {"until": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_that_is_not_as_it_should_be_is_refused(
    tax: httpx.Client, params: dict[str, Any]
) -> None:
    assert tax.get("/pull/health.case.all", params=params).status_code == 400


def test_access_that_is_taken_away_ends_answers_at_once(bus: PullBus, tax: httpx.Client) -> None:
    """Also a wait that is under way, and a connection that was used a moment before."""
    cursor = pull(tax, max=3).json()["next"]
    end = pull(tax, "latest").json()["next"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pull, tax, end, wait_s=30)
        try:
            bus.stack.admin.remove_acls([GRANT])
            began = time.monotonic()
            answers = [pull(tax), pull(tax, cursor), waiting.result(30)]
            took_s = time.monotonic() - began
        finally:
            bus.stack.admin.ensure_acls([GRANT])

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert all("records" not in answer.json() for answer in answers)
    assert took_s < 10
    assert pull(tax, view="brief").status_code == 200
    wait_for(lambda: pull(tax).status_code == 200, "the grant to hold again")


def test_a_revoked_grant_is_refused_though_its_login_is_gone(bus: PullBus) -> None:
    wish = Wish("outsider", "health.case.brief", "test", "trial")
    with bus.reader("outsider") as outsider:
        assert pull(outsider, view="brief").status_code == 200
        revoke(bus.stack.settings, wish)
        assert "outsider" not in bus.stack.admin.scram_users()
        answers: list[httpx.Response] = []

        def told() -> bool:
            answers.append(pull(outsider, view="brief"))
            return answers[-1].status_code == 403 and "was revoked" in answers[-1].text

        wait_for(told, "the revocation to be told")
        assert not any(answer.is_success for answer in answers)
        restore(bus.stack.settings, wish, for_good=True)
        bus.cli("apply", "--yes")
        wait_for(lambda: pull(outsider, view="brief").status_code == 200, "the grant to hold again")


def test_keys_are_changed_over_and_revoked(bus: PullBus, tax: httpx.Client) -> None:
    first = bus.keys["outsider"]
    second = bus.cli("pull-key", "outsider").stdout.strip()

    def status(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return tax.get("/pull/health.case.brief", params={"max": 1}, headers=headers).status_code

    assert [status(first), status(second)] == [200, 200]
    bus.cli("pull-key", "outsider", "--revoke")
    assert [status(first), status(second)] == [401, 401]
    bus.keys["outsider"] = bus.cli("pull-key", "outsider", "--only").stdout.strip()
    assert [status(second), status(bus.keys["outsider"])] == [401, 200]
    assert bus.cli("pull-key", "nobody", check=False).returncode == 1


def test_one_reader_does_not_keep_another_from_being_served(bus: PullBus, tax: httpx.Client) -> None:
    end = pull(tax, "latest").json()["next"]
    enough = threading.Event()

    def keep_waiting() -> set[int]:
        return {pull(tax, end, wait_s=6).status_code for _ in iter(enough.is_set, True)}

    with ThreadPoolExecutor(MOST_OF_ONE) as pool, bus.reader("outsider") as other:
        waiting = [pool.submit(keep_waiting) for _ in range(MOST_OF_ONE)]
        full = wait_for(lambda: one if (one := pull(tax, end)).status_code == 429 else None, "429")
        began = time.monotonic()
        served = pull(other, view="brief")
        took_s = time.monotonic() - began
        enough.set()
        assert set().union(*(one.result(60) for one in waiting)) <= {200, 429}

    assert full.headers["Retry-After"]
    assert served.status_code == 200
    assert took_s < 6
    assert pull(tax, end).status_code == 200


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_interface_is_as_its_own_document_says(
    bus: PullBus, tax: httpx.Client, mode: GenerationMode
) -> None:
    """Invented requests, fitting the document or breaking it: no 5xx, no answer that it does not describe."""
    document = tax.get("/openapi.json").json()
    paths = {"/pull/health.case.all", "/pull/health.case.brief"}
    assert set(document["paths"]) == paths | {f"{path}/corrections" for path in paths}
    operation = schemathesis.openapi.from_dict(document)["/pull/health.case.all"]["GET"]
    said: set[int] = set()

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        case.query = {**(case.query or {})}
        case.query.pop("wait_s", None)
        answer = case.call_and_validate(
            base_url=f"http://{bus.address}",
            headers={"Authorization": f"Bearer {bus.keys['tax']}"},
            checks=CHECKS,
        )
        said.add(answer.status_code)

    ask()
    assert said & ({200, 400} if mode is GenerationMode.POSITIVE else {400, 406})


def test_figures_are_told_and_no_value_is_logged(bus: PullBus, server: Running, tax: httpx.Client) -> None:
    assert any(one["key"] == {"case_id": CANARY} for one in walk(tax, cycle(500)))
    pull(tax, CANARY)
    pull(tax, view=CANARY)

    def beat() -> Any:
        figures = heard(bus).get(writer_of(bus.address))
        return figures if figures is not None and figures["records"] > RECORDS else None

    figures = wait_for(beat, "a heartbeat with what was pulled")
    reader = figures["readers"]["tax health.case.all"]
    assert reader["records"] > RECORDS
    assert reader["lag_records"] == 0
    assert "pulled" in server.text()
    assert CANARY not in server.text()
    assert bus.keys["tax"] not in server.text()


def heard(bus: PullBus) -> dict[str, Any]:
    """Return the figures of each server whose heartbeat is there."""
    beats = heartbeat.read_all(heartbeat.connect(bus.stack.settings))
    return {one["writer"]: one["figures"] for one in beats if one["stage"] == "deliver"}


def writer_of(address: str) -> str:
    return f"pull-{socket.gethostname()}:{address.rpartition(':')[2]}"


def test_each_of_several_servers_is_heard_of_until_it_is_gone(bus: PullBus, server: Running) -> None:
    other = f"127.0.0.1:{free_ports(1)[0]}"
    first, second = writer_of(bus.address), writer_of(other)
    with bus.running([*COMMAND, "serve-pull", "--listen", other]):
        wait_for(lambda: {first, second} <= heard(bus).keys(), "both servers' heartbeats", 120)
    wait_for(lambda: second not in heard(bus), "the one that was killed is forgotten", 120)
    assert first in heard(bus)


def test_an_answer_leaves_once_its_account_is_in_kafka(bus: PullBus, tax: httpx.Client) -> None:
    before = len(accounts(bus))
    first = pull(tax, max=5).json()
    again = pull(tax, first["next"], max=7).json()
    told = accounts(bus)[before:]
    handed = [(one["partition"], one["offset"]) for one in first["records"] + again["records"]]
    headers = {
        (m.partition(), m.offset()): RecordHeader.unpack(dict(m.headers() or []).get(HEADER))
        for m in bus.committed(VIEW)
    }
    positions = [header.position for at in handed if (header := headers[at])]

    assert {(one.stage, one.writer, one.topic) for one in told} == {
        ("pull", "pull-tax.health.case.all", VIEW)
    }
    assert sum(one.changes for one in told) == len(handed) == 12
    assert sum(one.position_sum for one in told) % 2**64 == sum(p.hash64() for p in positions) % 2**64
    assert all(
        any(one.partition == at and one.first_offset <= offset <= one.last_offset for one in told)
        for at, offset in handed
    )

    def used() -> dict[int, int]:
        group = ConsumerGroupTopicPartitions("tax.pull")
        asked = bus.stack.admin.client.list_consumer_group_offsets([group])["tax.pull"].result(30)
        return {at.partition: at.offset for at in asked.topic_partitions if at.topic == VIEW}

    last = {at: max(offset for where, offset in handed[:5] if where == at) for at, _ in handed[:5]}
    wait_for(
        lambda: all(used().get(at, -1) == offset + 1 for at, offset in last.items()), "the cursor's offsets"
    )


def test_without_an_account_nothing_is_handed_out(bus: PullBus, tax: httpx.Client) -> None:
    rule = Acl("pull", "topic", ACCOUNTS_TOPIC, "literal", "write")
    bus.stack.admin.remove_acls([rule])
    try:
        refused = wait_for(lambda: one if (one := pull(tax)).status_code != 200 else None, "a refusal")
    finally:
        bus.stack.admin.ensure_acls([rule])
    assert refused.status_code == 503
    assert "account" in refused.json()["detail"]
    wait_for(lambda: pull(tax).status_code == 200, "answers again")


def accounts(bus: PullBus) -> list[Account]:
    """Return the accounts of what was pulled."""
    found = (Account.decode(message.value()) for message in bus.committed(ACCOUNTS_TOPIC))
    return [one for one in found if one.stage == "pull"]


def test_records_that_are_gone_are_told_and_never_passed_over(bus: PullBus, tax: httpx.Client) -> None:
    """On a view of its own, as its topic is spoiled; twice: by retention, and by a topic made anew."""
    topic = "share.health.case.brief"
    cursor = pull(tax, max=3, view="brief").json()["next"]
    ends = {one["partition"]: one["offset"] for one in bus.expected("brief")}
    gone = [TopicPartition(topic, partition, offset) for partition, offset in ends.items()]
    for answer in bus.stack.admin.client.delete_records(gone).values():
        answer.result(30)
    removed = wait_for(
        lambda: one if (one := pull(tax, cursor, view="brief")).status_code != 200 else None, "410"
    )
    assert removed.status_code == 410
    assert "retention" in removed.json()["detail"]
    anew = pull(tax, view="brief").json()
    assert len(anew["records"]) == len(ends)

    for answer in bus.stack.admin.client.delete_topics([topic]).values():
        answer.result(30)
    wait_for(lambda: topic not in bus.stack.admin.topics(), "the topic to be gone")
    bus.stack.admin.ensure_topics([TopicSpec(topic, 3)])
    other = wait_for(
        lambda: one if (one := pull(tax, anew["next"], view="brief")).status_code == 410 else None, ""
    )
    assert "made anew" in other.json()["detail"]


def test_kill_9_of_the_server_costs_no_record_and_doubles_none(alone: PullBus) -> None:
    bus = alone
    found: list[dict[str, Any]] = []
    after: str | None = None
    with bus.pull_server() as running, bus.reader() as client, ThreadPoolExecutor(1) as pool:
        for size in (11, 5, 23):
            page = pull(client, after, max=size).json()
            found += page["records"]
            after = page["next"]
        lost = pool.submit(pull, client, after, max=11)
        running.kill()
        lost.exception(60)
    with bus.pull_server(), bus.reader() as client:
        found += walk(client, cycle(29), after)

    assert problems(found, bus.wanted) == set()


@pytest.mark.parametrize(("fault", "found"), [("early", "lost"), ("still", "twice")])
def test_a_planted_fault_is_found_out(alone: PullBus, fault: str, found: str) -> None:
    """Control: the same comparison, with a server whose cursor stands where it should not."""
    bus = alone
    with bus.pull_server(str(PLANTED), fault), bus.reader() as client:
        walked: list[dict[str, Any]] = []
        after: str | None = None
        for _ in range(20):
            page = pull(client, after, max=25).json()
            walked += page["records"]
            after = page["next"]

    assert found in problems(walked, bus.wanted)
