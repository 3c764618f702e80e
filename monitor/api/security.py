"""What the OpenAPI document says of who may ask, and the token of Prometheus."""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import FastAPI, Request

from exchange.settings import METRICS_TOKEN, Secrets
from monitor.api.gate import COOKIE, PUBLIC
from monitor.api.models import Problem
from monitor.api.problem import CONTENT_TYPE, Refused

_NEEDED = {
    "401": "Nobody is logged in, and no valid token is given.",
    "403": "It is known who asks, and not theirs.",
}


def expect_metrics_token(secrets: Secrets, asked: Request) -> None:
    """Raise Refused unless a scraper has the token, where the secret EXCHANGE_METRICS_TOKEN holds one."""
    wanted = secrets.find(METRICS_TOKEN)
    if wanted is None:
        return
    header = f"Bearer {wanted.get_secret_value()}"
    if not hmac.compare_digest(asked.headers.get("authorization", "").encode(), header.encode()):
        msg = f"the token in the bus's secret {METRICS_TOKEN} is wanted: `Authorization: Bearer TOKEN`"
        raise Refused(401, msg, {"WWW-Authenticate": "Bearer"})


def describe(app: FastAPI) -> None:
    """Have the document say by what callers are known, and that problems have a type of their own."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(make())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _described(document: dict[str, Any]) -> dict[str, Any]:
    document["components"]["securitySchemes"] = {
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        "token": {"type": "http", "scheme": "bearer"},
    }
    name = _name_of_problem(document)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _problems(operation, name)
            if path.startswith("/api/") and path not in PUBLIC:
                operation["security"] = [{"session": []}, {"token": []}]
                for status, told in _NEEDED.items():
                    operation["responses"].setdefault(status, _problem(told, name))
    return document


def _name_of_problem(document: dict[str, Any]) -> str:
    """Return what the document calls problem details: an imbalance of the accounts is a `Problem` too."""
    schemas: dict[str, dict[str, Any]] = document["components"]["schemas"]
    wanted = set(Problem.model_fields)
    return next(name for name, one in schemas.items() if set(one.get("properties", ())) == wanted)


def _problem(told: str, name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"description": told, "content": {CONTENT_TYPE: {"schema": schema}}}


def _problems(operation: dict[str, Any], name: str) -> None:
    """Give problems their media type; a body or parameter that does not fit is 400 here, never 422."""
    operation["responses"].pop("422", None)
    for answer in operation["responses"].values():
        content = answer.get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        if schema.get("$ref") == f"#/components/schemas/{name}":
            content[CONTENT_TYPE] = content.pop("application/json")
