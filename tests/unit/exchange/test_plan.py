"""The plan that a topology gives, and who may do what by it."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from exchange.apply import access
from exchange.cluster import Acl
from exchange.plan import PublishedPlan
from exchange.plan_build import build_plan, compiled_views
from exchange.topology.model import Topology
from tests.unit.exchange.topologies import CONTRACTS, GOOD, TODAY, changed, load

TOPIC = "share.population.person.basic"
KEYS = {"police": "cHVibGlj"}


def plan(text: str = GOOD, version: int = 1) -> PublishedPlan:
    topology = load(text).topology
    subjects = sorted(
        f"{topic}-{part}" for topic in compiled_views(topology, CONTRACTS) for part in ("key", "value")
    )
    ids = {subject: number for number, subject in enumerate(subjects, 1)}
    return build_plan(topology, CONTRACTS, KEYS, ids, version, TODAY)


def topology(text: str = GOOD) -> Topology:
    return load(text).topology


def test_a_plan_names_topics_schemas_and_the_stewards_key() -> None:
    person = plan().by_raw_topic()["raw.population.public.person"]
    assert (person.name, person.department, person.partitions) == ("population.person", "police", 4)
    assert person.quarantine_topic == "quarantine.population.person"
    assert person.steward_public_key == "cHVibGlj"
    (view,) = person.views
    assert (view.name, view.topic, view.key_schema_id, view.value_schema_id) == ("basic", TOPIC, 1, 2)


def test_a_plan_survives_its_own_json() -> None:
    assert PublishedPlan.model_validate_json(plan().model_dump_json()) == plan()


def test_the_order_of_the_file_does_not_change_the_plan() -> None:
    head, views = GOOD.split("views:\n")
    views, tail = views.split("subscribers:\n")
    first, second = views.split("  population.street.all:\n")
    turned = f"{head}views:\n  population.street.all:\n{second}{first}subscribers:\n{tail}"
    assert plan(turned) == plan()


def test_a_resource_may_have_a_contract_of_another_name() -> None:
    street = plan().by_raw_topic()["raw.population.public.street"]
    assert json.dumps(street.contract) == json.dumps(CONTRACTS["population.person"].document)


def test_a_subscriber_may_read_its_views_and_use_its_groups_and_nothing_else() -> None:
    rules = {rule for rule in access.rules(topology(), TODAY) if rule.principal == "tax"}
    assert rules == {
        Acl("tax", "topic", TOPIC, "literal", "read"),
        Acl("tax", "group", "tax.", "prefixed", "read"),
    }


def test_a_grant_past_its_last_day_gives_no_rule() -> None:
    def topics(day: dt.date) -> set[str]:
        rules = access.rules(topology(), day)
        return {rule.name for rule in rules if rule.principal == "tax" and rule.resource_type == "topic"}

    assert topics(dt.date(2027, 12, 31)) == {TOPIC}
    assert topics(dt.date(2028, 1, 1)) == set()


def test_nobody_but_the_bus_may_read_raw_topics() -> None:
    readers = {
        rule.principal
        for rule in access.rules(topology(), TODAY)
        if rule.resource_type == "topic" and rule.name.startswith("raw.") and rule.operation == "read"
    }
    assert readers == {"worker", "redrive-police"}


@pytest.mark.parametrize("principal", access.principals(load(GOOD).topology))
def test_no_rule_reaches_beyond_the_bus(principal: str) -> None:
    names = ("raw.", "share.", "quarantine.", "_exchange.", "_schemas")
    for rule in access.rules(topology(), TODAY):
        if rule.principal == principal and rule.resource_type == "topic":
            assert rule.name.startswith(names), rule
            assert rule.operation in {"read", "write", "describe", "create"}, rule


def test_a_connector_reads_the_topics_of_a_debezium_where_they_are_in_the_bus_s_own_kafka() -> None:
    topics = (
        ("    table: public.person\n", "    table: public.person\n    topic: dbz.public.person\n"),
        ("    table: public.street\n", "    table: public.street\n    topic: dbz.public.street\n"),
    )
    own = ("kind: postgres\n    connection_env: POPULATION_DSN", "kind: debezium\n    before: complete")
    declared = topology(changed(own, *topics))
    read = {
        (rule.principal, rule.operation)
        for rule in access.rules(declared, TODAY)
        if rule.name == "dbz.public.person"
    }
    assert read == {("connector-population", "read"), ("connector-population", "describe_configs")}
    elsewhere = (own[1], own[1] + "\n    connection_env: THEIR_KAFKA")
    declared = topology(changed(own, elsewhere, *topics))
    assert not [rule for rule in access.rules(declared, TODAY) if rule.name == "dbz.public.person"]


def test_a_system_whose_name_begins_another_s_cannot_use_its_transactions() -> None:
    second = "  pop: {department: tax, kind: postgres, connection_env: B}\n"
    rules = access.rules(topology(changed(("resources:\n", second + "resources:\n"))), TODAY)
    ids = {
        (r.name, r.pattern)
        for r in rules
        if r.principal == "connector-pop" and r.resource_type == "transactional_id"
    }
    assert ids == {("cdc-pop", "literal")}


DELIVERED = changed(
    (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n"
        "    delivery: {kind: postgres, connection_env: TAX_DSN, schema: exchange}\ngrants:",
    )
)


def test_a_delivery_is_planned_with_the_views_that_are_granted_on_the_day() -> None:
    (delivery,) = plan(DELIVERED).deliveries
    assert (delivery.kind, delivery.connection_env, delivery.namespace) == ("postgres", "TAX_DSN", "exchange")
    assert delivery.views == ("population.person.basic",)
    declared = topology(DELIVERED)
    assert declared.delivered_views("tax", dt.date(2028, 1, 1)) == ()
    assert plan().deliveries == ()


def test_a_deliverer_keeps_places_and_accounts_and_writes_nothing_else() -> None:
    rules = {rule for rule in access.rules(topology(DELIVERED), TODAY) if rule.principal == "deliver-tax"}
    assert {(rule.resource_type, rule.name, rule.operation) for rule in rules} == {
        ("topic", TOPIC, "read"),
        ("topic", "_exchange.revocations", "read"),
        ("topic", "_exchange.accounts", "write"),
        ("topic", "_exchange.plan", "read"),
        ("group", "tax.deliver.", "read"),
        ("group", "deliver-tax.reader", "describe"),
        ("transactional_id", "deliver-tax.", "write"),
        ("transactional_id", "deliver-tax.", "describe"),
    }
    late = access.rules(topology(DELIVERED), dt.date(2028, 1, 1))
    assert not any(rule.name == TOPIC for rule in late)
    assert "deliver-tax" in access.principals(topology(DELIVERED))
