"""Views that requests propose, as values: read, judged by the topology's rules, bound to their names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.apply import proposed
from exchange.apply.proposed import BroughtIn
from exchange.contract import Contract
from exchange.errors import ConfigError, GovernanceError
from exchange.governance import authority, proposal
from exchange.governance.desired import agreed, merged
from exchange.governance.request import Request, Route, State
from exchange.plan import PublishedPlan
from exchange.topology.model import Topology
from exchange.view import ViewSpec
from tests.unit.exchange.test_governance import PEOPLE, a_request
from tests.unit.exchange.test_plan import plan
from tests.unit.exchange.topologies import CONTRACTS, GOOD, PERSON, TODAY, load

NAME = "population.person.contact"
WRITTEN = {
    "fields": {"id_number": "token", "full_name": {"kind": "partial", "keep_first": 1}},
    "rows": [{"field": "region_code", "prefix": ["3302"]}],
}
BARE = load(GOOD + PEOPLE).topology
CONDITIONAL = "    share: conditional\n"


def a_topology(text: str = GOOD) -> Topology:
    return load(text + PEOPLE).topology


def a_proposal(state: State = State.DRAFT, view: ViewSpec | None = None, **more: Any) -> Request:
    view = view or proposal.read_view(NAME, WRITTEN)
    return a_request(state).model_copy(update={"view": NAME, "proposed": view} | more)


def wider() -> ViewSpec:
    return proposal.read_view(NAME, WRITTEN | {"fields": {"id_number": "token", "region_code": "clear"}})


def test_a_view_is_read_as_the_topology_would_read_it() -> None:
    view = proposal.read_view(NAME, WRITTEN)
    text = GOOD.replace(
        "  population.street.all:\n",
        f"  {NAME}:\n    resource: population.person\n    label: {{zh: contact, en: contact}}\n"
        "    fields: {id_number: token, full_name: {kind: partial, keep_first: 1}}\n"
        "    rows: [{field: region_code, prefix: ['3302']}]\n  population.street.all:\n",
    )
    assert a_topology(text).views[NAME] == view
    assert proposal.read_view(NAME, proposal.as_declared(view)) == view


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("Population.person.x", WRITTEN, "is not <domain>.<resource>.<view>"),
        (NAME, {}, "fields: field required"),
        (NAME, WRITTEN | {"filter": 1}, "filter: unknown key"),
        (NAME, {"fields": {"full_name": "blur"}}, "fields.full_name: 'blur' is not one of the masks"),
        (NAME, {"fields": {"full_name": None}}, "fields.full_name: a mask is wanted"),
        (NAME, {"fields": {"full_name": {"keep_first": 1}}}, "fields.full_name: a mask is wanted"),
        (NAME, {"fields": ["full_name"]}, "fields: input should be a valid dictionary"),
        (
            NAME,
            {"fields": {"full_name": {"kind": "partial", "keep_first": -1}}},
            "keep_first: input should be",
        ),
        (NAME, WRITTEN | {"resource": "population.street"}, "is called 'population.street.contact'"),
        (NAME, WRITTEN | {"rows": [{"prefix": ["3301"]}]}, "rows.0.field: field required"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_place(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(GovernanceError) as refused:
        proposal.read_view(name, given)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fields": {"id_number": "token", "full_name": "clear"}}, "fields.full_name: shows full_name"),
        ({"fields": {"full_name": "redact"}}, "fields.id_number: the key field is not shown"),
        ({"fields": {"id_number": "token", "nmae": "clear"}}, "fields.nmae: unknown field"),
        ({"fields": {"id_number": {"kind": "generalise", "to": "year"}}}, "fields.id_number: "),
        ({"rows": [{"field": "region_code", "prefix": [""]}]}, "rows[0]: an empty prefix"),
    ],
)
def test_a_proposal_is_held_to_the_rules_of_declared_views(change: dict[str, Any], told: str) -> None:
    view = proposal.read_view(NAME, WRITTEN | change)
    with pytest.raises(GovernanceError) as refused:
        proposal.expect_valid(a_topology(), CONTRACTS, NAME, view)
    assert told in str(refused.value)
    assert f"proposed view {NAME}" in str(refused.value)


def test_a_topic_that_kafka_takes_for_another_is_not_proposed() -> None:
    """That of `population.person_basic.x` is there already."""
    text = GOOD.replace("population.street.all", "population.person_basic.x")
    text = text.replace("population.street", "population.person_basic")
    name = "population.person.basic_x"
    with pytest.raises(GovernanceError, match=r"collides with share\.population\.person_basic\.x"):
        proposal.expect_valid(a_topology(text), CONTRACTS, name, proposal.read_view(name, WRITTEN))


def test_a_proposal_is_never_granted_without_the_steward() -> None:
    for share in ("    share: unconditional\n", CONDITIONAL + "    whitelist: [tax]\n"):
        topology = proposal.with_own_view(a_topology(GOOD.replace(CONDITIONAL, share)), a_proposal())
        assert authority.submitted(a_proposal(), topology, CONTRACTS).route == Route.STEWARD
    reviewed = GOOD.replace(CONDITIONAL, CONDITIONAL + "    review: authority\n")
    graded = GOOD + "governance: {authority_from_grade: 3}\n"
    for text in (reviewed, graded):
        topology = proposal.with_own_view(a_topology(text), a_proposal())
        assert authority.submitted(a_proposal(), topology, CONTRACTS).route == Route.AUTHORITY


def test_an_approval_is_of_what_was_shown() -> None:
    topology = a_topology()
    asked = authority.submitted(a_proposal(), proposal.with_own_view(topology, a_proposal()), CONTRACTS)
    authority.expect_same_view(asked, proposal.with_own_view(topology, asked))
    altered = asked.model_copy(update={"proposed": wider()})
    with pytest.raises(GovernanceError, match="was changed since"):
        authority.expect_same_view(altered, proposal.with_own_view(topology, altered))
    declared = topology.with_views({NAME: wider()})
    with pytest.raises(GovernanceError, match="was declared since, with another content"):
        authority.expect_same_view(asked, proposal.with_own_view(declared, asked))


@pytest.mark.parametrize("state", list(State))
def test_a_name_keeps_what_it_was_granted_for(state: State) -> None:
    other = a_proposal(state, view=wider(), id=2, approved_by=("wang-wei",))
    view = proposal.read_view(NAME, WRITTEN)
    proposal.expect_free(a_topology(), NAME, wider(), [other])
    if state in (State.GRANTED, State.RENEWED, State.EXPIRED, State.REVOKED, State.WITHDRAWN):
        with pytest.raises(GovernanceError, match="was granted by request 2 with another content"):
            proposal.expect_free(a_topology(), NAME, view, [other])
        assert proposal.known_view(NAME, [other]) == wider()
    else:
        proposal.expect_free(a_topology(), NAME, view, [other])
        assert proposal.known_view(NAME, [other]) is None


def test_a_declared_name_is_not_free() -> None:
    name = "population.person.basic"
    with pytest.raises(GovernanceError, match="is declared in the topology"):
        proposal.expect_free(a_topology(), name, proposal.read_view(name, WRITTEN), [])


# --- what is wanted ---------------------------------------------------------------------------------------


def test_a_granted_proposal_is_wanted_with_its_view_as_long_as_it_is_granted() -> None:
    topology = a_topology()
    assert topology.views_of("population.person").keys() == {"basic"}
    wanted = merged(topology, [a_proposal(State.GRANTED)])
    assert NAME in wanted.granted_views("tax", TODAY)
    assert wanted.views[NAME] == a_proposal().proposed
    assert wanted.views_of("population.person").keys() == {"basic", "contact"}
    assert f"share.{NAME}" in wanted.data_topics()
    assert NAME not in topology.views
    assert merged(topology, []) == topology


def test_a_proposal_of_what_is_not_shared_or_gone_is_not_wanted() -> None:
    for text in (
        GOOD.replace(CONDITIONAL, "    share: none\n").replace(GOOD[GOOD.index("grants:") :], ""),
        GOOD.replace("population.person:\n", "population.human:\n    contract: population.person\n")
        .replace("resource: population.person\n", "resource: population.human\n")
        .replace("population.person.basic", "population.human.basic"),
    ):
        topology = load(text + PEOPLE).topology
        assert merged(topology, [a_proposal(State.GRANTED)]) == topology


def test_a_name_that_is_declared_otherwise_stops_the_apply_and_says_what_to_do() -> None:
    granted = a_proposal(State.GRANTED)
    same = a_topology().with_views({NAME: proposal.read_view(NAME, WRITTEN)})
    assert agreed(same, CONTRACTS, [granted]).views == same.views
    other = a_topology().with_views({NAME: wider()})
    assert merged(other, [granted]).views[NAME] == wider()
    with pytest.raises(ConfigError) as refused:
        agreed(other, CONTRACTS, [granted])
    for told in (f"views.{NAME}", "request 1", "exchange request show 1", "exchange request end 1"):
        assert told in str(refused.value)


def test_a_contract_that_a_granted_proposal_no_longer_fits_stops_the_apply() -> None:
    fields = [field for field in PERSON["fields"] if field["name"] != "full_name"]  # type: ignore[attr-defined]
    narrower = {"population.person": Contract.parse(PERSON | {"fields": fields}, "person.avsc")}
    with pytest.raises(ConfigError, match=r"fields\.full_name: unknown field(.|\n)*granted by request 1"):
        agreed(a_topology(), narrower, [a_proposal(State.GRANTED)])


MASKS = st.sampled_from(["clear", "token", "redact", "omit", "null", {"kind": "partial", "keep_first": 1}])


@given(st.dictionaries(st.sampled_from(["id_number", "full_name", "region_code"]), MASKS))
def test_no_sensitive_field_is_proposed_clear_without_a_reason(fields: dict[str, Any]) -> None:
    view = proposal.read_view(NAME, {"fields": fields})
    try:
        proposal.expect_valid(BARE, CONTRACTS, NAME, view)
    except GovernanceError:
        return
    assert fields.get("full_name") != "clear"
    assert fields.get("id_number") == "token"


# --- beside what runs -------------------------------------------------------------------------------------


def fit(running: PublishedPlan) -> tuple[list[str], dict[str, str]]:
    """Return which views can be added to a plan, and why the others cannot."""
    done = BroughtIn(running)
    wanted = merged(BARE, [a_proposal(State.GRANTED)])
    return [one.topic for one in proposed.fit(wanted, [NAME], done)], done.refused


def test_a_view_is_added_to_what_runs_or_waits_for_an_apply() -> None:
    running = plan()
    assert fit(running) == ([f"share.{NAME}"], {})
    person, street = sorted(running.resources, key=lambda one: one.name)
    without = running.model_copy(update={"resources": (street,)})
    other = person.views[0].model_copy(update={"name": "contact"})
    taken = running.model_copy(
        update={"resources": (person.model_copy(update={"views": (*person.views, other)}), street)}
    )
    fields = [one for one in PERSON["fields"] if one["name"] != "full_name"]  # type: ignore[attr-defined]
    older = person.model_copy(update={"contract": {**person.contract, "fields": fields}})
    unfit = running.model_copy(update={"resources": (older, street)})
    for before, why in ((without, "was never applied"), (taken, "another view"), (unfit, "does not fit")):
        topics, refused = fit(before)
        assert topics == []
        assert why in refused[NAME]
        assert "run `exchange apply`" in refused[NAME]
