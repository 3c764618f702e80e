"""The API as an application of the test's own process, for what is planted in it or set otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from pydantic import SecretStr

from exchange.settings import Settings
from monitor.api.app import build
from monitor.api.requests import OnlineDesk
from monitor.figures import Figures
from monitor.identity import Identity
from monitor.registry.store import Store
from tests.unit.monitor.test_api import EmptyClickHouse, Unwell

PUBLIC = "http://bus.example"


def an_app(settings: Settings) -> Any:
    online = OnlineDesk(Identity(settings))
    figures = Figures(EmptyClickHouse(), lambda: 1_800_000_000_000)
    return build(Unwell(), figures, Store({}), SecretStr("pass"), online)


def call(app: Any, method: str, path: str, **given: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=PUBLIC) as client:
            return await client.request(method, path, **given)

    return asyncio.run(asked())
