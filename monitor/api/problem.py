"""Errors of the API as problem details. Source: RFC 9457, `application/problem+json`.

No answer repeats what was sent, and none holds the text of an error that is not ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from exchange import log
from exchange.errors import (
    ExchangeError,
    GovernanceError,
    LoginError,
    NoEntryError,
    NoRequestError,
    NoRoleError,
    NotAllowedError,
    StaleError,
)
from monitor.api.models import Problem

CONTENT_TYPE = "application/problem+json"

_log = log.get(__name__)


@dataclass
class Refused(Exception):
    """A call that is answered with a problem. detail: what was seen, what is wanted."""

    status: int
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


_STATUS: Final[dict[type[ExchangeError], int]] = {
    NotAllowedError: 403,
    NoRequestError: 404,
    NoEntryError: 404,
    StaleError: 412,
    GovernanceError: 409,
    NoRoleError: 403,
    LoginError: 401,
}
"""Error → status, the narrower ones first; every other one is of a part that does not answer."""


def status_of(error: ExchangeError) -> int:
    """Return the status that tells of an error."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 503)


def install(app: FastAPI) -> None:
    """Answer every error of an app with problem details."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ExchangeError, _known)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Exception, _unforeseen)


def answer(
    status: int, detail: str, errors: tuple[str, ...] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """Return a response that is a problem."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(problem.model_dump(), status_code=status, media_type=CONTENT_TYPE, headers=headers)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = tuple(f"{'.'.join(str(step) for step in one['loc'])}: {one['msg']}" for one in found)
    return answer(400, "The request does not fit the API; see /openapi.json", errors)


def _http(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers) if isinstance(error, HTTPException) and error.headers else None
    return answer(status, "See /openapi.json for the paths and methods there are", headers=headers)


def _known(_request: Request, error: Exception) -> JSONResponse:
    status = status_of(error) if isinstance(error, ExchangeError) else 503
    return answer(status, str(error), headers={"Retry-After": "1"} if status == 503 else None)


def _refused(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Refused):
        return answer(error.status, error.detail, headers=error.headers)
    return _unforeseen(_request, error)


def _unforeseen(_request: Request, error: Exception) -> JSONResponse:
    _log.error("api_error", exc_info=error)
    return answer(500, f"{type(error).__name__}; the monitor's log has the place")
