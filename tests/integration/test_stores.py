"""Who may come in, and which alerts stand: kept alike in both kinds of database that a store can be."""

from __future__ import annotations

import datetime as dt
import json
import threading
from contextlib import suppress

import pytest
import sqlalchemy as sa

from exchange.alerting.alert import State, acknowledged, silenced
from exchange.alerting.rules import WebhookChannel
from exchange.alerting.store import AlertStore
from exchange.errors import ExchangeError, GovernanceError, LoginError
from exchange.governance.store import Store
from exchange.identity.accounts import Accounts
from monitor.identity import now
from tests.unit.monitor.test_alerts import alert

SHARES_STACK = True
PASSWORD = "correct horse battery staple"
CHANNELS = {"duty": WebhookChannel(kind="webhook", url="https://x", keys_env="TEST_STORE_KEYS")}


def test_a_user_comes_in_until_disabled_and_no_secret_is_kept(store: Store) -> None:
    accounts = Accounts(store, now)
    assert accounts.any() is False
    accounts.add("li-na", PASSWORD)
    with pytest.raises(LoginError, match="user li-na is there already"):
        accounts.add("li-na", PASSWORD)
    assert accounts.is_password("li-na", PASSWORD)
    assert not accounts.is_password("li-na", PASSWORD + ".")
    session = accounts.open_session("li-na", ("staff",), 60)
    known = accounts.session(session)
    assert known is not None
    assert (known.name, known.groups) == ("li-na", ("staff",))
    accounts.set_disabled("li-na", True)
    assert accounts.session(session) is None
    assert not accounts.is_password("li-na", PASSWORD)
    with pytest.raises(LoginError, match="is disabled"):
        accounts.open_session("li-na", None, 60)
    accounts.set_disabled("li-na", False)
    accounts.set_password("li-na", PASSWORD + ".")
    assert accounts.is_password("li-na", PASSWORD + ".")
    kept = dump(store)
    assert "argon2id" in kept
    assert not any(secret in kept for secret in (PASSWORD, session))


def test_a_token_lasts_until_it_is_over_or_revoked(store: Store) -> None:
    accounts = Accounts(store, now)
    long_ago = Accounts(store, lambda: now() - dt.timedelta(days=2_000))
    number, token = accounts.new_token("sun-li", ("auditor",), "for the yearly report", 60)
    _, over = long_ago.new_token("sun-li", ("auditor",), "", 60)
    known = accounts.token(token)
    assert known is not None
    assert (known.name, known.roles) == ("sun-li", ("auditor",))
    assert accounts.token(over) is None
    accounts.revoke_token(number)
    assert accounts.token(token) is None
    assert [one["state"] for one in accounts.tokens()] == ["revoked", "expired"]
    with pytest.raises(LoginError, match=f"there is no token {number + 9}"):
        accounts.revoke_token(number + 9)
    assert token not in dump(store)


def test_of_two_who_add_the_same_user_one_gets_through(url: str, store: Store) -> None:
    start, added = threading.Barrier(2), []

    def add(password: str) -> None:
        with Store(url) as own:
            start.wait(60)
            with suppress(ExchangeError):
                Accounts(own, now).add("li-na", password)
                added.append(password)

    threads = [threading.Thread(target=add, args=(PASSWORD + mark,)) for mark in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    [password] = added
    assert Accounts(store, now).is_password("li-na", password)


def test_who_acknowledges_and_who_silences_is_kept_and_silence_outlasts_a_return(store: Store) -> None:
    alerts = AlertStore(store)
    [one] = alerts.keep([alert()], [], CHANNELS, 1000)
    alerts.change(one.id, lambda found: acknowledged(found, "li-na"))
    alerts.change(one.id, lambda found: silenced(found, "li-na", "moving", 90_000))
    with pytest.raises(GovernanceError, match="there is no alert 7"):
        alerts.change(7, lambda found: found)
    for notice in alerts.due(CHANNELS, 2000):
        alerts.sent(notice, 2000)
    assert alerts.keep([], [one.key], CHANNELS, 3000) == []
    [again] = alerts.keep([alert(fired_at_ms=4000)], [], CHANNELS, 4000)
    assert (again.state, again.by, again.reason) == (State.SILENCED, "li-na", "moving")
    assert alerts.due(CHANNELS, 5000) == []
    [spoken] = alerts.keep([alert()], [], CHANNELS, 95_000)
    assert spoken.state == State.FIRING
    assert [notice.alert.id for notice in alerts.due(CHANNELS, 95_000)] == [again.id]


def dump(store: Store) -> str:
    """Return all that the store keeps of accounts."""
    with store.beside() as connection:
        found = [
            connection.execute(sa.text(f"SELECT * FROM {table}")).all()  # noqa: S608
            for table in ("accounts", "sessions", "tokens")
        ]
    return json.dumps(found, default=list)
