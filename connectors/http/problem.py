"""Errors of an HTTP interface as problem details. Source: RFC 9457, `application/problem+json`.

No answer repeats what was sent: a field's name and the rule it broke, never its value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from exchange import log

CONTENT_TYPE: Final = "application/problem+json"

_log = log.get(__name__)


@dataclass
class Problem(Exception):
    """A request that is not taken.

    detail: what was seen, what is wanted; errors: one a flaw, with the record's number and what it breaks.
    """

    status: int
    detail: str
    errors: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self) -> JSONResponse:
        """Return the response."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(body, self.status, self.headers, CONTENT_TYPE)


def try_later(status: int, detail: str, again: str) -> Problem:
    """Return a problem that another try may not meet. again: what to do then."""
    return Problem(status, f"{detail}; {again}", headers={"Retry-After": "1"})


def install(app: FastAPI, again: str) -> None:
    """Answer every error of an app with problem details. again: what to do after an unforeseen one."""

    def unforeseen(_request: Request, error: Exception) -> JSONResponse:
        _log.error("request_failed", exc_info=error)
        told = f"{type(error).__name__}; the log of the process has the place"
        return try_later(500, told, again).answer()

    def known(request: Request, error: Exception) -> JSONResponse:
        return error.answer() if isinstance(error, Problem) else unforeseen(request, error)

    app.add_exception_handler(Problem, known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unforeseen)


def _http(_request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers) if isinstance(error, HTTPException) and error.headers else {}
    return Problem(status, "see /openapi.json for the paths and methods there are", headers=headers).answer()
