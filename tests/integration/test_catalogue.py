"""The catalogue on real databases and by commands: who may, two at once, all or nothing, and its trace."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exchange.catalogue import desk as desks
from exchange.catalogue.desk import CatalogueDesk
from exchange.catalogue.entry import Entry, Event, State
from exchange.catalogue.exchanged import Row
from exchange.cli import build
from exchange.errors import GovernanceError
from exchange.governance.store import Decision, Store
from exchange.plan import DECISIONS_TOPIC
from tests.checkers.committed import CommittedReader
from tests.stack import Stack, wait_for
from tests.unit.exchange.test_catalogue import CONTRACTS, FULL, RESOURCE
from tests.unit.exchange.topologies import GOOD, load

SHARES_STACK = True

NOW = dt.datetime(2026, 11, 23, 9, tzinfo=dt.UTC)
STREET = "population.street"
PEOPLE = """
people:
  wang-wei:
    label: {zh: 王伟, en: Wang Wei}
    roles: {steward: [police]}
  zhao-min:
    label: {zh: 赵敏, en: Zhao Min}
    roles: {steward: [police], authority: [police]}
  chen-jie:
    label: {zh: 陈洁, en: Chen Jie}
    roles: {authority: [police]}
  li-na:
    label: {zh: 李娜, en: Li Na}
    roles: {requester: [tax], steward: [tax], authority: [tax]}
"""


def desk(store: Store, text: str = GOOD + PEOPLE) -> CatalogueDesk:
    return CatalogueDesk(store, load(text).topology, CONTRACTS)


def submitted(store: Store, resource: str = RESOURCE) -> Entry:
    draft = desk(store).new("wang-wei", resource, FULL, NOW)
    return desk(store).act("wang-wei", resource, Event.SUBMIT, draft.version, NOW)


def published(store: Store, resource: str = RESOURCE) -> Entry:
    entry = submitted(store, resource)
    return desk(store).act("zhao-min", resource, Event.PUBLISH, entry.version, NOW, registry_version=3)


def noted(store: Store) -> list[Decision]:
    with store.change() as change:
        return change.decisions(0, 10_000)


def held(store: Store, resource: str = RESOURCE) -> Entry:
    (entry,) = (sheet.entry for sheet in desk(store).shelf() if sheet.name == resource)
    assert entry is not None
    return entry


def test_an_entry_is_published_and_its_contract_noted_and_the_next_draft_is_beside_it(store: Store) -> None:
    entry = published(store)
    (publication,) = entry.publications
    assert (publication.by, publication.registry_version) == ("zhao-min", 3)
    assert publication.contract_sha256 == desk(store).shelf()[0].contract_sha256
    draft = desk(store).act(
        "wang-wei", RESOURCE, Event.EDIT, entry.version, NOW, changes={"contact": "another"}
    )
    assert (draft.state, draft.told.contact, draft.content.contact) == (
        State.DRAFT,
        "大数据科",
        "another",
    )
    assert held(store) == draft


@pytest.mark.parametrize(
    ("actor", "event", "behind", "told"),
    [
        ("wang-wei", Event.PUBLISH, 0, "not authority"),
        ("zhao-min", Event.PUBLISH, 1, "version 1 was shown"),
        ("li-na", Event.PUBLISH, 0, "not authority of department police"),
        ("nobody", Event.PUBLISH, 0, "not among the people"),
        ("zhao-min", Event.RETURN, 0, "needs a reason"),
        ("wang-wei", Event.EDIT, 0, "cannot take 'edit'"),
        ("zhao-min", Event.RETIRE, 0, "cannot take 'retire'"),
        ("bus", Event.NOTICE, 0, "not among the people"),
        ("zhao-min", Event.NOTICE, 0, "only the bus itself"),
    ],
)
def test_what_may_not_be_is_refused_and_noted(
    store: Store, actor: str, event: Event, behind: int, told: str
) -> None:
    entry = submitted(store)
    with pytest.raises(GovernanceError, match=told):
        desk(store).act(actor, RESOURCE, event, entry.version - behind, NOW)
    assert held(store) == entry
    last = noted(store)[-1]
    assert (last.actor, last.event, last.outcome, last.about) == (
        actor,
        event.value,
        "refused",
        f"entry {RESOURCE}",
    )
    assert told in last.reason


def test_a_steward_with_both_roles_does_not_publish_their_own(store: Store) -> None:
    draft = desk(store).new("zhao-min", RESOURCE, FULL, NOW)
    entry = desk(store).act("wang-wei", RESOURCE, Event.SUBMIT, draft.version, NOW)
    with pytest.raises(GovernanceError, match="written by zhao-min"):
        desk(store).act("zhao-min", RESOURCE, Event.PUBLISH, entry.version, NOW)
    assert desk(store).act("chen-jie", RESOURCE, Event.PUBLISH, entry.version, NOW).state == State.PUBLISHED


def at_once(url: str, *does: Callable[[CatalogueDesk], Entry]) -> list[Entry]:
    """Do things in transactions that begin together, each on connections of its own; return what was done."""
    start, done = threading.Barrier(len(does)), []

    def run(do: Callable[[CatalogueDesk], Entry]) -> None:
        with Store(url) as own:
            start.wait(60)
            with suppress(GovernanceError):
                done.append(do(desk(own)))

    threads = [threading.Thread(target=run, args=(do,)) for do in does]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return done


def test_of_several_who_act_on_one_version_one_gets_through(url: str, store: Store) -> None:
    version = submitted(store).version

    def act(actor: str, event: Event) -> Callable[[CatalogueDesk], Entry]:
        return lambda at: at.act(actor, RESOURCE, event, version, NOW, reason="because")

    does = [act("zhao-min", Event.PUBLISH), act("chen-jie", Event.RETURN), act("wang-wei", Event.WITHDRAW)]
    assert len(at_once(url, *does)) == 1
    drafts = [lambda at, who=who: at.new(who, STREET, FULL, NOW) for who in ("wang-wei", "zhao-min")]
    assert len(at_once(url, *drafts)) == 1
    told = noted(store)
    assert [one.sequence for one in told] == list(range(1, len(told) + 1))
    assert sum(one.outcome == "refused" for one in told) == 3


def test_a_changed_contract_makes_an_entry_due_once_and_it_is_submitted_again(store: Store) -> None:
    entry = published(store)
    assert [one.resource for one in desk(store).sweep(NOW)] == [STREET]  # which had no entry
    moved = desk(store, (GOOD + PEOPLE).replace("public.person", "public.people"))
    later = NOW + dt.timedelta(days=1)
    assert [one.resource for one in moved.sweep(later)] == [RESOURCE]
    assert moved.sweep(later + dt.timedelta(days=1)) == []
    due = held(store)
    assert (due.changed_at, due.state) == (later, State.PUBLISHED)
    with pytest.raises(GovernanceError, match="version"):
        moved.act("wang-wei", RESOURCE, Event.SUBMIT, entry.version, later)
    again = moved.act("wang-wei", RESOURCE, Event.SUBMIT, due.version, later)
    done = moved.act("zhao-min", RESOURCE, Event.PUBLISH, again.version, later)
    assert (done.changed_at, len(done.publications)) == (None, 2)
    assert noted(store)[-1].state == "published"


def test_an_element_is_settled_by_who_is_authority_of_all_that_claim_it(store: Store) -> None:
    published(store)
    at = desk(store)
    settle = ("人口", "DE00032", RESOURCE)
    with pytest.raises(GovernanceError, match="not claimed by several"):
        at.settle("zhao-min", *settle, "law", NOW)
    published(store, STREET)
    for actor, reason, told in (
        ("wang-wei", "law", "not authority"),
        ("li-na", "law", "not authority"),
        ("zhao-min", " ", "needs a reason"),
    ):
        with pytest.raises(GovernanceError, match=told):
            at.settle(actor, *settle, reason, NOW)
        assert at.claims()[0].source == ""
    at.settle("zhao-min", *settle, "law", NOW)
    assert at.claims()[0].source == RESOURCE
    last = noted(store)[-1]
    assert (last.about, last.reason) == ("element 人口/DE00032", f"{RESOURCE}: law")


# --- imports ----------------------------------------------------------------------------------------------


def rows(*names: str, contact: str = "new") -> list[Row]:
    return [Row(f"a.csv:{n}", name, {"contact": contact}) for n, name in enumerate(names, 2)]


def contacts(store: Store) -> list[str]:
    return [sheet.entry.content.contact for sheet in desk(store).shelf() if sheet.entry]


def test_an_import_is_all_or_nothing_and_a_dry_run_writes_nothing(store: Store) -> None:
    desk(store).new("wang-wei", RESOURCE, FULL, NOW)
    before = noted(store)
    tried = desk(store).take_in("wang-wei", rows(RESOURCE, STREET), NOW, dry_run=True)
    assert [(one.is_new, one.changed) for one in tried] == [(False, ("contact",)), (True, ("contact",))]
    assert (contacts(store), noted(store)) == (["大数据科"], before)

    bad = desk(store).take_in("wang-wei", rows(RESOURCE, STREET, "population.none"), NOW)
    assert [bool(one.refused) for one in bad] == [False, False, True]
    assert contacts(store) == ["大数据科"]
    assert "1 of 3 rows" in noted(store)[-1].reason

    desk(store).take_in("wang-wei", rows(RESOURCE, STREET), NOW)
    assert contacts(store) == ["new", "new"]
    told = noted(store)
    desk(store).take_in("wang-wei", rows(RESOURCE, STREET), NOW)
    assert [one.event for one in noted(store)[len(told) :]] == ["import"]


def test_an_import_that_breaks_off_in_the_middle_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    take = CatalogueDesk._take

    def breaks(self: CatalogueDesk, change: Any, sheet: Any, *given: Any) -> None:
        take(self, change, sheet, *given)
        taken.append(sheet.name)
        if len(taken) == 2:
            raise GovernanceError("planted")

    monkeypatch.setattr(desks.CatalogueDesk, "_take", breaks)
    desk(store).take_in("wang-wei", rows(RESOURCE, STREET), NOW)
    assert taken == [RESOURCE, STREET]
    assert contacts(store) == []
    assert [(one.event, one.outcome) for one in noted(store)] == [("import", "refused")]


def test_others_and_those_that_are_submitted_are_not_overwritten_by_an_import(store: Store) -> None:
    submitted(store)
    (one,) = desk(store).take_in("wang-wei", rows(RESOURCE), NOW)
    assert "is submitted" in one.refused[0]
    (other,) = desk(store).take_in("li-na", rows(STREET), NOW)
    assert "not steward of department police" in other.refused[0]
    with pytest.raises(GovernanceError, match="not among the people"):
        desk(store).take_in("nobody", rows(STREET), NOW)


# --- by commands ------------------------------------------------------------------------------------------


def test_the_journey_of_an_entry_by_commands(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "topology.yaml").write_text(GOOD + PEOPLE)
    (tmp_path / "avro" / "population").mkdir(parents=True)
    contract = CONTRACTS[RESOURCE].document
    (tmp_path / "avro" / "population" / "person.avsc").write_text(json.dumps(dict(contract)))
    monkeypatch.setenv("EXCHANGE_HOME", str(stack.home))
    monkeypatch.setenv("EXCHANGE_TOPOLOGY", str(tmp_path / "topology.yaml"))
    monkeypatch.setenv("EXCHANGE_CONTRACTS", str(tmp_path / "avro"))
    command = build()

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(command, ["catalogue", *words])
        assert done.exit_code == code, done.output
        return f"{done.stdout}{done.exception}"

    def answer(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run(*words, "--json").removesuffix("None"))
        return found

    assert "missing: population.person has no entry" in run("check", code=2)
    run("new", RESOURCE, "--as", "wang-wei", "--library-kind", "base", "--library", "人口")
    early = run("submit", RESOURCE, "--as", "wang-wei", "--version", "1", code=1)
    assert "give --description-zh, --contact" in early
    kind = run("edit", RESOURCE, "--as", "w", "--version", "1", "--library-kind", "x", code=1)
    assert "--library-kind: " in kind
    run("export", "--format", "xlsx", "-o", str(tmp_path / "a.xlsx"), "--resource", RESOURCE)
    sheet = tmp_path / "a.csv"
    sheet.write_text(f"resource,description_zh,contact,share\n{RESOURCE},常住人口,大数据科,none\n")
    told = run("import", str(sheet), "--as", "wang-wei", "--dry-run", code=1)
    assert f"refused: {sheet}:2: share: the bus has 'conditional'" in told
    sheet.write_text(sheet.read_text().replace("none", "conditional"))
    run("import", str(sheet), "--as", "wang-wei")
    run("submit", RESOURCE, "--as", "wang-wei", "--version", "2")
    done = answer("publish", RESOURCE, "--as", "zhao-min", "--version", "3")
    assert (done["state"], done["version"]) == ("published", 4)
    assert answer("search", "常住")["resources"][0]["resource"] == RESOURCE
    assert "公民身份号码 ID number: grade 4, id_number, DE00032" in run("show", RESOURCE)
    assert "noted: population.street" in run("sweep")
    assert [(one.event, one.outcome) for one in in_kafka(stack, "entry", 7)] == [
        ("new", "done"),
        ("submit", "refused"),
        ("edit", "done"),
        ("import", "done"),
        ("submit", "done"),
        ("publish", "done"),
        ("notice", "done"),
    ]


def in_kafka(stack: Stack, word: str, count: int) -> list[Decision]:
    """Return the decisions about entries, or objections, in Kafka, once there are so many."""
    with closing(CommittedReader(stack.settings.kafka_client("admin"), [DECISIONS_TOPIC])) as reader:
        found: list[Decision] = []

        def all_read() -> bool:
            read = (Decision.model_validate_json(message.value() or b"") for message in reader.read())
            found.extend(one for one in read if one.about.startswith(word))
            return len(found) >= count

        wait_for(all_read, "the decisions in Kafka")
    return found
