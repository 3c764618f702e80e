"""HTTP push on real Kafka and Redis: what is taken and refused; that it survives is in tests/conformance."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import schemathesis
from confluent_kafka import TopicPartition
from hypothesis import given, settings
from redis import Redis
from redis.exceptions import RedisError
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connectors.receipts import Receipt
from connectors.sources.http.recent import Recent
from exchange import heartbeat
from exchange.pauses import PAUSED, PAUSES, Pause, Wish
from tests.integration.capture import COMMAND, Running
from tests.integration.push import RAW, RECEIPTS, PushBus, ids, post, upsert
from tests.stack import Stack, wait_for

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
"""Not `negative_data_rejection`: HTTP takes off the blanks round a header, and what is left may be right."""


@pytest.fixture(scope="module")
def bus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> PushBus:
    return PushBus(stack, tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def client(bus: PushBus) -> Iterator[httpx.Client]:
    """Return a client of a connector that runs until a test wants to be alone with the bus."""
    with bus.door() as running, bus.client() as client:
        bus.shared = running
        yield client


@pytest.fixture
def alone(bus: PushBus) -> PushBus:
    if bus.shared is not None:
        bus.shared.kill()
    return bus


def test_an_object_an_array_and_lines_are_stored_in_their_order(bus: PushBus, client: httpx.Client) -> None:
    before = len(bus.records())
    whole = upsert("s-1", name="张三", amount=1.50, day="2026-01-31", grade="B", open=True, tags=["a"],
                   at="2026-01-31T08:00:00+08:00", place={"street": "x", "lift": 2.5})  # fmt: skip
    lines = "\n".join(json.dumps(one) for one in [upsert("s-4"), {"delete": {"case_id": "s-1"}}]).encode()

    one = post(client, whole, "single")
    many = post(client, [upsert("s-2", 2), upsert("s-3", 3)], "array")
    last = post(client, lines, "lines", **{"Content-Type": "application/x-ndjson; charset=utf-8"})

    assert [answer.status_code for answer in (one, many, last)] == [202, 202, 202]
    assert [answer.json()["stored"] for answer in (one, many, last)] == [1, 2, 2]
    stored = bus.records()[before:]
    assert ids(stored) == ["s-1", "s-2", "s-3", "s-4", "s-1"]
    assert [record.stamp.op for record in stored] == ["u", "u", "u", "u", "d"]
    assert [record.stamp.at.commit for record in stored[:2]] == [one.json()["commit"], many.json()["commit"]]
    row = stored[0].value["after"]
    assert (row["name"], row["amount"], row["grade"], row["open"]) == ("张三", Decimal("1.50"), "B", True)
    assert json.loads(row["place"]) == {"street": "x", "lift": 2.5}
    assert stored[4].value["before"] is None
    assert stored[4].value["after"] is None


def test_the_same_request_again_is_answered_alike_and_stored_once(bus: PushBus, client: httpx.Client) -> None:
    first = post(client, upsert("again"), "k-1")
    second = post(client, upsert("again"), "k-1")
    other = post(client, upsert("again", 2), "k-1")

    assert first.status_code == second.status_code == 202
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert other.status_code == 422
    assert ids(bus.records()).count("again") == 1


def test_a_paused_door_answers_503_and_takes_the_same_request_once_it_is_resumed(
    bus: PushBus, client: httpx.Client
) -> None:
    def wish(wanted: Wish) -> None:
        pause = Pause(operation="1f", wish=wanted, by="canary-7e0d", since_ms=0, reason="canary-7e0d")
        PAUSES.give(bus.stack.settings.kafka_client("admin"), "hospitals", pause)

    def sent() -> httpx.Response:
        return post(client, upsert("paused"), "in-a-pause")

    wish(Wish.PAUSE)
    wait_for(lambda: "paused" in client.get("/health").text, "a paused door", 120)
    answer = sent()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "canary-7e0d" not in client.get("/health").text + answer.text
    assert ids(bus.records()).count("paused") == 0
    state = wait_for(lambda: heartbeat.last_of(bus.stack.settings, "capture", "cdc-hospitals"), "a heartbeat")
    assert (state["state"], state["figures"]["paused_by"]) == (PAUSED, "canary-7e0d")
    wish(Wish.RUN)
    wait_for(lambda: sent().status_code == 202, "it is taken", 120)
    assert ids(bus.records()).count("paused") == 1


def test_receipts_name_neither_the_key_nor_the_body(bus: PushBus, client: httpx.Client) -> None:
    post(client, upsert("canary-40a7c1d2e9"), "canary-40a7c1d2e9")

    written = b"".join((m.key() or b"") + (m.value() or b"") for m in bus.committed(RECEIPTS))

    assert written
    assert b"canary-40a7c1d2e9" not in written


def test_what_was_pushed_arrives_in_a_view_and_the_accounts_balance(
    bus: PushBus, client: httpx.Client
) -> None:
    """To the workers its raw records are those of a table, but for the row before."""
    place = {"street": "长街", "lift": None}
    changes = [upsert("v-1", 1, name="李四", tags=["x", "y"], place=place), upsert("v-2"), upsert("v-1", 2)]
    assert post(client, [*changes, {"delete": {"case_id": "v-2"}}], "view").status_code == 202
    with bus.running([*COMMAND, "stream"]):
        read = wait_for(lambda: arrived(bus), "the delete to arrive in the view")
        balance = wait_for(lambda: settled(bus), "accounts of all that was pushed, balanced")

    first, second = ([r for r in read if r["key"]["case_id"] == key] for key in ("v-1", "v-2"))
    assert [r["op"] for r in first] == ["u", "u"]
    assert [r["op"] for r in second] == ["u", "d", "tombstone"]
    row = first[0]["after"]
    assert (row["name"], row["tags"], row["place"]) == ("李四", ["x", "y"], {"street": "长街"})
    assert (balance["refused"], balance["captured"]) == (0, len(bus.records()))


def settled(bus: PushBus) -> Any:
    """Return the balance once nothing is in flight, or late, as all is that came before the worker."""
    url = f"{bus.stack.settings.endpoints().api}/api/accounts/balance"
    found = httpx.get(url, params={"minutes": 60}, timeout=30).json()
    return found if found["balanced"] and not found["in_flight"] and found["processed"] else None


def arrived(bus: PushBus) -> list[Any]:
    done = bus.cli("consume", "tax", "health.case.all", "--from", "earliest", "--json")
    read = [json.loads(line) for line in done.stdout.splitlines()]
    return read if any(r["op"] == "d" and r["key"]["case_id"] == "v-2" for r in read) else []


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_interface_is_as_its_own_document_says(
    bus: PushBus, client: httpx.Client, mode: GenerationMode
) -> None:
    """Invented requests, fitting the document or breaking it: no 5xx, no answer that it does not describe."""
    document = client.get("/openapi.json").json()
    operation = schemathesis.openapi.from_dict(document)["/ingest/health.case"]["POST"]
    said: set[int] = set()

    @settings(max_examples=50)
    @given(case=operation.as_strategy(generation_mode=mode))
    def push(case: schemathesis.Case[Any]) -> None:
        answer = case.call_and_validate(
            base_url=bus.url(), headers={"Authorization": f"Bearer {bus.key}"}, checks=CHECKS
        )
        said.add(answer.status_code)

    push()
    assert said & ({202} if mode is GenerationMode.POSITIVE else {400, 415, 422})


REFUSED = {
    "duplicate member": (b'{"upsert": {"case_id": "a", "case_id": "b", "count": 1}}', 400),
    "escaped duplicate": (b'{"upsert": {"case_id": "a", "case\\u005fid": "b", "count": 1}}', 400),
    "NaN": (b'{"upsert": {"case_id": "a", "count": NaN}}', 400),
    "infinity": (b'{"upsert": {"case_id": "a", "count": Infinity}}', 400),
    "truncated": (b'{"upsert": {"case_id": "a", "cou', 400),
    "depth": (b"[" * 100_000, 400),
    "deep and whole": (b'{"upsert": ' + b'{"place":' * 900 + b"1" + b"}" * 900 + b"}", 422),
    "not UTF-8": (b'{"upsert": {"case_id": "\xff", "count": 1}}', 400),
    "half a surrogate": (b'{"upsert": {"case_id": "\\ud800", "count": 1}}', 422),
    "huge number": (b'{"upsert": {"case_id": "a", "count": ' + b"9" * 5000 + b"}}", 400),
    "two megabytes": (b" " * 2_097_152, 413),
    "too many records": (b"[" + b",".join([b"1"] * 10_001) + b"]", 413),
    "nothing": (b"", 400),
    "empty array": (b"[]", 422),
    "no operation": (b'{"case_id": "a", "count": 1}', 422),
    "two operations": (b'{"upsert": {"case_id": "a", "count": 1}, "delete": {"case_id": "a"}}', 422),
    "unknown field": (b'{"upsert": {"case_id": "a", "count": 1, "cuont": 2}}', 422),
    "unknown inside": (b'{"upsert": {"case_id": "a", "count": 1, "place": {"street": "", "no": 1}}}', 422),
    "missing field": (b'{"upsert": {"case_id": "a"}}', 422),
    "null key": (b'{"upsert": {"case_id": null, "count": 1}}', 422),
    "text for a number": (b'{"upsert": {"case_id": "a", "count": "1"}}', 422),
    "true for a number": (b'{"upsert": {"case_id": "a", "count": true}}', 422),
    "out of range": (b'{"upsert": {"case_id": "a", "count": -1}}', 422),
    "third decimal": (b'{"upsert": {"case_id": "a", "count": 1, "amount": 1.005}}', 422),
    "no such day": (b'{"upsert": {"case_id": "a", "count": 1, "day": "2026-02-30"}}', 422),
    "delete with more": (b'{"delete": {"case_id": "a", "count": 1}}', 422),
    "one bad of two": (b'[{"upsert": {"case_id": "a", "count": 1}}, {"upsert": {"case_id": "b"}}]', 422),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_it_should_be_is_refused_whole_by_a_problem(
    bus: PushBus, client: httpx.Client, case: str
) -> None:
    body, status = REFUSED[case]
    before = end_of(bus)

    answer = post(client, body, f"refused {case}")

    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert end_of(bus) == before


def end_of(bus: PushBus) -> int:
    """Return the sum of the raw topic's ends, which whatever is written moves, once nothing is under way.

    A commit's mark comes in a moment after its answer.
    """
    wait_for(lambda: ends(bus, "read_committed") == ends(bus, "read_uncommitted"), "the end of a commit")
    return ends(bus, "read_uncommitted")


def ends(bus: PushBus, isolation: str) -> int:
    places = [TopicPartition(RAW, number) for number in range(3)]
    return sum(bus.asking(isolation).get_watermark_offsets(place, 30)[1] for place in places)


def test_a_refusal_names_record_field_and_rule_and_never_the_value(client: httpx.Client) -> None:
    canary = "110101199003078515"
    body = [upsert("ok"), upsert(canary * 3, -5, day=canary, place={"street": canary * 2}, amount=canary)]

    answer = post(client, body, "canary")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"record": 1, "field": "case_id", "rule": "length"},
        {"record": 1, "field": "count", "rule": "range"},
        {"record": 1, "field": "amount", "rule": "type"},
        {"record": 1, "field": "day", "rule": "type"},
        {"record": 1, "field": "place.street", "rule": "length"},
    ]
    assert canary not in answer.text


def test_headers_that_are_missing_twice_or_others_are_refused(client: httpx.Client) -> None:
    body = json.dumps(upsert("h")).encode()
    bomb = gzip.compress(b" " * 50_000_000)
    typed = {"Content-Type": "application/json"}

    def status(content: bytes, headers: list[tuple[str, str]]) -> int:
        return client.post("/ingest/health.case", content=content, headers=headers).status_code

    assert status(body, [*typed.items()]) == 400  # no Idempotency-Key
    assert status(body, [*typed.items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]) == 400
    assert status(body, [*typed.items(), ("Idempotency-Key", "x" * 256)]) == 400
    assert status(body, [("Content-Type", "text/csv"), ("Idempotency-Key", "a")]) == 415
    assert status(body, [("Content-Type", "application/json; charset=gbk"), ("Idempotency-Key", "a")]) == 415
    assert status(body, [("Idempotency-Key", "a")]) == 415
    assert status(bomb, [*typed.items(), ("Idempotency-Key", "a"), ("Content-Encoding", "gzip")]) == 415


def test_a_body_of_unsaid_length_is_cut_off_at_the_limit(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    headers = {"Idempotency-Key": "endless", "Content-Type": "application/json"}

    assert client.post("/ingest/health.case", content=endless(), headers=headers).status_code == 413


def test_bodies_that_do_not_come_hold_up_so_much_and_no_more(bus: PushBus, client: httpx.Client) -> None:
    """64 MiB are promised by requests that send half a record; one more has to wait till they are gone."""
    before = end_of(bus)
    half = json.dumps(upsert("half")).encode()[:-9]
    held = [started(bus, half) for _ in range(64)]
    try:
        # One of the first may have been turned away itself; then the next is held in its place.
        while "429" not in answer_of(held[-1]):
            assert len(held) < 80
            held.append(started(bus, half))
    finally:
        for connection in held:
            connection.close()
    wait_for(lambda: post(client, upsert("wait"), "wait").status_code == 202, "room")

    assert end_of(bus) == before + 2  # the record, and the mark of its commit


def started(bus: PushBus, part: bytes) -> socket.socket:
    """Return the connection of a request that has promised 1 MiB and sent a part of it."""
    connection = socket.create_connection(("127.0.0.1", bus.ports[0]))
    head = (
        "POST /ingest/health.case HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {bus.key}\r\nIdempotency-Key: half\r\nContent-Length: 1048576\r\n\r\n"
    )
    connection.sendall(head.encode() + part)
    return connection


def answer_of(connection: socket.socket) -> str:
    """Return the first line of an answer that comes before the body does, nothing where it is waited for."""
    connection.settimeout(2)
    try:
        return connection.recv(1000).decode().partition("\r\n")[0]
    except TimeoutError:
        return ""


def test_a_key_opens_its_own_system_alone(bus: PushBus, client: httpx.Client) -> None:
    before = end_of(bus)
    with bus.client(bus.other_key) as other, bus.client("wrong") as nobody:
        assert post(other, upsert("x"), "x").status_code == 403
        assert post(nobody, upsert("x"), "x").status_code == 401
        assert nobody.get("/openapi.json").status_code == 401
    headers = {"Idempotency-Key": "x", "Content-Type": "application/json"}
    answers = [
        client.post(f"/ingest/{name}", json=upsert("x"), headers=headers)
        for name in ("health.visit", "no.such")
    ]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json() == answers[1].json()
    assert end_of(bus) == before


def test_a_key_is_changed_without_a_gap_and_the_oldest_is_refused_at_once(
    bus: PushBus, client: httpx.Client
) -> None:
    second = bus.cli("push-key", "hospitals").stdout.strip()
    with bus.client(second) as with_second:
        assert post(with_second, upsert("rotated"), "r-1").status_code == 202
        assert post(client, upsert("rotated"), "r-2").status_code == 202
        third = bus.cli("push-key", "hospitals", "--only").stdout.strip()
        assert post(with_second, upsert("rotated"), "r-3").status_code == 401
        assert post(client, upsert("rotated"), "r-4").status_code == 401
    client.headers["Authorization"] = f"Bearer {third}"
    bus.key = third

    assert post(client, upsert("rotated"), "r-5").status_code == 202


def test_a_second_connector_on_its_address_ends_and_the_first_goes_on(
    bus: PushBus, client: httpx.Client
) -> None:
    assert post(client, upsert("first"), "first").status_code == 202
    with bus.running([*COMMAND, "connect", "hospitals"]) as second:
        assert second.ends() == 1
        assert "cannot be listened on" in second.text()

    assert post(client, upsert("first-2"), "first-2").status_code == 202
    assert [ids(bus.records()).count(one) for one in ("first", "first-2")] == [1, 1]


def test_redis_kept_a_receipt_for_one_history_alone(stack: Stack) -> None:
    client = heartbeat.connect(stack.settings)
    receipt = Receipt(b"f" * 16, 7, 2, 1000)
    recent = Recent(client, "hospitals")
    recent.keep([(b"d" * 16, receipt)])
    assert recent.find(b"d" * 16) is None  # before any history is known
    recent.follow("first")
    recent.keep([(b"d" * 16, receipt)])

    assert recent.find(b"d" * 16) == receipt
    recent.follow("second")
    assert recent.find(b"d" * 16) is None


def test_without_redis_a_request_is_stored_and_stored_once(alone: PushBus) -> None:
    """The last of this file, as the stack has no Redis after it."""
    bus = alone
    with bus.door() as running, bus.client() as client:
        assert post(client, upsert("redis"), "redis").status_code == 202
        kill_redis(bus.stack)
        again, other = post(client, upsert("redis"), "redis"), post(client, upsert("redis-2"), "redis-2")
        assert (again.status_code, other.status_code) == (202, 202)
        assert_says_once(running)
    with bus.door(), bus.client() as client:
        after = post(client, upsert("redis-2"), "redis-2")

    assert after.json() == other.json()
    assert [ids(bus.records()).count(one) for one in ("redis", "redis-2")] == [1, 1]


def kill_redis(stack: Stack) -> None:
    client = heartbeat.connect(stack.settings)
    number = client.info("server")["process_id"]
    os.kill(number, signal.SIGKILL)
    wait_for(lambda: not answers(client), "Redis to be gone: it may answer for a moment after the signal")


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def assert_says_once(running: Running) -> None:
    wait_for(lambda: "receipts_unseen" in running.text(), "what Redis failed at, said behind the answer")
    assert running.text().count("receipts_unseen") == 1
