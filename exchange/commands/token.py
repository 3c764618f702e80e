"""`exchange token`: for programs that call the API, and commands in somebody's name."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from exchange.commands.topology import load
from exchange.commands.user import Json, opened
from exchange.counting import counted
from exchange.errors import ConfigError
from exchange.settings import Settings

_DAY_S = 86_400


def new(
    name: Annotated[str, typer.Argument(help="One of `people` in the topology.", show_default=False)],
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="Only in this role of theirs; may be given again. Default: all."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="Days until it expires.")] = 90,
    note: Annotated[str, typer.Option(help="What it is for; shown by `list`.")] = "",
    as_json: Json = False,
) -> None:
    """Make a token, which is shown this once: `Authorization: Bearer`, or EXCHANGE_TOKEN for commands.

    Examples:
      exchange token new li-na --note "nightly report"
      exchange token new wang-wei --role steward --days 30
    """
    from exchange.governance.authority import expect_person

    settings = Settings()
    topology = load(settings, settings.topology)[0].topology
    expect_person(topology, name)
    held = [str(one) for one in topology.people[name].roles]
    for one in role or ():
        if one not in held:
            msg = f"--role {one[:40]}: {name} has no such role; there are {', '.join(held) or 'none'}"
            raise ConfigError(msg)
    roles = tuple(role or held)
    with opened(settings) as accounts:
        number, token = accounts.new_token(name, roles, note, days * _DAY_S)
    if as_json:
        sys.stdout.write(json.dumps({"id": number, "name": name, "roles": roles, "token": token}) + "\n")
        return
    sys.stdout.write(token + "\n")
    sys.stderr.write(
        f"token {number} of {name} as {', '.join(roles)}, for {counted(days, 'day')}; it is not shown again\n"
    )


def list_tokens(as_json: Json = False) -> None:
    """List tokens: whose, in which roles, until when, and whether they are valid; never the tokens.

    Examples:
      exchange token list
      exchange token list --json
    """
    with opened(Settings()) as accounts:
        found = accounts.tokens()
    if as_json:
        sys.stdout.write(json.dumps({"tokens": found}, ensure_ascii=False) + "\n")
        return
    for one in found:
        sys.stdout.write(
            f"{one['id']:>4} {one['name']:<20} {one['state']:<8} until {one['expires_at'][:10]} "
            f"as {', '.join(one['roles'])}  {one['note']}\n"
        )
    sys.stderr.write(f"{counted(len(found), 'token')}\n")


def revoke(
    number: Annotated[int, typer.Argument(help="Number of the token, as `list` shows it.")],
    as_json: Json = False,
) -> None:
    """Make a token invalid at once.

    Examples:
      exchange token revoke 4
    """
    with opened(Settings()) as accounts:
        accounts.revoke_token(number)
    sys.stdout.write(json.dumps({"revoked": number}) + "\n" if as_json else f"token {number} is revoked\n")
