"""`exchange user`: who may log in at the monitor's API and console."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from exchange.commands.topology import load
from exchange.counting import counted
from exchange.errors import ConfigError
from exchange.settings import Settings

if TYPE_CHECKING:
    from exchange.identity.accounts import Accounts

Name = Annotated[str, typer.Argument(help="One of `people` in the topology.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


def add(name: Name, as_json: Json = False) -> None:
    """Add a user; from the first one on, every call of the API needs a login or a token.

    The password is asked for, or read from stdin as one line; what the user may see and do is said by
    `people` in the topology.

    Examples:
      exchange user add li-na
      exchange user add li-na < password.txt
    """
    from exchange.governance.authority import expect_person

    settings = Settings()
    topology = load(settings, settings.topology)[0].topology
    expect_person(topology, name)
    password = _password()
    with opened(settings) as accounts:
        accounts.add(name, password)
    roles = {str(role): list(departments) for role, departments in topology.people[name].roles.items()}
    _answer(as_json, {"user": name, "roles": roles}, f"{name} can log in now, as {_listed(roles)}")


def password(name: Name, as_json: Json = False) -> None:
    """Give a user another password, asked for or read from stdin; all sessions of the user end.

    Examples:
      exchange user password li-na
    """
    new = _password()
    with opened(Settings()) as accounts:
        accounts.set_password(name, new)
    _answer(as_json, {"user": name}, f"{name} has another password; open sessions have ended")


def disable(name: Name, as_json: Json = False) -> None:
    """Shut a user out at once: sessions end, tokens are not taken.

    Examples:
      exchange user disable li-na
    """
    with opened(Settings()) as accounts:
        accounts.set_disabled(name, True)
    _answer(
        as_json,
        {"user": name, "disabled": True},
        f"{name} is shut out; `exchange user enable` lets them in again",
    )


def enable(name: Name, as_json: Json = False) -> None:
    """Let a user in again who was shut out.

    Examples:
      exchange user enable li-na
    """
    with opened(Settings()) as accounts:
        accounts.set_disabled(name, False)
    _answer(as_json, {"user": name, "disabled": False}, f"{name} can log in again")


def list_users(as_json: Json = False) -> None:
    """List who may log in, with how many sessions are open.

    Examples:
      exchange user list
      exchange user list --json
    """
    with opened(Settings()) as accounts:
        found = accounts.users()
    if as_json:
        sys.stdout.write(json.dumps({"users": found}) + "\n")
        return
    for one in found:
        state = "disabled" if one["disabled"] else counted(one["sessions"], "session")
        sys.stdout.write(f"{one['name']:<24} {state}\n")
    sys.stderr.write(f"{counted(len(found), 'user')}\n")


@contextmanager
def opened(settings: Settings) -> Iterator[Accounts]:
    """Yield what the store knows of who may come in."""
    from exchange.governance.store import Store
    from exchange.identity.accounts import Accounts

    with Store.of(settings) as store:
        yield Accounts(store, now)


def now() -> dt.datetime:
    """Return the time."""
    return dt.datetime.now().astimezone()


def _password() -> str:
    """Return a password that fits, from the terminal without echo, or the one line of stdin."""
    from exchange.identity.passwords import expect_fit

    if sys.stdin.isatty():
        given: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        given, _, rest = sys.stdin.read().partition("\n")
        given = given.removesuffix("\r")
        if rest.strip():
            msg = "stdin: one line with the password is wanted, and there are more"
            raise ConfigError(msg)
    expect_fit(given)
    return given


def _listed(roles: dict[str, list[str]]) -> str:
    return "; ".join(f"{role} of {', '.join(held)}" for role, held in roles.items()) or "nobody: no role yet"


def _answer(as_json: bool, document: dict[str, object], told: str) -> None:
    sys.stdout.write((json.dumps(document, ensure_ascii=False) if as_json else told) + "\n")
