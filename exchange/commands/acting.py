"""In whose name a command acts, where it decides something."""

from __future__ import annotations

import datetime as dt
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from exchange.errors import NotAllowedError

if TYPE_CHECKING:
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology.model import Topology


Actor = Annotated[str | None, typer.Option("--as", help="Who does it: one of `people`; else who runs it.")]


class Acting(NamedTuple):
    """Who acts, where it is noted, and a topology with their roles; None: as of `expect_operator`."""

    store: Store
    topology: Topology | None
    actor: str


@contextmanager
def in_the_name_of(settings: Settings, actor: str | None) -> Iterator[Acting]:
    """Let a command act for a person, or for who runs it, and bring what is noted into Kafka at the end.

    Raises: as `acting`; ConfigError without the secret of `admin`, before anything is done.
    """
    from exchange.cluster import ADMIN
    from exchange.commands.topology import load
    from exchange.governance.relay import relay
    from exchange.governance.store import Store

    admin = settings.kafka_client(ADMIN)  # first: nothing is done that could not be told
    with Store.of(settings) as store:
        if actor is None:
            who = Acting(store, None, oneself(store))
        else:
            declared = load(settings, settings.topology)[0].topology
            who = Acting(store, acting(settings, store, declared, actor), actor)
        try:
            yield who
        finally:
            relay(store, admin)


def acting(settings: Settings, store: Store, topology: Topology, actor: str) -> Topology:
    """Return a topology in which the actor has the roles in which this command may act.

    1. a token in EXCHANGE_TOKEN is the actor's, and its roles hold;
    2. before there is a user, a token or an identity provider, --as is believed;
    3. from then on it is believed of an administrator of the topology alone, known by the operating system's
       user, and every decision in the store says so.

    Raises: LoginError for a token that is not valid, NotAllowedError for another person's, or for none.
    """
    from exchange.identity.accounts import Accounts
    from exchange.identity.caller import acting as in_roles
    from exchange.identity.caller import caller_of_token, expect_same
    from exchange.settings import TOKEN

    accounts = Accounts(store, lambda: dt.datetime.now().astimezone())
    token = settings.secrets.find(TOKEN)
    if token is not None:
        caller = caller_of_token(topology, accounts.token(token.get_secret_value()))
        expect_same(caller, actor)
        return in_roles(topology, caller)
    if settings.oidc_issuer is not None or accounts.any():
        store.by = _administrator(topology, actor)
    return topology


def oneself(store: Store) -> str:
    """Return the operating system's name of who runs this command; each decision in the store says so."""
    store.by = os_user()
    return store.by


def _administrator(topology: Topology, actor: str) -> str:
    user = os_user()
    person = topology.people.get(user)
    if person is None or "administrator" not in person.roles:
        msg = (
            f"--as {actor}: there are users, so a token of {actor} is wanted in EXCHANGE_TOKEN; `exchange "
            f"token new {actor}` makes one. Without it acts only an administrator of the topology's `people` "
            f"in others' names, and the user here, '{user[:40]}', is none"
        )
        raise NotAllowedError(msg)
    return user


def os_user() -> str:
    """Return the operating system's name of who runs this, or its number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
