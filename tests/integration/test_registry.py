"""The embedded registry on real Kafka, through its client and over its restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from exchange.encoding.wire import frame, unframe
from exchange.errors import ConfigError, TransientError
from exchange.registry import Registry
from monitor.registry.compatibility import Level
from monitor.registry.store import Store
from tests.stack import Stack

PLAIN = {"type": "record", "name": "a", "fields": [{"name": "x", "type": "int"}]}
WIDER = {
    "type": "record",
    "name": "a",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": ["null", "int"], "default": None}],
}
BROKEN = {"type": "record", "name": "a", "fields": [{"name": "x", "type": "string"}]}


@pytest.fixture
def registry(stack: Stack) -> Iterator[Registry]:
    password = stack.settings.secrets.get("EXCHANGE_REGISTRY_PASSWORD")
    with Registry(stack.settings.endpoints().registry, password) as client:
        yield client


def test_the_latest_of_many_subjects_are_listed_page_by_page(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exchange.registry._PAGE", 2)
    names = [f"many.{number}-value" for number in range(5)]
    for name in names:
        registry.register(name, PLAIN)
    newest = registry.register(names[3], WIDER)
    registry.set_compatibility(names[1], "FULL")

    latest = registry.all_latest("many.")
    assert sorted(latest) == names
    assert latest[names[3]] == (newest, 2, WIDER)
    assert latest == registry._each_latest("many.")
    levels = registry.levels("many.", names)
    assert levels == {name: "FULL" if name == names[1] else "BACKWARD" for name in names}
    assert levels == {name: registry.compatibility(name) for name in names}

    registry.delete_subject(names[0])
    assert sorted(registry.all_latest("many.")) == names[1:]
    assert registry.version_ids(names[3]) == {str(registry.register(names[3], PLAIN)), str(newest)}
    registry.delete_subject(names[0])


def test_registered_schema_is_found_by_id_and_as_latest(registry: Registry) -> None:
    first = registry.register("found-value", PLAIN)
    second = registry.register("found-value", WIDER)

    assert registry.register("found-value", PLAIN) == first
    assert registry.schema(first) == PLAIN
    assert registry.latest("found-value") == (second, 2, WIDER)
    assert registry.latest("never-registered") is None
    assert "found-value" in registry.subjects()
    assert unframe(frame(second, b"body")) == (second, b"body")


def test_incompatible_schema_is_refused_with_the_place(registry: Registry) -> None:
    registry.register("strict-value", PLAIN)

    with pytest.raises(ConfigError, match=r"strict-value.*\(x\).*409"):
        registry.register("strict-value", BROKEN)
    assert not registry.is_compatible("strict-value", BROKEN)
    assert registry.is_compatible("strict-value", WIDER)
    assert registry.is_compatible("never-registered", BROKEN)


def test_level_is_set_per_subject(registry: Registry) -> None:
    registry.register("loose-value", PLAIN)
    registry.set_compatibility("loose-value", "NONE")

    assert registry.compatibility("loose-value") == "NONE"
    registry.register("loose-value", BROKEN)


def test_unknown_id_is_a_lookup_error(registry: Registry) -> None:
    with pytest.raises(LookupError, match="40403"):
        registry.schema(999_999)


def test_wrong_password_is_named(stack: Stack) -> None:
    with (
        Registry(stack.settings.endpoints().registry, SecretStr("wrong")) as client,
        pytest.raises(ConfigError, match="EXCHANGE_REGISTRY_PASSWORD"),
    ):
        client.register("refused-value", PLAIN)


def test_unreachable_registry_is_worth_another_try() -> None:
    with Registry("http://127.0.0.1:1") as client, pytest.raises(TransientError, match="cannot be reached"):
        client.schema(1)


def test_state_is_rebuilt_from_the_topic(stack: Stack, registry: Registry) -> None:
    first = registry.register("kept-value", PLAIN)
    second = registry.register("kept-value", WIDER)
    registry.set_compatibility("kept-value", "FULL_TRANSITIVE")

    store = Store(stack.settings.kafka_client("monitor"))
    store.open()
    store.close()

    assert [(found.version, found.id) for found in store.state.versions("kept-value")] == [
        (1, first),
        (2, second),
    ]
    assert store.state.level("kept-value") is Level.FULL_TRANSITIVE
