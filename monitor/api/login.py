"""Logging in and out, by password or at an identity provider; and who one is."""

from __future__ import annotations

import html
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field, SecretStr

from exchange import log
from exchange.errors import ExchangeError, LoginError
from exchange.identity.caller import MACHINE, Caller, Known, expect_roles
from exchange.model import Model
from monitor.api.gate import COOKIE, caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.identity import Identity
from monitor.oidc import STATE_S, Provider

_STATE_COOKIE: Final = "exchange_login"
_AT_PROVIDER: Final = "/api/login/oidc"
_PAGE_HEADERS: Final = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store"}

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 429)}

_log = log.get(__name__)


class Login(Model):
    """Who wants to log in."""

    name: str = Field(min_length=1, max_length=63, description="One of `people` in the topology.")
    password: SecretStr = Field(min_length=1, max_length=1024)


class Ways(Model):
    """How one may log in here."""

    provider: bool = Field(description="Whether /api/login/oidc leads to an identity provider.")


class HeldRole(Model):
    """A role, and a department that it holds for."""

    role: str
    department: str


class Me(Model):
    """Who calls."""

    name: str
    roles: tuple[HeldRole, ...]


def add(app: FastAPI, identity: Identity) -> None:
    """Add the ways in and out."""
    _add_password(app, identity)
    if identity.settings.oidc_issuer is not None:
        _add_provider(app, identity, Provider(identity.settings, identity.redis))

    @app.get("/api/login", tags=["identity"])
    def ways() -> Ways:
        """Tell how one may log in; anybody may ask."""
        return Ways(provider=identity.settings.oidc_issuer is not None)

    @app.post("/api/logout", tags=["identity"], status_code=204)
    def logout(asked: Request, response: Response) -> None:
        """End the session."""
        if (session := asked.cookies.get(COOKIE)) is not None:
            identity.accounts().end_session(session)
        response.delete_cookie(COOKIE, path="/")

    @app.get("/api/me", tags=["identity"], responses={404: {"model": Problem}})
    def me(asked: Request) -> Me:
        """Tell who calls, and their roles; 404 as long as there is no user."""
        return _me(caller_of(asked))


def _add_password(app: FastAPI, identity: Identity) -> None:
    @app.post("/api/login", tags=["identity"], responses=_REFUSED)
    def login(given: Login, asked: Request, response: Response) -> Me:
        """Open a session, whose cookie comes with the answer."""
        address = asked.client.host if asked.client is not None else ""
        wait = identity.attempts.take(given.name, address)
        if wait is not None:
            _log.warning("login_refused", reason="too_many_attempts", address=address)
            told = f"too many attempts; try again in {wait.retry_after_s} s"
            raise Refused(429, told, {"Retry-After": str(wait.retry_after_s)})
        if identity.is_open():
            raise Refused(401, "there is no user yet; `exchange user add NAME` adds the first")
        accounts = identity.accounts()
        if not accounts.is_password(given.name, given.password.get_secret_value()):
            _log.warning("login_refused", reason="wrong_name_or_password", address=address)
            raise Refused(401, "name or password is wrong, or the user is disabled")
        caller = identity.caller(Known(given.name))
        expect_roles(caller)
        identity.attempts.forget(given.name, address)
        _open(response, asked, identity, caller, None)
        return _me(caller)


def _add_provider(app: FastAPI, identity: Identity, provider: Provider) -> None:
    responses: dict[int | str, dict[str, Any]] = {303: {"description": "To the identity provider."}}

    @app.get(_AT_PROVIDER, tags=["identity"], status_code=303, responses=responses)
    def leave() -> RedirectResponse:
        """Send the browser to the identity provider."""
        url, state = provider.begin()
        answer = RedirectResponse(url, 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            _STATE_COOKIE,
            state,
            max_age=STATE_S,
            path=_AT_PROVIDER,
            secure=provider.is_https,
            httponly=True,
            samesite="lax",
        )
        return answer

    @app.get(f"{_AT_PROVIDER}/callback", tags=["identity"], status_code=303, response_class=Response)
    def come_back(asked: Request) -> Response:
        """Take somebody in whom the provider knows, or show a page that says why not."""
        try:
            told = provider.end(asked.query_params, asked.cookies.get(_STATE_COOKIE, ""))
            caller = identity.caller(told)
            if not any(caller.roles.values()):
                return _page(403, _no_role(told))
            answer: Response = RedirectResponse("/console/", 303)
            _open(answer, asked, identity, caller, told.groups)
        except LoginError as error:
            return _page(401, str(error))
        except ExchangeError as error:
            return _page(503, str(error))
        answer.delete_cookie(_STATE_COOKIE, path=_AT_PROVIDER)
        return answer


def _open(
    answer: Response, asked: Request, identity: Identity, caller: Caller, groups: tuple[str, ...] | None
) -> None:
    """Open a session of a new id, whatever id the browser came with, and end that one."""
    if (before := asked.cookies.get(COOKIE)) is not None:
        identity.accounts().end_session(before)
    lasts_s = identity.settings.session_s
    session = identity.accounts().open_session(caller.name, groups, lasts_s)
    answer.set_cookie(
        COOKIE,
        session,
        max_age=lasts_s,
        path="/",
        secure=asked.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
    _log.info("login", name=caller.name, by="password" if groups is None else "provider")


def _me(caller: Caller) -> Me:
    held = [(role, one) for role, departments in caller.roles.items() for one in departments]
    if caller.name == MACHINE:
        held = [(role, "") for role in caller.roles]
    return Me(name=caller.name, roles=tuple(HeldRole(role=role, department=one) for role, one in held))


def _no_role(told: Known) -> str:
    groups = ", ".join(told.groups or ()) or "none"
    return (
        f"Signed in as {told.name}, groups: {groups}. No role here is mapped to any of them. "
        f"An administrator maps a group under `groups` in topology.yaml, or names {told.name} under `people`."
    )


def _page(status: int, text: str) -> HTMLResponse:
    body = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Not logged in 未登录</title>"
        f"<h1>Not logged in 未登录</h1><p>{html.escape(text)}</p>"
        f"<p><a href={_AT_PROVIDER}>Try again 重试</a></p></html>"
    )
    return HTMLResponse(body, status, _PAGE_HEADERS)
