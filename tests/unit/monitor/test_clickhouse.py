"""Which database of a ClickHouse is ours."""

from __future__ import annotations

import pytest

from exchange.errors import ConfigError
from monitor.clickhouse.client import database_of


@pytest.mark.parametrize(
    ("endpoint", "database"),
    [
        ("http://ch:8123", "exchange"),
        ("http://ch:8123/", "exchange"),
        ("https://bus@ch:8443/district_7", "district_7"),
        ("chdb:/var/lib/exchange/chdb", "exchange"),
    ],
)
def test_the_urls_path_names_the_database(endpoint: str, database: str) -> None:
    assert database_of(endpoint) == database


@pytest.mark.parametrize("path", ["a/b", "a-b", "7days", "x; DROP DATABASE y"])
def test_what_is_no_plain_name_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="EXCHANGE_CLICKHOUSE_URL: wanted"):
        database_of(f"http://ch:8123/{path}")
