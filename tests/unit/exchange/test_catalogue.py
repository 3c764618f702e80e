"""The catalogue as values: every order of events, sources of elements, search, and files out and in."""

from __future__ import annotations

import copy
import datetime as dt
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from exchange.catalogue import authority, check, dcat, elements, entry, formats, odcs, table
from exchange.catalogue.authority import acts, seen
from exchange.catalogue.entry import ENDS, TABLE, Content, Entry, Event, Publication, State
from exchange.catalogue.exchanged import Row, judge, row_of
from exchange.catalogue.search import search
from exchange.catalogue.sheet import Sheet, sheets
from exchange.contract import Contract
from exchange.errors import ConfigError, ContractError, GovernanceError
from exchange.files import packed as files_packed
from exchange.governance import clock
from exchange.governance.clock import Notice
from exchange.governance.request import Who
from exchange.identity.caller import Caller, Roles
from exchange.topology.model import Governance
from tests.unit.exchange.test_governance import NOW, PEOPLE, days_worked_until
from tests.unit.exchange.topologies import GOOD, PERSON, load

RULES = Governance()
FULL = Content(
    library_kind="base",
    library="人口",
    description_zh="全省常住人口，每人一条",
    description_en="Residents, one row each",
    contact="大数据科",
)
RESOURCE = "population.person"
SCHEMA = Path(__file__).parents[2] / "data" / "odcs" / "odcs-json-schema-v3.1.0.json"


def with_elements() -> Contract:
    document: dict[str, Any] = copy.deepcopy(PERSON)
    document["fields"][0]["element"] = "DE00032"
    place = {"type": "record", "name": "Place", "fields": [document["fields"][2] | {"name": "code"}]}
    document["fields"].append(
        {
            "name": "stays",
            "type": {"type": "array", "items": place},
            "classification": 2,
            "label": {"zh": "暂住地", "en": "Stays"},
            "rules": [],
        }
    )
    return Contract.parse(document, "person.avsc")


CONTRACTS = {RESOURCE: with_elements()}


def published(resource: str = RESOURCE, content: Content = FULL, **changes: Any) -> Entry:
    made = Entry(
        id=1,
        resource=resource,
        state=State.PUBLISHED,
        content=content,
        published=content,
        since=NOW,
        publications=(Publication(at=NOW, by="zhao-min", contract_version=1, contract_sha256="0"),),
    )
    return made.model_copy(update=changes)


def shelf(*entries: Entry) -> list[Sheet]:
    return sheets(load(GOOD).topology, CONTRACTS, list(entries))


# --- every order of events --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """One event that was carried out, and the entry before and after."""

    event: Event
    actor: str
    described: str
    before: Entry
    after: Entry


ACTORS = ("wang-wei", "zhao-min")
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(Event),
        st.sampled_from(ACTORS),
        st.sampled_from(["", "because"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from([FULL, Content()]),
    ),
    max_size=14,
)
Events = list[tuple[Event, str, str, str, Content]]


def run(events: Events) -> list[Done]:
    now, history = Entry(resource=RESOURCE, since=NOW, changed_at=NOW), []
    for event, actor, reason, described, content in events:
        publication = Publication(at=NOW, by=actor, contract_version=1, contract_sha256=described)
        try:
            after = entry.advance(
                now,
                event,
                actor,
                NOW,
                reason=reason,
                content=content,
                described=described,
                publication=publication,
            )
        except GovernanceError:
            continue
        history.append(Done(event, actor, described, now, after))
        now = after
    return history


def violations(history: list[Done]) -> Iterator[str]:
    """Yield what must never be, whatever the order; told from the events alone."""
    writers: set[str] = set()
    handed_in = ("", Content())
    for done in history:
        if done.after.version != done.before.version + 1:
            yield "a version was left out"
        if done.before.state in ENDS:
            yield "something happened after the end"
        if done.event == Event.SUBMIT:
            handed_in = (done.described, done.before.content)
            if not done.before.content.description_zh:
                yield "something incomplete was handed in"
        if done.event in (Event.EDIT, Event.SUBMIT):
            writers = (set() if done.before.state == State.PUBLISHED else writers) | {done.actor}
        if done.event in (Event.PUBLISH, Event.RETURN) and done.actor in writers:
            yield "somebody decided on what they wrote"
        if done.event == Event.PUBLISH and (done.described, done.after.published) != handed_in:
            yield "something else was published than was handed in"
        if done.event != Event.PUBLISH and done.after.published != done.before.published:
            yield "what is in force changed without a publication"
        if done.event in (Event.RETURN, Event.RETIRE) and not done.after.reason:
            yield "a reason is missing"
    for before, after in pairwise(history):
        if before.after != after.before:
            yield "a state came from nowhere"


@given(EVENTS)
def test_no_order_of_events_breaks_a_rule(events: Events) -> None:
    assert list(violations(run(events))) == []


def event(
    one: Event, actor: str = "wang-wei", described: str = "one"
) -> tuple[Event, str, str, str, Content]:
    return one, actor, "because", described, FULL


@pytest.mark.parametrize(
    ("name", "planted", "events"),
    [
        ("_DECISIONS", frozenset[Event](), [event(Event.PUBLISH)]),
        (
            "TABLE",
            (*TABLE, entry.Step(State.RETIRED, Event.EDIT, State.DRAFT, Who.STEWARD)),
            [event(Event.PUBLISH, "zhao-min"), event(Event.RETIRE), event(Event.EDIT)],
        ),
        ("_WITH_REASON", frozenset[Event](), [(Event.RETURN, "zhao-min", "", "one", FULL)]),
        (
            "_REQUIRED",
            (),
            [event(Event.WITHDRAW), (Event.EDIT, "wang-wei", "", "one", Content()), event(Event.SUBMIT)],
        ),
    ],
)
def test_the_checker_sees_a_rule_that_was_taken_out(
    monkeypatch: pytest.MonkeyPatch, name: str, planted: object, events: Events
) -> None:
    begin = [event(Event.EDIT), event(Event.SUBMIT)]
    assert list(violations(run([*begin, *events]))) == []
    monkeypatch.setattr(entry, name, planted)
    assert list(violations(run([*begin, *events])))


def test_what_was_changed_since_it_was_handed_in_is_not_published() -> None:
    submitted = run([event(Event.EDIT), event(Event.SUBMIT)])[-1].after
    with pytest.raises(GovernanceError, match="changed since it was submitted"):
        entry.advance(submitted, Event.PUBLISH, "zhao-min", NOW, described="two")


def test_every_state_is_reached_and_only_the_end_has_no_way_on() -> None:
    assert {step.target for step in TABLE} == set(State)
    assert set(State) - {step.state for step in TABLE} == ENDS
    ways = [(step.state, step.event) for step in TABLE]
    assert len(ways) == len(set(ways))


# --- by when ----------------------------------------------------------------------------------------------


def test_an_entry_is_overdue_past_twenty_working_days_of_a_change() -> None:
    for number in range(0, 365, 9):
        day = dt.date(2026, 1, 1) + dt.timedelta(days=number)
        since = dt.datetime.combine(day, dt.time(23, 30), clock.ZONE)
        (person, _street) = shelf(published(changed_at=since))
        due = check.deadline(person, RULES)
        assert due is not None
        assert days_worked_until(day, due.day) == 20
        late = dt.datetime.combine(due.day + dt.timedelta(days=1), dt.time(0, 1), clock.ZONE)
        assert check.notice(person, late, RULES) == Notice.OVERDUE
        assert check.notice(person, late - dt.timedelta(minutes=2), RULES) == Notice.REMINDER
        kinds = [(one.kind, one.about) for one in check.lacks([person], [], late, RULES)]
        assert kinds == [("overdue", RESOURCE)]


def test_a_change_of_table_contract_or_share_makes_an_entry_old_and_another_view_does_not() -> None:
    (person, _street) = shelf()
    digest = person.described_sha256
    same = sheets(
        load(GOOD.replace("full_name: {kind: partial, keep_first: 1}", "full_name: redact")).topology,
        CONTRACTS,
        [],
    )
    assert same[0].described_sha256 == digest
    for old, new in (("public.person", "public.people"), ("conditional", "unconditional"), ("A-1", "A-9")):
        assert sheets(load(GOOD.replace(old, new)).topology, CONTRACTS, [])[0].described_sha256 != digest
    plain = {RESOURCE: Contract.parse(PERSON, "person.avsc")}
    assert sheets(load(GOOD).topology, plain, [])[0].described_sha256 != digest


def test_a_reverted_change_is_no_longer_due() -> None:
    held = published(published_sha256="one")
    changed = entry.advance(held, Event.NOTICE, "bus", NOW, described="two")
    assert changed.changed_at == NOW
    assert entry.advance(changed, Event.NOTICE, "bus", NOW, described="one").changed_at is None


# --- one datum, one source --------------------------------------------------------------------------------


def test_two_published_resources_of_a_library_that_claim_an_element_are_flagged_until_one_is_named() -> None:
    both = shelf(published(), published("population.street"))
    (claim,) = elements.claims(both, [])
    assert (claim.library, claim.element, claim.source) == ("人口", "DE00032", "")
    assert claim.fields == {RESOURCE: ("id_number",), "population.street": ("id_number",)}
    assert [one.kind for one in check.lacks([], [claim], NOW, RULES)] == ["unsettled"]

    named = elements.Naming(
        id=1, library="人口", element="DE00032", resource=RESOURCE, by="z", at=NOW, reason="r"
    )
    (settled,) = elements.claims(both, [named])
    assert settled.source == RESOURCE
    assert check.lacks([], [settled], NOW, RULES) == []
    gone = named.model_copy(update={"id": 2, "resource": "population.gone"})
    assert elements.claims(both, [gone, named])[0].source == ""


@pytest.mark.parametrize(
    "other",
    [
        published("population.street", state=State.RETIRED),
        published("population.street", published=None, state=State.DRAFT),
        published("population.street", published=FULL.model_copy(update={"library": "教育"})),
    ],
)
def test_what_is_not_in_force_or_of_another_library_claims_nothing(other: Entry) -> None:
    assert elements.claims(shelf(published(), other), []) == []


def test_an_element_that_is_no_code_is_refused_in_the_contract() -> None:
    document: dict[str, Any] = copy.deepcopy(PERSON)
    document["fields"][0]["element"] = "no code"
    with pytest.raises(ContractError, match="element: expected the code"):
        Contract.parse(document, "person.avsc")


# --- search -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("身份号", [RESOURCE, "population.street"]),
        ("常住人口", [RESOURCE]),
        ("RESIDENTS", [RESOURCE, "population.street"]),
        ("ｐｅｒｓｏｎ each", [RESOURCE]),
        ("公安 街道", ["population.street"]),
        ("de00032 A-2", ["population.street"]),
        ("nowhere", []),
        ("100%", []),
        ("_", [RESOURCE, "population.street"]),
    ],
)
def test_search_finds_words_and_parts_of_them_in_both_languages(words: str, found: list[str]) -> None:
    assert [sheet.name for sheet in search(shelf(published()), words)] == found


# --- files ------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)


def restored(tmp_path: Path, format_: str, sheet: Sheet) -> Row:
    path = tmp_path / {"csv": "a.csv", "xlsx": "a.xlsx", "odcs": "a", "dcat": "a.jsonld"}[format_]
    formats.write(format_, path, [sheet])
    (row,) = formats.read(path)
    return row


def nobody_refused(_resource: str) -> None:
    """Take everybody for a steward."""


@pytest.mark.parametrize("format_", sorted(formats.WRITERS))
@settings(max_examples=20)
@given(zh=TEXTS, en=TEXTS, contact=TEXTS, library=TEXTS)
def test_what_is_exported_is_taken_in_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, format_: str, zh: str, en: str, contact: str, library: str
) -> None:
    content = Content(
        library_kind="theme", library=library, description_zh=zh, description_en=en, contact=contact
    )
    (sheet, _street) = shelf(published(content=content))
    row = restored(tmp_path_factory.mktemp("out"), format_, sheet)
    (judged,) = judge([row], {RESOURCE: replace(sheet, entry=None)}, nobody_refused)
    assert judged.refused == ()
    assert judged.content == content


def test_the_round_trip_sees_what_a_format_leaves_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(odcs._CUSTOM, "descriptionEn")
    (sheet, _street) = shelf(published())
    (judged,) = judge(
        [restored(tmp_path, "odcs", sheet)], {RESOURCE: replace(sheet, entry=None)}, nobody_refused
    )
    assert judged.content != FULL


def test_a_contract_of_odcs_passes_its_published_schema(tmp_path: Path) -> None:
    validator = jsonschema.Draft201909Validator(json.loads(SCHEMA.read_text()))
    for content in (FULL, Content()):
        (sheet, _street) = shelf(published(content=content))
        formats.write("odcs", tmp_path, [sheet])
        made = YAML(typ="safe", pure=True).load((tmp_path / f"{RESOURCE}.odcs.yaml").read_text())
        assert [error.message for error in validator.iter_errors(made)] == []
    broken = made | {"status": None}
    assert list(validator.iter_errors(broken))


def test_dcat_holds_what_the_profile_demands_and_no_draft(tmp_path: Path) -> None:
    formats.write("dcat", tmp_path / "a.jsonld", shelf(published()))
    made = json.loads((tmp_path / "a.jsonld").read_text())
    for name in ("dct:title", "dct:description", "dct:publisher", "dcat:dataset"):
        assert made[name]
    (dataset,) = made["dcat:dataset"]
    assert dataset["dct:title"][0] == {"@value": "人口基本信息", "@language": "zh"}
    assert dataset["dct:description"][0]["@value"] == FULL.description_zh
    assert dataset["dct:identifier"] == "A-1"
    assert formats.read(tmp_path / "a.jsonld")[0].resource == RESOURCE


def refusals(columns: dict[str, str], fields: dict[str, dict[str, str]] | None = None) -> tuple[str, ...]:
    (sheet, _street) = shelf(published())
    row = Row("a.csv:2", RESOURCE, columns, fields)
    return judge([row], {RESOURCE: sheet}, nobody_refused)[0].refused


def test_an_import_that_contradicts_topology_or_contract_is_refused_with_the_reason() -> None:
    (sheet, _street) = shelf(published())
    assert refusals(row_of(sheet)) == ()
    assert "the bus has 'conditional'" in refusals({"share": "unconditional"})[0]
    assert "unknown column" in refusals({"libary": "x"})[0]
    assert "library_kind" in refusals({"library_kind": "other"})[0]
    paths = {path: {"classification": str(leaf.classification)} for path, leaf in sheet.leaves()}
    assert refusals({}, paths) == ()
    assert "is not in the contract" in refusals({}, paths | {"salary": {}})[0]
    assert (
        "of the contract is missing" in refusals({}, {p: c for p, c in paths.items() if p != "full_name"})[0]
    )
    assert "grade in the contract is 4" in refusals({}, paths | {"id_number": {"classification": "1"}})[0]


def test_a_row_of_no_resource_twice_or_of_somebody_elses_is_refused() -> None:
    (sheet, _street) = shelf(published())

    def denied(_resource: str) -> None:
        raise GovernanceError("not steward")

    rows = [Row("1", "population.persn", {}), Row("2", RESOURCE, {}), Row("3", RESOURCE, {})]
    told = [one.refused for one in judge(rows, {RESOURCE: sheet}, denied)]
    assert "Did you mean" in told[0][0]
    assert told[1] == ("not steward",)
    assert "twice" in told[2][0]


def test_a_cell_that_looks_like_a_formula_is_text_in_both(tmp_path: Path) -> None:
    (sheet, _street) = shelf(published(content=FULL.model_copy(update={"contact": "=1+1"})))
    formats.write("csv", tmp_path / "a.csv", [sheet])
    assert "'=1+1" in (tmp_path / "a.csv").read_text(encoding="utf-8-sig")
    for format_ in ("csv", "xlsx"):
        assert restored(tmp_path, format_, sheet).columns["contact"] == "=1+1"


def packed(parts: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"\xff\xfe", "not UTF-8"),
        ("a.csv", b"library\nx\n", "first row must name"),
        ("a.csv", b"resource,library\nx,y,z\n", "3 cells"),
        ("a.csv", b'resource\n"x', "a.csv:2: not CSV"),
        ("a.xlsx", b"PK", "not an Excel file"),
        ("a.yaml", b"apiVersion: v2.2.2\n", "apiVersion v3.1.0"),
        ("a.yaml", b"apiVersion: v3.1.0\nkind: DataContract\n", "not shaped as"),
        ("a.jsonld", b"{", "not JSON"),
        ("a.jsonld", b"{}", "another @context"),
        ("a.txt", b"", "of another kind"),
        ("a.csv", "resource\n人口".encode("gb18030"), "not UTF-8"),
        ("a.csv", b"x" * (formats.MOST_BYTES + 1), "larger than 8 MiB"),
        ("a.yaml", b"# " + b"x" * 300_000, "larger than 256 KiB"),
        ("a.yaml", b"a: &a [*a]\n", "anchors"),
        ("a.yaml", b"apiVersion: v3.1.0\nkind: DataContract\nschema: [a, b]\n", "not shaped as"),
        ("a.jsonld", json.dumps({"@context": dcat.CONTEXT, "dcat:dataset": 7}).encode(), "not a list"),
        ("a.jsonld", b"[" * 100_000, "not JSON"),
        ("a.zip", b"PK", "not a ZIP file"),
        ("a.zip", packed({"a.txt": b""}), "no file like"),
        ("a.zip", packed({"a.yaml": b"x"}), "apiVersion v3.1.0"),
        ("a.xlsx", packed({"a.xml": b""}), "not an Excel file"),
        ("a.xlsx", packed({"xl/workbook.xml": b"<x/>"}), "not an Excel file"),
        ("a.xlsx", packed({"a.xml": bytes(40 * 1_048_576)}), "unpacks to more than 32 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        formats.read(tmp_path / name)


def test_a_zip_of_contracts_is_taken_in_as_their_folder_is() -> None:
    (sheet, street) = shelf(published())
    rows = formats.parse("a.zip", formats.WRITERS["odcs"][1]([sheet, street]))
    assert [row.resource for row in rows] == [sheet.name, street.name]
    assert rows[0].where == f"a.zip/{RESOURCE}.odcs.yaml"


def test_a_bomb_that_tells_a_small_size_is_not_unpacked() -> None:
    """Size and checksum are made to fit the first bytes: whoever believes them finds nothing wrong."""
    content = bytearray(packed({"xl/workbook.xml": bytes(40 * 1_048_576)}))
    central = content.index(b"PK\x01\x02")
    for crc, size in ((14, 22), (central + 16, central + 24)):
        content[crc : crc + 4] = zlib.crc32(bytes(100)).to_bytes(4, "little")
        content[size : size + 4] = (100).to_bytes(4, "little")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None, "the archive says nothing against itself"
    assert {name: len(part) for name, part in table.unpacked("a.zip", bytes(content), "a ZIP").items()} == {
        "xl/workbook.xml": 100
    }
    with pytest.raises(ConfigError, match="not an Excel file"):
        formats.parse("a.xlsx", bytes(content))


def test_cells_so_far_apart_that_what_lies_between_fills_the_memory_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        page = book.add_worksheet("any")
        page.write_string(0, 0, "resource")
        page.write_string(3999, 999, "far")
    with pytest.raises(ConfigError, match="reach to row 4000, column 1000"):
        formats.read(tmp_path / "a.xlsx")
    monkeypatch.setattr(files_packed, "_expect_near", lambda *_: None)  # planted: nobody looks
    with pytest.raises(ConfigError, match="first row must name"):
        formats.read(tmp_path / "a.xlsx")


def test_numbers_that_somebody_typed_into_excel_are_read_as_they_look(tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "a.xlsx")) as book:
        page = book.add_worksheet("any")
        page.write_row(0, 0, ["resource", "contract_version", "contact"])
        page.write_row(1, 0, [RESOURCE, 1, 57188])
    (row,) = formats.read(tmp_path / "a.xlsx")
    assert row.columns == {"resource": RESOURCE, "contract_version": "1", "contact": "57188"}


def test_each_is_offered_what_the_table_the_role_and_the_content_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topology = load(GOOD + PEOPLE).topology
    empty = Entry(resource=RESOURCE, since=NOW)
    stages = {
        "missing": None,
        "empty": empty,
        "draft": empty.model_copy(update={"content": FULL}),
        "submitted": empty.model_copy(update={"state": State.SUBMITTED}),
        "retired": empty.model_copy(update={"state": State.RETIRED}),
    }

    def offered() -> dict[tuple[str, str], tuple[str, ...]]:
        [sheet] = [one for one in sheets(topology, CONTRACTS, []) if one.name == RESOURCE]
        submitted = {"submitted_sha256": sheet.described_sha256}
        return {
            (actor, name): found
            for actor in ("li-na", "wang-wei", "zhao-min", "nobody")
            for name, held in stages.items()
            if (
                found := acts(
                    topology, actor, replace(sheet, entry=held and held.model_copy(update=submitted)), NOW
                )
            )
        }

    wanted = {
        ("wang-wei", "missing"): ("new",),
        ("wang-wei", "empty"): ("edit",),
        ("wang-wei", "draft"): ("edit", "submit"),
        ("wang-wei", "submitted"): ("withdraw",),
        ("wang-wei", "retired"): ("new",),
        ("zhao-min", "empty"): ("retire",),
        ("zhao-min", "draft"): ("retire",),
        ("zhao-min", "submitted"): ("publish", "return"),
    }
    assert offered() == wanted
    monkeypatch.setattr(authority, "expect_held", lambda *_: None)  # planted: the state alone counts
    assert offered() != wanted


def test_a_draft_is_seen_by_its_stewards_and_who_sees_everything() -> None:
    topology = load(GOOD + PEOPLE).topology
    [sheet] = [one for one in sheets(topology, CONTRACTS, []) if one.name == RESOURCE]
    held = Entry(resource=RESOURCE, since=NOW, content=FULL, reason="names no use", editors=("wang-wei",))
    sheet = replace(sheet, entry=held)

    def sees(name: str, roles: Roles) -> bool:
        entry_ = seen(sheet, topology, Caller(name, roles)).entry
        assert entry_ is not None
        if entry_ == held:
            return True
        assert (entry_.content, entry_.reason, entry_.editors) == (Content(), "", ())
        return False

    assert sees("wang-wei", {"steward": ("police",)})
    assert sees("sun-li", {"auditor": ()})
    assert not sees("li-na", {"requester": ("tax",)})
    assert not sees("li-na", {"steward": ("tax",), "requester": ("police",)})
