"""Nobody is answered under /api before it is clear who asks, and that it is theirs to ask.

What stands in no line of ACCESS is for those alone who see everything: a path that is added is shut first.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from exchange import log
from exchange.errors import ExchangeError, LoginError, NoRoleError
from exchange.identity.caller import MACHINE, READS_DECISIONS, SEES_ALL, Caller, Sight
from exchange.topology.model import Role
from monitor.api import problem
from monitor.api.problem import Refused
from monitor.identity import Identity

COOKIE: Final = "exchange_session"
EVERY_ROLE: Final[frozenset[Role]] = SEES_ALL | {"requester", "steward"}
PUBLIC: Final = frozenset({"/api/login", "/api/login/oidc", "/api/login/oidc/callback"})
ACCESS: Final[dict[tuple[str, str], frozenset[Role]]] = {
    ("GET", "/api/me"): EVERY_ROLE,
    ("POST", "/api/logout"): EVERY_ROLE,
    ("GET", "/api/status"): EVERY_ROLE,
    ("GET", "/api/overview"): EVERY_ROLE,
    ("GET", "/api/resources"): EVERY_ROLE,
    ("GET", "/api/resource"): EVERY_ROLE,
    ("GET", "/api/routes"): EVERY_ROLE,
    ("GET", "/api/route"): EVERY_ROLE,
    ("GET", "/api/accounts/balance"): EVERY_ROLE,
    ("GET", "/api/refusals"): EVERY_ROLE,
    ("GET", "/api/subscribers"): EVERY_ROLE,
    ("GET", "/api/corrections"): EVERY_ROLE,
    ("GET", "/api/inbox"): EVERY_ROLE,
    ("GET", "/api/requests"): EVERY_ROLE,
    ("GET", "/api/requests/choices"): EVERY_ROLE,
    ("GET", "/api/requests/{id}"): EVERY_ROLE,
    ("GET", "/api/requests/{id}/certificate"): EVERY_ROLE,
    # Who may ask and decide is judged by exchange/governance/authority.py, and a refusal is written down.
    ("POST", "/api/requests"): EVERY_ROLE,
    ("POST", "/api/requests/decisions"): EVERY_ROLE,
    ("POST", "/api/requests/preview"): EVERY_ROLE,
    ("POST", "/api/requests/{id}/{act}"): EVERY_ROLE,
    ("GET", "/api/connectors"): EVERY_ROLE,
    # Who may is judged at the desks of pauses and snapshots, and a refusal is written down.
    ("POST", "/api/connectors/{system}/snapshot/{act}"): EVERY_ROLE,
    ("POST", "/api/connectors/{system}/{act}"): EVERY_ROLE,
    ("POST", "/api/connectors/{system}/resnapshot"): EVERY_ROLE,
    ("GET", "/api/quality"): SEES_ALL | {"steward"},
    ("GET", "/api/quarantine"): frozenset({"steward"}),
    # Whose steward it takes is judged by exchange/quarantine/desk.py, and a refusal is written down.
    ("POST", "/api/quarantine/open"): EVERY_ROLE,
    ("POST", "/api/quarantine/redrive"): EVERY_ROLE,
    # As above: who may write entries and decide on them is judged at the desk.
    ("GET", "/api/catalogue"): EVERY_ROLE,
    ("GET", "/api/catalogue/export"): EVERY_ROLE,
    ("POST", "/api/catalogue/import"): EVERY_ROLE,
    ("GET", "/api/catalogue/{resource}"): EVERY_ROLE,
    ("POST", "/api/catalogue/{resource}/{act}"): EVERY_ROLE,
    # As above: who may object and answer is judged at the desk.
    ("GET", "/api/objections"): EVERY_ROLE,
    ("GET", "/api/objections/choices"): EVERY_ROLE,
    ("GET", "/api/objections/{id}"): EVERY_ROLE,
    ("POST", "/api/objections"): EVERY_ROLE,
    ("POST", "/api/objections/{id}/{act}"): EVERY_ROLE,
    ("GET", "/api/decisions"): READS_DECISIONS,
    ("POST", "/api/alerts/{id}/acknowledge"): frozenset({"operations", "administrator"}),
    ("POST", "/api/alerts/{id}/silence"): frozenset({"operations", "administrator"}),
    ("GET", "/api/users"): frozenset({"administrator", "auditor"}),
    ("POST", "/api/users"): frozenset({"administrator"}),
    ("POST", "/api/users/{name}/{act}"): frozenset({"administrator"}),
}
"""Method and path → roles that are answered."""
_OPEN: Final = frozenset(
    f"/api/{name}"
    for name in (
        "status",
        "overview",
        "live",
        "routes",
        "route",
        "resources",
        "resource",
        "accounts/balance",
        "refusals",
        "subscribers",
        "alerts",
        "quality",
        "report",
        "me",
        "connectors",
    )
)
"""What anyone on this machine may see before there is a user."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_BEGIN: Final = "there is no user yet; `exchange user add NAME` on the bus's machine adds the first"

_log = log.get(__name__)


class Gate:
    """The one way to everything under /api; the caller is then in `request.state.caller`."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a call through, or answer with why not."""
        if scope["type"] == "lifespan" or not _is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = await run_in_threadpool(self._admit, Request(scope))
        except Refused as refused:
            answer = problem.answer(refused.status, refused.detail, headers=refused.headers)
        except ExchangeError as error:
            answer = problem.answer(503, str(error), headers={"Retry-After": "1"})
        except Exception as error:
            _log.error("gate_error", exc_info=error)
            answer = problem.answer(500, f"{type(error).__name__}; the monitor's log has the place")
        else:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)

    def _admit(self, asked: Request) -> Caller | None:
        """Return who calls, None where nobody has to say.

        1. who it is; 2. that no other site's page sent it; 3. that a role of theirs is answered there.

        Raises: Refused.
        """
        # As the router has it: `asked.url` is made from the Host header too, which is the caller's to write.
        path, method = asked.scope["path"], asked.method
        if path in PUBLIC:
            expect_same_origin(asked, strict=False)
            return None
        caller = self._caller(asked)
        if caller is None:
            self._expect_open(asked, path)
            return None
        if caller.roles.keys().isdisjoint(allowed_roles(method, path)):
            held = ", ".join(sorted(caller.roles))
            raise Refused(403, f"this is not for {held}; whoever keeps topology.yaml gives roles")
        return caller

    def _caller(self, asked: Request) -> Caller | None:
        """Return who says so by a token, else by a session; None where neither is given. Raises: Refused."""
        values = asked.headers.getlist("authorization")
        if len(values) > 1:
            raise Refused(400, f"header Authorization is given {len(values)} times; once is wanted")
        try:
            if values:
                return self._identity.of_token(_bearer(values[0]))
            session = asked.cookies.get(COOKIE)
            found = None if session is None else self._identity.of_session(session)
        except LoginError as error:
            raise _unknown(error) from None
        if found is not None:
            expect_same_origin(asked, strict=True)
        return found

    def _expect_open(self, asked: Request, path: str) -> None:
        """Let through what is open as long as there is no user, on this machine. Raises: Refused."""
        if not self._identity.is_open():
            raise Refused(
                401, "a login (POST /api/login) or a token is wanted", {"WWW-Authenticate": "Bearer"}
            )
        if not _is_of_this_machine(asked) or asked.method not in _SAFE or path not in _OPEN:
            raise Refused(401, _BEGIN, {"WWW-Authenticate": "Bearer"})
        if path == "/api/me":
            raise Refused(404, _BEGIN)


def sight_of(identity: Identity, asked: Request) -> Sight | None:
    """Return what the caller sees, in a handler behind the gate; None: everything."""
    return identity.sight(caller_if_any(asked))


def caller_of(asked: Request) -> Caller:
    """Return who calls, in a handler behind the gate. Raises: Refused where nobody had to say."""
    caller = caller_if_any(asked)
    if caller is None:
        raise Refused(401, _BEGIN, {"WWW-Authenticate": "Bearer"})
    return caller


def person_of(asked: Request) -> Caller:
    """Return the person who calls. Raises: Refused where it is nobody, or the machine."""
    caller = caller_of(asked)
    if caller.name == MACHINE:
        raise Refused(
            403, "this is done by a person, whose name stays with it; the machine's token is nobody's"
        )
    return caller


def caller_if_any(asked: Request) -> Caller | None:
    """Return who calls, in a handler behind the gate; None where nobody had to say."""
    caller = getattr(asked.state, "caller", None)
    return caller if isinstance(caller, Caller) else None


def expect_unread(asked: Request) -> None:
    """Raise Refused where others may read along on the way: wanted is HTTPS, or a call of this machine."""
    if asked.url.scheme != "https" and not _is_of_this_machine(asked):
        msg = (
            "a private key is taken by HTTPS or from this machine alone, and this call came by neither: make "
            "a new pair with `exchange keys create` where others may have read it on the way"
        )
        raise Refused(403, msg)


def allowed_roles(method: str, path: str) -> frozenset[Role]:
    """Return the roles that are answered at a path."""
    wanted = "GET" if method == "HEAD" else method
    for (known, template), roles in ACCESS.items():
        if known == wanted and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path):
            return roles
    return SEES_ALL


def expect_same_origin(asked: Request, *, strict: bool) -> None:
    """Raise Refused where a page of another site may have sent a call that changes something.

    strict: also where nothing says whose page it was, as a browser always does.

    Source: Fetch Metadata (W3C), Sec-Fetch-Site; RFC 6454, Origin.
    """
    if asked.method in _SAFE:
        return
    site, origin = asked.headers.get("sec-fetch-site"), asked.headers.get("origin")
    if site is not None:
        same = site in ("same-origin", "none")
    elif origin is not None:
        same = origin.partition("://")[2] == asked.headers.get("host")
    else:
        same = not strict
    if not same:
        msg = "with a session, only pages of this server may change something: wanted is its own Origin"
        raise Refused(403, msg)


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        msg = "wanted is `Authorization: Bearer TOKEN`"
        raise LoginError(msg)
    return token.strip()


def _unknown(error: LoginError) -> Refused:
    if isinstance(error, NoRoleError):
        return Refused(403, str(error))
    return Refused(401, str(error), {"WWW-Authenticate": "Bearer"})


def _is_api(path: Any) -> bool:
    return path == "/api" or str(path).startswith("/api/")


def _is_of_this_machine(asked: Request) -> bool:
    """Return whether a call comes from here and means here: a page of a name that leads here does not."""
    client = asked.client.host if asked.client is not None else ""
    return _is_loopback(client) and _is_loopback(asked.url.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
