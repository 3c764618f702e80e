from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from exchange.errors import TransientError
from exchange.identity.caller import Sight
from exchange.plan import PublishedPlan
from monitor.api.app import build
from monitor.api.models import AccountsProgress, Health, PartHealth, Status
from monitor.clickhouse.client import Ask, ClickHouse
from monitor.figures import Figures
from monitor.overview import Overview
from monitor.registry.store import Store


class EmptyClickHouse(ClickHouse):
    """Answers every query with no rows, or fails as told."""

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def query(self, name: str, **_parameters: Any) -> list[dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return []

    def together(self, asks: Callable[[Ask], Any]) -> Any:
        return asks(self.query)


class Unwell:
    def health(self) -> Health:
        return Health(ok=False, parts={"accounts": PartHealth(ok=False, text="Kafka: no answer")})

    def status(self) -> Status:
        raise RuntimeError("a driver's text with 110101199003078515 in it")

    def glance(self, seen: Sight | None = None) -> Overview:
        raise RuntimeError("a driver's text with 110101199003078515 in it")

    def plan(self) -> PublishedPlan | None:
        return None

    def readers_of(self, view_topic: str) -> tuple[str, ...] | None:
        return None

    def progress(self) -> AccountsProgress:
        return AccountsProgress(next_offset=7, end_offset=9, ingested=7)

    def alerts(self) -> None:
        return None


@pytest.fixture
def clickhouse() -> EmptyClickHouse:
    return EmptyClickHouse()


def get(clickhouse: ClickHouse, path: str) -> httpx.Response:
    app = build(Unwell(), Figures(clickhouse, lambda: 1_800_000_000_000), Store({}), SecretStr("pass"))

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path)

    return asyncio.run(call())


@pytest.mark.parametrize(
    "path",
    [
        "/api/routes?window_s=1",
        "/api/routes?window_s=abc",
        "/api/routes?window=300",
        "/api/accounts/balance?minutes=0",
        "/api/accounts/balance?minutes=99999999",
        "/api/accounts/balance?per=hour",
        "/api/refusals?limit=1001",
        "/api/status?verbose=1",
        "/api/subscribers?x=1",
        "/api/route?topic=raw.a",
        "/api/route?topic=raw.a&view_topic=share.a.v&span=year",
    ],
)
def test_parameter_that_does_not_fit_is_a_problem_document(clickhouse: EmptyClickHouse, path: str) -> None:
    answer = get(clickhouse, path)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 400
    assert answer.json()["errors"]


def test_what_was_sent_is_not_repeated(clickhouse: EmptyClickHouse) -> None:
    assert "110101199003078515" not in get(clickhouse, "/api/routes?window_s=110101199003078515x").text


def test_unknown_path_is_a_problem_document(clickhouse: EmptyClickHouse) -> None:
    answer = get(clickhouse, "/api/nothing")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_clickhouse_away_is_503_with_a_time_to_retry(clickhouse: EmptyClickHouse) -> None:
    clickhouse.failure = TransientError("ClickHouse: DatabaseError")

    answer = get(clickhouse, "/api/routes")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_metrics_say_which_part_is_down_while_clickhouse_is_away(clickhouse: EmptyClickHouse) -> None:
    clickhouse.failure = TransientError("ClickHouse: DatabaseError")

    answer = get(clickhouse, "/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'exchange_monitor_part_up{part="accounts"} 0.0' in answer.text
    assert "exchange_accounts_lag 2.0" in answer.text
    assert "exchange_accounts_balanced" not in answer.text


def test_text_of_an_unforeseen_error_stays_inside(clickhouse: EmptyClickHouse) -> None:
    answer = get(clickhouse, "/api/status")

    assert answer.status_code == 500
    assert "110101199003078515" not in answer.text


def test_health_is_503_while_a_part_waits_and_says_which(clickhouse: EmptyClickHouse) -> None:
    answer = get(clickhouse, "/health")

    assert answer.status_code == 503
    assert answer.json()["parts"]["accounts"]["text"] == "Kafka: no answer"


def test_a_route_that_is_none_is_404(clickhouse: EmptyClickHouse) -> None:
    assert get(clickhouse, "/api/route?topic=raw.a&view_topic=share.a.v").status_code == 404


def test_openapi_describes_every_path(clickhouse: EmptyClickHouse) -> None:
    paths = get(clickhouse, "/openapi.json").json()["paths"]
    assert {"/api/route", "/metrics"} <= set(paths)

    assert {"/api/routes", "/api/status", "/api/accounts/balance", "/api/refusals", "/subjects"} <= set(paths)
