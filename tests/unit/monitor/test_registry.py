from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from exchange.errors import TransientError
from monitor.registry import rest
from monitor.registry.compatibility import Level
from monitor.registry.state import Registered, State, canonical, level_record, schema_record
from monitor.registry.store import Store

PLAIN = json.dumps({"type": "record", "name": "a", "fields": [{"name": "x", "type": "int"}]})
WIDER = json.dumps(
    {
        "type": "record",
        "name": "a",
        "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 0}],
    }
)
BROKEN = json.dumps({"type": "record", "name": "a", "fields": [{"name": "x", "type": "string"}]})


class MemoryStore(Store):
    """The store with a list for a log."""

    def __init__(self) -> None:
        super().__init__({})
        self.loaded = True
        self.log: list[tuple[bytes, bytes | None]] = []
        self.failing = False

    def _catch_up(self) -> None:
        pass

    def _append(self, key: bytes, value: bytes | None) -> None:
        if self.failing:
            raise TransientError("Kafka: no answer")
        self.log.append((key, value))
        self.state.apply(key, value)


class Client:
    def __init__(self, store: Store) -> None:
        self._app = FastAPI()
        self._app.include_router(rest.router(store, SecretStr("pass")))

    def __call__(
        self, method: str, path: str, body: Any = None, auth: tuple[str, str] | None = ("exchange", "pass")
    ) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test", auth=auth) as client:
                return await client.request(method, path, json=body)

        return asyncio.run(call())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def call(store: MemoryStore) -> Client:
    return Client(store)


def register(call: Client, subject: str, schema: str) -> httpx.Response:
    return call("POST", f"/subjects/{subject}/versions", {"schema": schema})


def test_same_schema_has_one_id_in_all_subjects(call: Client) -> None:
    spaced = json.dumps(json.loads(PLAIN), indent=4)

    assert register(call, "s", PLAIN).json() == {"id": 1}
    assert register(call, "s", spaced).json() == {"id": 1}
    assert register(call, "t", spaced).json() == {"id": 1}
    assert call("GET", "/subjects/s/versions").json() == [1]
    assert call("GET", "/schemas/ids/1/versions").json() == [
        {"subject": "s", "version": 1},
        {"subject": "t", "version": 1},
    ]


def test_registered_schema_is_read_back_by_id_version_and_latest(call: Client) -> None:
    register(call, "s", PLAIN)
    register(call, "s", WIDER)

    assert call("GET", "/schemas/ids/2").json() == {"schema": WIDER}
    assert call("GET", "/subjects/s/versions/1").json() == {
        "subject": "s", "version": 1, "id": 1, "schema": PLAIN,
    }  # fmt: skip
    assert call("GET", "/subjects/s/versions/latest").json()["version"] == 2
    assert call("POST", "/subjects/s", {"schema": WIDER}).json()["version"] == 2


def test_answers_have_the_registrys_content_type(call: Client) -> None:
    assert call("GET", "/subjects").headers["content-type"] == rest.CONTENT_TYPE
    assert call("GET", "/subjects/none/versions").headers["content-type"] == rest.CONTENT_TYPE


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/subjects/none/versions", None, 404, 40401),
        ("GET", "/subjects/s/versions/9", None, 404, 40402),
        ("GET", "/subjects/s/versions/0", None, 422, 42202),
        ("GET", "/subjects/s/versions/x", None, 422, 42202),
        ("GET", "/schemas/ids/77", None, 404, 40403),
        ("GET", "/schemas/ids/x", None, 422, 42200),
        ("POST", "/subjects/s", {"schema": WIDER}, 404, 40403),
        ("POST", "/subjects/s/versions", {"schema": "{"}, 422, 42201),
        ("POST", "/subjects/s/versions", {"schema": PLAIN, "schemaType": "JSON"}, 422, 42201),
        ("POST", "/subjects/s/versions", {"schema": PLAIN, "references": [{}]}, 422, 42201),
        ("POST", "/subjects/s/versions", {}, 422, 42200),
        ("POST", "/subjects/s/versions", {"schema": BROKEN}, 409, 409),
        ("PUT", "/config/s", {"compatibility": "SOME"}, 422, 42203),
        ("GET", "/config/s", None, 404, 40408),
        ("DELETE", "/subjects/s?permanent=true", None, 422, 42206),
    ],
)
def test_refusals_carry_confluents_error_codes(
    call: Client, method: str, path: str, body: Any, status: int, code: int
) -> None:
    register(call, "s", PLAIN)

    answer = call(method, path, body)

    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


def test_a_request_that_does_not_fit_says_where_and_what_is_wanted(call: Client) -> None:
    missing = call("POST", "/subjects/s/versions", {}).json()["message"]
    no_number = call("GET", "/schemas/ids/110101199003078515x").json()["message"]

    assert missing == "invalid request: body.schema: Field required"
    assert "path.schema_id: Input should be a valid integer" in no_number
    assert "110101199003078515" not in no_number


def test_level_of_a_subject_wins_over_the_registrys(call: Client) -> None:
    register(call, "s", PLAIN)
    assert call("PUT", "/config", {"compatibility": "FULL"}).json() == {"compatibility": "FULL"}
    assert call("PUT", "/config/s", {"compatibility": "NONE"}).json() == {"compatibility": "NONE"}

    assert register(call, "s", BROKEN).json() == {"id": 2}
    assert call("GET", "/config/other?defaultToGlobal=true").json() == {"compatibilityLevel": "FULL"}


def test_compatibility_is_tested_without_registering(call: Client) -> None:
    register(call, "s", PLAIN)

    refused = call("POST", "/compatibility/subjects/s/versions/latest?verbose=true", {"schema": BROKEN})
    accepted = call("POST", "/compatibility/subjects/s/versions", {"schema": WIDER})

    assert refused.json()["is_compatible"] is False
    assert "(x)" in refused.json()["messages"][0]
    assert accepted.json() == {"is_compatible": True}
    assert call("GET", "/subjects/s/versions").json() == [1]


def test_deleted_subject_is_gone_but_its_id_still_decodes(call: Client) -> None:
    register(call, "s", PLAIN)

    assert call("DELETE", "/subjects/s").json() == [1]

    assert call("GET", "/subjects").json() == []
    assert call("GET", "/subjects?deleted=true").json() == ["s"]
    assert call("GET", "/schemas/ids/1").status_code == 200
    register(call, "s", PLAIN)
    assert call("GET", "/subjects/s/versions").json() == [2]


@pytest.mark.parametrize("auth", [None, ("exchange", "wrong"), ("other", "pass")])
def test_writes_need_the_password_and_reads_do_not(call: Client, auth: tuple[str, str] | None) -> None:
    writes = [
        call("POST", "/subjects/s/versions", {"schema": PLAIN}, auth),
        call("PUT", "/config", {"compatibility": "NONE"}, auth),
        call("PUT", "/config/s", {"compatibility": "NONE"}, auth),
        call("DELETE", "/subjects/s", None, auth),
        call("DELETE", "/subjects/s/versions/1", None, auth),
    ]

    assert {answer.status_code for answer in writes} == {401}
    assert call("GET", "/subjects", None, auth).json() == []


def test_nothing_is_answered_before_the_log_is_read(store: MemoryStore, call: Client) -> None:
    store.loaded = False

    answer = call("GET", "/schemas/ids/1")

    assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)


def test_write_that_kafka_does_not_take_changes_nothing(store: MemoryStore, call: Client) -> None:
    store.failing = True

    assert register(call, "s", PLAIN).json()["error_code"] == 50001
    assert call("GET", "/subjects").json() == []


def test_state_is_the_same_after_replaying_its_log(store: MemoryStore, call: Client) -> None:
    register(call, "s", PLAIN)
    register(call, "s", WIDER)
    call("PUT", "/config/s", {"compatibility": "FULL_TRANSITIVE"})
    call("DELETE", "/subjects/s/versions/1")

    replayed = State()
    for key, value in store.log:
        replayed.apply(key, value)

    assert replayed.versions("s", deleted=True) == store.state.versions("s", deleted=True)
    assert replayed.level("s") is Level.FULL_TRANSITIVE
    assert replayed.id_for(WIDER) == 2
    assert replayed.next_version("s") == 3


def test_records_of_confluents_registry_are_understood() -> None:
    state = State()
    state.apply(b'{"keytype":"NOOP","magic":0}', None)
    state.apply(
        b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}',
        json.dumps({"subject": "s", "version": 1, "id": 41, "schema": PLAIN, "deleted": False}).encode(),
    )
    state.apply(
        b'{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}',
        b'{"subject":"s","version":1}',
    )

    assert state.subjects() == []
    assert state.text(41) == PLAIN
    assert state.id_for(WIDER) == 42


def test_id_never_changes_its_meaning() -> None:
    state = State()
    state.apply(*schema_record(Registered("s", 1, 1, PLAIN)))
    state.apply(*schema_record(Registered("t", 1, 1, WIDER)))

    assert state.text(1) == PLAIN
    assert state.subjects() == ["s"]


def test_taken_back_level_falls_to_the_default() -> None:
    state = State()
    state.apply(*level_record("s", Level.NONE))
    state.apply(*level_record("s", None))

    assert state.level_in_force("s") is Level.BACKWARD


@pytest.mark.parametrize("key", [b"", b"\xff", b"[]", b'{"keytype":"SCHEMA"}', b"{}"])
def test_foreign_record_in_the_log_is_refused_as_such(key: bytes) -> None:
    with pytest.raises(ValueError, match="not a registry record"):
        State().apply(key, b"{}")


def test_attributes_that_avro_ignores_still_make_another_schema() -> None:
    labelled = json.dumps({**json.loads(PLAIN), "classification": 3})

    assert canonical(labelled) != canonical(PLAIN)
