"""Systems without a database in topology.yaml: what they need, and what they cannot give."""

from __future__ import annotations

import pytest

from exchange.errors import ConfigError
from tests.unit.exchange.topologies import changed, load

DATABASE = "    kind: postgres\n    connection_env: POPULATION_DSN\n"
HTTP = "    kind: http\n    listen: 127.0.0.1:8480\n    keys_env: POPULATION_KEYS\n"
ROWS = "    rows:\n      - field: region_code\n        prefix: ['3301']\n"
PUSHED = ((DATABASE, HTTP), (ROWS, ""))


def report(*replacements: tuple[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        load(changed(*replacements))
    return str(refused.value)


def test_a_system_that_pushes_is_valid() -> None:
    topology = load(changed(*PUSHED)).topology

    assert topology.databases() == {}


def test_a_view_of_some_rows_is_refused_where_nobody_knows_the_row_before() -> None:
    assert "comes without the row before a change" in report((DATABASE, HTTP))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    keys_env: POPULATION_KEYS\n", "", "systems.population: 'keys_env' is missing"),
        ("    kind: http\n", "    kind: http\n    slot: a\n", "unknown key 'slot' (allowed: department"),
        ("127.0.0.1:8480", "localhost", "an address to listen on"),
        ("127.0.0.1:8480", "127.0.0.1:99999", "port 99999 is not one of 1 to 65535"),
        ("table: public.person\n", "table: public.person\n    folder: a\n", "of kind http; remove it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_system_that_pushes_is_said(old: str, new: str, told: str) -> None:
    text = changed(*PUSHED)
    assert text.count(old) == 1
    with pytest.raises(ConfigError) as refused:
        load(text.replace(old, new))

    assert told in str(refused.value)


def test_two_systems_share_neither_address_nor_keys() -> None:
    second = "  other:\n    department: police\n" + HTTP + "resources:\n"
    told = report(*PUSHED, ("resources:\n", second))

    assert "listen is that of system 'population' too" in told
    assert "keys_env is that of system 'population' too" in told


def test_each_resource_of_files_has_a_folder_of_its_own() -> None:
    files = ((DATABASE, "    kind: files\n"), (ROWS, ""))
    tables = ("table: public.person\n", "table: public.person\n    folder: /a\n")
    assert report(*files).count("'folder' is missing") == 2
    assert "too; each resource needs its own" in report(
        *files, tables, ("table: public.street\n", "table: public.street\n    folder: /a\n")
    )
