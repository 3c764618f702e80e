from __future__ import annotations

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from exchange.fieldtype import ContractField, FieldType
from exchange.masking import Clear, MaskSpec, Omit, Partial
from monitor.catalogue import resource_of, resources_of, showing
from monitor.readers import Readers, rules_of
from tests.unit.exchange.test_plan import plan

TOPIC = "share.population.person.basic"


def field(name: str, *inside: ContractField) -> ContractField:
    kind = FieldType("record", fields=inside) if inside else FieldType("string")
    return ContractField(name, kind, 1, None, "", "")


ADDRESS = field("address", field("street"), field("region"))


@pytest.mark.parametrize(
    ("path", "masks", "how"),
    [
        ("name", {}, "hidden"),
        ("name", {"name": Omit(kind="omit")}, "hidden"),
        ("name", {"name": Clear(kind="clear")}, "clear"),
        ("name", {"name": Partial(kind="partial", keep_first=1)}, "masked"),
        ("address", {"address.region": Clear(kind="clear")}, "parts"),
        ("address.street", {"address.region": Clear(kind="clear")}, "hidden"),
        ("address.street", {"address": Clear(kind="clear")}, "clear"),
        ("address.street", {"address": Omit(kind="omit")}, "hidden"),
        ("addressee", {"address": Clear(kind="clear")}, "hidden"),
    ],
)
def test_what_a_view_shows_of_a_field(path: str, masks: dict[str, MaskSpec], how: str) -> None:
    shown = ADDRESS if path == "address" else field(path.rpartition(".")[2])

    assert showing(path, shown, masks).how == how


def test_a_resource_leads_from_column_to_view_in_the_contracts_order() -> None:
    found = resource_of(plan(), "population.person", lambda topic: (topic,))

    assert found is not None
    names = ["id_number", "full_name", "region_code"]
    assert [(one.source, one.path, one.key) for one in found.fields] == [
        (name, name, name == "id_number") for name in names
    ]
    [view] = found.shown_by
    assert [one.path for one in view.fields] == names
    assert [(one.how, one.mask) for one in view.fields] == [
        ("masked", "token"), ("masked", "partial"), ("clear", "clear"),
    ]  # fmt: skip
    assert (view.name, view.readers) == ("population.person.basic", (TOPIC,))
    assert view.rows[0].prefix == ("3301",)


def test_a_resource_that_the_plan_has_not_is_none() -> None:
    assert resource_of(plan(), "population.nobody", lambda _: None) is None
    assert resource_of(None, "population.person", lambda _: None) is None


def test_resources_come_in_pages_by_name() -> None:
    first, second = resources_of(plan(), 1, 0), resources_of(plan(), 1, 1)

    assert [one.name for page in (first, second) for one in page.resources] == [
        "population.person", "population.street",
    ]  # fmt: skip
    assert (first.total, first.next_offset, second.next_offset) == (2, 1, None)
    assert resources_of(None, 1, 0).total == 0


def rule(principal: str, name: str, *, prefixed: bool = False, operation: str = "READ") -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        name,
        ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL,
        f"User:{principal}",
        "*",
        AclOperation[operation],
        AclPermissionType.ALLOW,
    )


def test_readers_are_those_whom_kafka_lets_read_and_not_the_buss_own_users() -> None:
    readers = Readers()
    assert readers.of(TOPIC) is None
    readers._rules = rules_of(
        [
            rule("tax", TOPIC),
            rule("wide", "share.population.", prefixed=True),
            rule("everybody", "*"),
            rule("other", "share.population.person.other"),
            rule("writer", TOPIC, operation="WRITE"),
            rule("deliver-tax", TOPIC),
            rule("worker", "share.", prefixed=True),
        ]
    )

    assert readers.of(TOPIC) == ("everybody", "tax", "wide")
    assert readers.by_topic([TOPIC]) == {TOPIC: ("everybody", "tax", "wide")}
