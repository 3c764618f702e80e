"""`/api/users`: the topology's people and their roles, who of them may log in, letting in and shutting out.

Roles are changed in topology.yaml, where reviews see them. No answer holds a password, or a hash of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query, Request
from pydantic import Field, SecretStr

from exchange.errors import ExchangeError, LoginError, NotAllowedError
from exchange.governance.authority import expect_person
from exchange.governance.noting import attempt
from exchange.identity.accounts import Accounts
from exchange.model import Label, Model
from exchange.topology.model import Role
from monitor.api.gate import person_of
from monitor.api.login import HeldRole
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.identity import Identity, now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 409)}
_LONGEST_NAME: Final = 63


class UsersParams(Model):
    """Query parameters of /api/users."""

    role: Role | None = Field(default=None, description="Only who holds it; all when not given.")
    offset: int = Field(default=0, ge=0, le=2**31 - 1)
    limit: int = Field(default=50, ge=1, le=500)


class User(Model):
    """One of the people, or an account of whom the topology has no more."""

    name: str
    label: Label | None = Field(description="Null: not among the topology's people.")
    roles: tuple[HeldRole, ...]
    account: Literal["none", "active", "disabled"] = Field(description="none: no password of the bus's own.")
    sessions: int
    changed_at: str | None


class Users(Model):
    """A page of users by name."""

    total: int
    users: tuple[User, ...]
    next_offset: int | None


class NewUser(Model):
    """Who is let in by a password."""

    name: str = Field(min_length=1, max_length=_LONGEST_NAME, description="One of `people` in the topology.")
    password: SecretStr = Field(min_length=1, max_length=1024)


class Changed(Model):
    """What was done."""

    name: str
    event: Literal["add", "disable", "enable"]


def add(app: FastAPI, identity: Identity) -> None:
    """Show the people, and let administrators give and take accounts."""

    @app.get("/api/users", tags=["identity"], responses=_ERRORS)
    def users(given: Annotated[UsersParams, Query()]) -> Users:
        """List people, their roles, and whether they may log in; a page at a time."""
        found = [one for one in _users(identity) if given.role in (None, *(held.role for held in one.roles))]
        end = given.offset + given.limit
        following = end if end < len(found) else None
        return Users(total=len(found), users=tuple(found[given.offset : end]), next_offset=following)

    @app.post("/api/users", tags=["identity"], status_code=201, responses=_ERRORS)
    def new(given: NewUser, asked: Request) -> Changed:
        """Let one of the topology's people log in by a password, which is never shown again."""

        def do(accounts: Accounts) -> None:
            expect_person(identity.declared.current()[0], given.name)
            accounts.add(given.name, given.password.get_secret_value())

        return _noted(identity, person_of(asked).name, "add", given.name, do)

    @app.post("/api/users/{name}/{act}", tags=["identity"], responses=_ERRORS)
    def change(
        name: Annotated[str, Path(min_length=1, max_length=_LONGEST_NAME)],
        act: Literal["disable", "enable"],
        asked: Request,
    ) -> Changed:
        """Shut a user out at once, sessions and tokens too, or let them in again."""
        actor = person_of(asked).name
        if actor == name and act == "disable":
            raise Refused(409, "nobody shuts themselves out; another administrator can")
        return _noted(identity, actor, act, name, lambda one: one.set_disabled(name, act == "disable"))


def _users(identity: Identity) -> list[User]:
    people = identity.declared.known().people
    accounts = {one["name"]: one for one in identity.accounts().users()}
    found = []
    for name in sorted(people.keys() | accounts.keys()):
        person, account = people.get(name), accounts.get(name)
        roles = {} if person is None else person.roles
        held = [HeldRole(role=role, department=one) for role, those in roles.items() for one in those]
        state: Literal["none", "active", "disabled"] = "none"
        if account is not None:
            state = "disabled" if account["disabled"] else "active"
        found.append(
            User(
                name=name,
                label=None if person is None else person.label,
                roles=tuple(held),
                account=state,
                sessions=0 if account is None else account["sessions"],
                changed_at=None if account is None else account["changed_at"],
            )
        )
    return found


def _noted(
    identity: Identity,
    actor: str,
    event: Literal["add", "disable", "enable"],
    name: str,
    do: Callable[[Accounts], None],
) -> Changed:
    """Change an account, then note who did; accounts and decisions wait for nobody in one transaction."""
    tried = attempt(actor, event, 0, now(), about=f"user {name}")
    refused: ExchangeError | None = None
    try:
        do(identity.accounts())
    except (LoginError, NotAllowedError) as error:
        refused = error
    outcome = {"outcome": "done"} if refused is None else {"outcome": "refused", "reason": str(refused)}
    with identity.store().change() as change:
        change.note(tried.model_copy(update=outcome))
    if refused is not None:
        raise Refused(409, str(refused))
    return Changed(name=name, event=event)
