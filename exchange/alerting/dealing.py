"""People deal with alerts; each attempt is noted in the transaction that carries it out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from exchange.alerting import store as tables
from exchange.alerting.alert import Alert, acknowledged, silenced
from exchange.errors import GovernanceError
from exchange.governance.noting import LONGEST_NAME, attempt, noted
from exchange.governance.store import Decision, Store

LONGEST_SILENCE_S: Final = 30 * 86_400
LONGEST_REASON: Final = 2000


def acknowledge(store: Store, actor: str, id_: int, now: dt.datetime) -> Alert:
    """Store who deals with an alert, and return it. Raises: GovernanceError when it is over, or none."""
    by = actor[:LONGEST_NAME]
    return _deal(store, _tried(actor, "acknowledge", id_, now), id_, lambda alert: acknowledged(alert, by))


def silence(store: Store, actor: str, id_: int, reason: str, lasts_s: int, now: dt.datetime) -> Alert:
    """Store that nobody is told of an alert for a while, and return it.

    Raises: GovernanceError as `acknowledge`, or when the reason is missing or the time too long.
    """
    until_ms = int(now.timestamp() * 1000) + lasts_s * 1000

    def change(alert: Alert) -> Alert:
        if not 0 < lasts_s <= LONGEST_SILENCE_S:
            msg = f"alert {id_}: silence lasts {LONGEST_SILENCE_S // 86_400} days at most"
            raise GovernanceError(msg)
        return silenced(alert, actor[:LONGEST_NAME], reason[:LONGEST_REASON], until_ms)

    return _deal(store, _tried(actor, "silence", id_, now, reason[:LONGEST_REASON]), id_, change)


def _tried(actor: str, event: str, id_: int, now: dt.datetime, reason: str = "") -> Decision:
    return attempt(actor, event, 0, now, about=f"alert {id_}", reason=reason.strip())


def _deal(store: Store, tried: Decision, id_: int, change: Callable[[Alert], Alert]) -> Alert:
    return noted(store, tried, lambda held: tables.change(held.connection, id_, change), _done)


def _done(tried: Decision, after: Alert) -> Decision:
    return tried.model_copy(update={"outcome": "done", "state": after.state.value})
