"""Every way to get topology.yaml wrong has its place in the file and its hint; all come at once."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import topology
from exchange.errors import ConfigError
from exchange.model import Model
from exchange.topology import doc
from exchange.topology.model import Topology
from tests.unit.exchange.topologies import CONTRACTS, GOOD, TODAY, changed, load

REPO = Path(__file__).parents[3]

# (what is replaced, by what, what the message says); § stands just before the place that must be reported.
BROKEN: dict[str, tuple[str, str, str]] = {
    "tab": ("    department: police", "§\tdepartment: police", "a tab stands where only spaces may"),
    "bad indentation": ("    kind: postgres", "   §kind: postgres", "not YAML"),
    "open bracket": (
        "prefix: ['3301']\n",
        "prefix: §['3301'\n  population.street.x: 1\n",
        "not YAML: the [ that opens here is not closed, or a comma is missing in or before line 36",
    ),
    "open brace at the end": (
        "until: 2027-12-31",
        "until: §{a: 1",
        "not YAML: the { that opens here is not closed before the file ends",
    ),
    "missing comma": ("{zh: 公安局, en", "{zh: 公安局 en§", "expected ',' or '}'"),
    "open quotes": (
        "legal_basis: 税收征收管理法",
        "legal_basis: §'税收征收管理法",
        "not YAML: the quotes (') that open here are not closed",
    ),
    "two colons": ("kind: postgres", "kind: postgres§: 9.6", "a second ': ' in one line"),
    "forbidden first character": ("catalogue_code: A-1", "catalogue_code: §@A-1", "put it in quotes"),
    "control character": (
        "catalogue_code: A-1",
        "catalogue_code: A§\x07-1",
        "a control character stands here",
    ),
    "alias of nothing": ("catalogue_code: A-1", "catalogue_code: §*code", "write the value out"),
    "anchor": ("catalogue_code: A-1", "catalogue_code: §&code A-1", "write the value out"),
    "tag": ("catalogue_code: A-1", "catalogue_code: §!!binary A-1", "tags (!) are not taken here"),
    "key twice": (
        "    kind: postgres",
        "    kind: postgres\n    §kind: postgres",
        "given twice, first in line 9",
    ),
    "second document": ("subscribers:\n", "§---\nsubscribers:\n", "the file holds one"),
    "unknown section": ("grants:\n", "§grant:\n", "unknown key 'grant'"),
    "unknown key": ("    kind: postgres", "    kind: postgres\n    §slott: a", "Did you mean 'slot'?"),
    "unknown kind": (
        "kind: postgres",
        "kind: §oracle",
        "is not one of debezium, files, http, mariadb, mysql, postgres",
    ),
    "environment name": ("POPULATION_DSN", "§population", "an environment variable in capitals"),
    "unknown kind of delivery": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n    delivery: {kind: §oracle}\ngrants:",
        "is not one of clickhouse, files, postgres, webhook",
    ),
    "delivery without kind": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n    delivery: §{kin: files}\ngrants:",
        "of kind clickhouse, files, postgres, webhook. Did you mean 'kind'?",
    ),
    "unknown key of a delivery": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n    delivery: {kind: files, folder: a, §formt: csv}\ngrants:",
        "Did you mean 'format'?",
    ),
    "delivery without its schema": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n    §delivery: {kind: postgres, connection_env: TAX_DSN}\ngrants:",
        "'schema' is missing",
    ),
    "delivery of an unknown view": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n"
        "    delivery: {kind: files, folder: a, views: [§population.person.basics]}\ngrants:",
        "Did you mean 'population.person.basic'?",
    ),
    "delivery of a view without grant": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n"
        "    delivery: {kind: files, folder: a, views: [§population.street.all]}\ngrants:",
        "is not granted to 'tax'",
    ),
    "two deliveries to one place": (
        "label: {zh: 税务局, en: Tax}\ngrants:",
        "label: {zh: 税务局, en: Tax}\n    delivery: {kind: files, folder: /a}\n"
        "  other:\n    department: tax\n    label: {zh: 其他, en: Other}\n"
        "    delivery: {kind: files, folder: §/a}\ngrants:",
        "folder is that of subscriber 'tax' too",
    ),
    "bad department name": ("  tax:\n    label", "  §Tax:\n    label", "lower-case letters"),
    "bad resource name": ("  population.street:\n", "  §street:\n", "<domain>.<resource>"),
    "unknown department": ("department: police", "department: §polise", "Did you mean 'police'?"),
    "unknown system": (
        "system: population\n    table: public.person",
        "system: §populaton\n    table: public.person",
        "Did you mean 'population'?",
    ),
    "table without schema": ("table: public.person", "table: §person", "<schema>.<table>"),
    "table in Chinese": ("table: public.person", "table: §public.人口", "cannot stand in a Kafka topic"),
    "table captured twice": (
        "table: public.street",
        "table: §public.person",
        "captured as 'population.person'",
    ),
    "unknown contract": (
        "contract: population.person",
        "contract: §population.persons",
        "Did you mean 'population.person'?",
    ),
    "number for text": ("catalogue_code: A-1", "catalogue_code: §330100", "put it in quotes: '330100'"),
    "empty value": ("catalogue_code: A-1", "§catalogue_code:", "nothing stands here"),
    "unknown share attribute": ("share: conditional", "share: §conditonal", "Did you mean 'conditional'?"),
    "no partitions": (
        "catalogue_code: A-1",
        "catalogue_code: A-1\n    partitions: §0",
        "greater than or equal to 1",
    ),
    "unknown resource": (
        "    resource: population.street",
        "    resource: §population.streets",
        "Did you mean 'population.street'?",
    ),
    "view of another resource": (
        "  population.street.all:\n    resource: population.street",
        "  population.street.all:\n    resource: §population.person",
        "call it",
    ),
    "unknown mask": (
        "full_name: {kind: partial, keep_first: 1}",
        "full_name: §partail",
        "Did you mean 'partial'?",
    ),
    "unknown setting of a mask": ("keep_first: 1", "§keep_frist: 1", "Did you mean 'keep_first'?"),
    "mask without kind": (
        "full_name: {kind: partial, keep_first: 1}",
        "full_name: §{keep_first: 1}",
        "'kind'",
    ),
    "negative keep": ("keep_first: 1", "keep_first: §-1", "greater than or equal to 0"),
    "blank mask": ("region_code: clear", "§region_code:", "'null' in quotes"),
    "field not in the contract": (
        "      region_code: clear\n",
        "      §regon_code: clear\n",
        "'region_code'?",
    ),
    "sensitive field in clear": ("full_name: {kind: partial, keep_first: 1}", "full_name: §clear", "reason"),
    "row scope on an unknown field": ("- field: region_code", "- field: §region", "region_code"),
    "prefix as a number": ("prefix: ['3301']", "prefix: [§3301]", "put it in quotes: '3301'"),
    "prefix as one text": ("prefix: ['3301']", "prefix: §'3301'", "a list is wanted"),
    "unknown subscriber": ("- subscriber: tax", "- subscriber: §taxes", "Did you mean 'tax'?"),
    "unknown view": (
        "    view: population.person.basic",
        "    view: §population.person.basics",
        "Did you mean 'population.person.basic'?",
    ),
    "reserved subscriber": ("subscribers:\n  tax:", "subscribers:\n  §worker:", "a user of the bus itself"),
    "subscriber like a connector": (
        "subscribers:\n  tax:",
        "subscribers:\n  §connector-a:",
        "of the bus itself",
    ),
    "password of a connector": ("subscribers:\n  tax:", "subscribers:\n  §connector_a:", "password variable"),
    "grant of what is not shared": (
        "    view: population.person.basic",
        "    view: §population.street.all",
        "share: none",
    ),
    "conditional without purpose": ("    purpose: 个税汇算\n", "    purpose: §''\n", "needs a purpose"),
    "day that does not exist": ("until: 2027-12-31", "until: §2027-02-30", "a date of the calendar"),
    "date as a number": ("until: 2027-12-31", "until: §20271231", "a date is wanted"),
    "publication that PostgreSQL cannot name": (
        "kind: postgres",
        "kind: postgres\n    publication: §a-b",
        "a PostgreSQL name",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_at_its_place_with_a_hint(case: str) -> None:
    old, new, hint = BROKEN[case]
    marked = changed((old, new))
    place = f"{_place(marked, marked.index('§'))} " if "§" in marked else ""
    with pytest.raises(ConfigError) as refused:
        load(marked.replace("§", ""))
    lines = [line for line in str(refused.value).splitlines() if line.startswith(f"t.yaml:{place}".strip())]
    assert any(hint in line for line in lines), str(refused.value)


def _place(text: str, index: int) -> str:
    before = text[:index]
    return f"{before.count(chr(10)) + 1}:{index - before.rfind(chr(10))}:"


def test_a_missing_key_is_reported_at_the_entry_that_lacks_it() -> None:
    report = _report(changed(("    connection_env: POPULATION_DSN\n", "")))
    assert report.startswith("t.yaml:7:3: systems.population: 'connection_env' is missing\n")


def test_the_good_file_loads() -> None:
    loaded = load(GOOD)
    assert loaded.warnings == ""
    assert loaded.topology.publication("population") == "exchange_population"
    assert loaded.topology.steward_department("population.person") == "police"
    assert loaded.topology.granted_views("tax", TODAY) == ("population.person.basic",)


def test_the_report_shows_line_neighbours_and_caret() -> None:
    assert _report(changed(("share: conditional", "share: conditonal"))) == (
        "t.yaml:17:12: resources.population.person.share: 'conditonal' is not one of "
        "conditional, none, unconditional. Did you mean 'conditional'?\n"
        "   16 |     catalogue_code: A-1\n"
        "   17 |     share: conditonal\n"
        "      |            ^^^^^^^^^^\n"
        "   18 |   population.street:"
    )


def test_the_caret_stands_below_its_value_after_chinese_characters() -> None:
    report = _report(changed(("{zh: 税务局, en: Tax}\nsystems", "{zh: 税务局, en: Tax, em: Tax}\nsystems")))
    lines = report.splitlines()
    at = next(index for index, line in enumerate(lines) if line.endswith("^^"))
    # 税务局 takes six cells in a terminal and three characters in the line
    assert lines[at].index("^") == lines[at - 1].index("em:") + 3


def test_all_problems_come_at_once_by_line() -> None:
    report = _report(
        changed(
            ("department: police", "department: polise"),
            ("share: conditional", "share: conditonal"),
            ("region_code: clear", "region_code: claer"),
            ("until: 2027-12-31", "until: 2027-02-30"),
            ("- subscriber: tax", "- subscriber: taxes"),
            ("    kind: postgres", "    kind: postgres\n    kind: postgres"),
        )
    )
    lines = [int(line.split(":")[1]) for line in report.splitlines() if line.startswith("t.yaml:")]
    assert lines == sorted(lines)
    assert len(lines) == 6
    assert report.endswith("6 problems in t.yaml")


def test_a_broken_entry_makes_no_other_look_unknown() -> None:
    report = _report(changed(("kind: postgres", "kind: oracle")))
    assert report.count("t.yaml:") == 1
    assert "systems.population.kind" in report


def test_an_expired_grant_is_a_warning_and_gives_no_access() -> None:
    loaded = load(GOOD, today=dt.date(2028, 1, 1))
    assert loaded.warnings.startswith("t.yaml:50:12: grants[0].until: the grant ended on 2027-12-31")
    assert loaded.topology.granted_views("tax", dt.date(2028, 1, 1)) == ()
    assert loaded.topology.granted_views("tax", dt.date(2027, 12, 31)) == ("population.person.basic",)


def test_a_grant_given_twice_is_refused() -> None:
    report = _report(
        GOOD + "  - {subscriber: tax, view: population.person.basic, purpose: a, legal_basis: b}\n"
    )
    assert "t.yaml:51:29: grants[1].view: 'tax' holds 'population.person.basic' by grant 1 already" in report


def test_a_conditional_resource_needs_both_purpose_and_legal_basis() -> None:
    report = _report(changed(("    purpose: 个税汇算\n    legal_basis: 税收征收管理法\n", "")))
    assert "needs a purpose" in report
    assert "needs a legal_basis" in report


def test_two_systems_do_not_share_a_slot() -> None:
    second = "  b: {department: tax, kind: postgres, connection_env: B, slot: exchange_population}\n"
    report = _report(changed(("resources:\n", second + "resources:\n")))
    assert "t.yaml:11:65: systems.b.slot: slot 'exchange_population' is that of system 'population'" in report


def test_a_system_without_slots_is_not_given_one() -> None:
    report = _report(changed(("kind: postgres", "kind: mariadb\n    slot: a\n    publication: b")))
    assert "systems.population.slot: a mariadb system has no slot, only postgres has; take it out" in report
    assert "systems.population.publication: a mariadb system has no publication" in report


def test_a_system_of_debeziums_topics_says_which_and_what_its_old_rows_are_worth() -> None:
    adopted = ("kind: postgres\n    connection_env: POPULATION_DSN", "kind: debezium")
    report = _report(changed(adopted))
    assert "'topic' is missing: 'population' is a system of kind debezium" in report
    assert "say `before: complete` of its system" in report
    options = "kind: debezium\n    registry: https://user@registry\n    registry_env: REGISTRY"
    assert "is not a URL without user" in _report(changed((adopted[0], options)))
    options = "kind: debezium\n    registry: https://registry:8081"
    assert "only converter 'avro' has a schema registry" in _report(changed((adopted[0], options)))


def test_an_engine_of_debezium_has_no_topic_and_sets_nothing_that_the_bus_sets() -> None:
    plain = "kind: postgres\n    connection_env: POPULATION_DSN"
    engine = (
        "kind: debezium\n    before: complete\n    engine:\n      connector_class: io.debezium.a.AConnector"
        "\n      properties: {offset.storage: A, database.password: x, database.hostname: h}"
        "\n      secrets: {database.hostname: SECRET}"
    )
    table = "    table: public.person\n"
    report = _report(changed((plain, engine), (table, table + "    topic: a.public.person\n")))
    assert "'offset.storage' is set by the bus" in report
    assert "'database.password' is a secret" in report
    assert "'database.hostname' stands under 'secrets' too" in report
    assert "runs Debezium's engine, which writes no topic; remove it" in report
    assert "'topic' is missing" not in report


def test_a_topic_of_the_bus_itself_is_not_taken_for_debeziums() -> None:
    adopted = ("kind: postgres\n    connection_env: POPULATION_DSN", "kind: debezium\n    before: complete")
    table = "    table: public.person\n"
    report = _report(changed(adopted, (table, table + "    topic: raw.population.public.person\n")))
    assert "is a topic of the bus itself" in report
    report = _report(changed((table, table + "    topic: a.public.person\n")))
    assert "'population' is a system of kind postgres; remove it" in report


def test_a_topic_name_that_kafka_would_not_take_is_refused() -> None:
    name = "v" * 250
    report = _report(changed(("  population.street.all:\n", f"  population.street.{name}:\n")))
    assert "Kafka takes 249" in report


def test_topics_that_differ_only_in_dot_and_underscore_collide() -> None:
    text = changed(
        ("  population.street:\n", "  population.person_basic:\n"),
        (
            "  population.street.all:\n    resource: population.street",
            "  population.person_basic.x:\n    resource: population.person_basic",
        ),
        ("  population.person.basic:\n", "  population.person.basic_x:\n"),
        ("    view: population.person.basic\n", "    view: population.person.basic_x\n"),
    )  # fmt: skip
    assert "collides with share.population.person.basic_x" in _report(text)


def test_an_empty_file_and_a_bare_word_are_refused() -> None:
    assert _report("# nothing\n") == "t.yaml: the file is empty"
    assert "a mapping with departments" in _report("hello")


def test_a_file_that_cannot_be_read_has_one_clear_error(tmp_path: Path) -> None:
    gbk, utf16 = tmp_path / "gbk.yaml", tmp_path / "utf16.yaml"
    gbk.write_bytes("departments:\n  a: 公安\n".encode("gbk"))
    utf16.write_bytes("departments: {}\n".encode("utf-16"))
    wanted = {
        tmp_path / "none.yaml": "there is no such file",
        tmp_path: "is a directory",
        gbk: "gbk.yaml:2:6: byte 0xb9 is not UTF-8",
        utf16: "UTF-16",
    }
    for path, hint in wanted.items():
        with pytest.raises(ConfigError, match=hint):
            topology.load(path, CONTRACTS)


def test_a_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_text("\ufeff" + GOOD, encoding="utf-8")
    assert topology.load(file, CONTRACTS).systems.keys() == {"population"}


def test_deep_nesting_is_refused() -> None:
    assert "nested too deeply" in _report("a: " + "[" * 5000)


def test_every_key_of_the_file_is_described() -> None:
    missing = [f"{model.__name__}.{name}" for model in _models() for name, field in model.model_fields.items()
               if not field.description and name != "kind"]  # fmt: skip
    assert missing == []


def test_the_reference_page_is_that_of_the_models() -> None:
    page = (REPO / "docs" / "topology.md").read_text(encoding="utf-8")
    assert page == doc.render(), "run `.venv/bin/exchange check --doc > docs/topology.md`"


def _models() -> list[type[Model]]:
    return [Topology, *(model for _, model in doc.SECTIONS), *doc.masks()]


WORDS = (
    """: | -  { } [ ] ' " &a *a !x # > % @ ` ? <<: ... \\ 税 2027-99-99 1e999 0x null ~ share none %YAML"""
)
SPECIAL = [" ", "  ", "\t", "\n", "- ", "---\n", "\x00", "\u2028", "\ud800", "\ufeff", "9" * 5000]
PIECES = [*WORDS.split(), *SPECIAL]


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 6))
def test_a_mutated_file_raises_nothing_but_config_error(seed: int, edits: int) -> None:
    chance = random.Random(seed)
    text = GOOD
    for _ in range(edits):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice([0, 0, 1, 3, 30]))
        text = text[:start] + chance.choice([*PIECES, text[end : end + 40]]) + text[end:]
    with contextlib.suppress(ConfigError):
        load(text)


@given(st.text())
def test_any_text_raises_nothing_but_config_error(text: str) -> None:
    with pytest.raises(ConfigError):
        load(text)


def _report(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(text)
    return str(refused.value)
