"""Alerts and their notices, beside the requests in the store of governance: a restart forgets nothing.

A notice is put in the outbox in the transaction that changes its alert, once for each channel, and marked as
sent once the receiver has taken it. Its id is the same at all tries, so a receiver can tell a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from exchange.alerting.alert import ACTIVE, Alert, Event, State, resolved, speaking
from exchange.alerting.rules import AnyChannel
from exchange.errors import GovernanceError
from exchange.governance.store import Store

_FIRST_RETRY_MS: Final = 2_000
_LONGEST_RETRY_MS: Final = 300_000
_HOUR_MS: Final = 3_600_000
_KEPT_MS: Final = 90 * 86_400_000

_TABLES: Final = sa.MetaData()
_ALERTS: Final = sa.Table(
    "alerts",
    _TABLES,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("active_key", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("fired_at_ms", sa.BigInteger),
    sa.Column("document", sa.Text),
)
_NOTICES: Final = sa.Table(
    "alert_notices",
    _TABLES,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("alert", sa.BigInteger),
    sa.Column("channel", sa.Text),
    sa.Column("event", sa.Text),
    sa.Column("tries", sa.Integer),
    sa.Column("due_ms", sa.BigInteger),
    sa.Column("sent_at_ms", sa.BigInteger),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one channel; `id` is the same at every try."""

    id: str
    channel: str
    event: Event
    tries: int
    alert: Alert


@dataclass(frozen=True, slots=True)
class Page:
    """Alerts, newest first; `next_before`: id to ask for the next page, None on the last one."""

    alerts: tuple[Alert, ...]
    next_before: int | None


class AlertStore:
    """The tables of alerts in an open store. Raises, in all methods: PartError when it does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(
        self,
        found: Sequence[Alert],
        over: Iterable[str],
        channels: Mapping[str, AnyChannel],
        now_ms: int,
    ) -> list[Alert]:
        """Store what fires anew and what is over, each with its notices; return what is active after that.

        found: all that fire now; over: keys of what is seen to be no longer so. A channel that is new is told
        of what fires already.
        """
        with self._store.connected(lock=True) as connection:
            active = {alert.key: alert for alert in _read(connection, ACTIVE)}
            for alert in found:
                if alert.key not in active:
                    active[alert.key] = _begin(connection, alert, now_ms)
            for key in set(over) & active.keys():
                alert = active.pop(key)
                _write(connection, resolved(alert, now_ms))
                _tell_end(connection, alert, channels, now_ms)
            for key, alert in active.items():
                if alert.state == State.SILENCED and (alert.until_ms or 0) <= now_ms:
                    active[key] = speaking(alert)
                    _write(connection, active[key])
                if active[key].state == State.FIRING:
                    _tell(connection, active[key], Event.FIRING, channels, now_ms)
        return sorted(active.values(), key=lambda alert: alert.id)

    def active(self) -> list[Alert]:
        """Return what is not over, oldest first."""
        with self._store.connected() as connection:
            return _read(connection, ACTIVE)

    def page(self, states: Iterable[State], before: int | None, limit: int) -> Page:
        """Return alerts in some states, or all, newest first."""
        query = sa.select(_ALERTS.c.document).order_by(_ALERTS.c.id.desc()).limit(limit + 1)
        if wanted := [state.value for state in states]:
            query = query.where(_ALERTS.c.state.in_(wanted))
        if before is not None:
            query = query.where(_ALERTS.c.id < before)
        with self._store.connected() as connection:
            alerts = [Alert.model_validate_json(document) for document in connection.scalars(query)]
        shown = tuple(alerts[:limit])
        return Page(shown, shown[-1].id if len(alerts) > limit else None)

    def due(self, channels: Mapping[str, AnyChannel], now_ms: int) -> list[Notice]:
        """Return the notices to send now, in the order of their making; no channel over its hourly limit."""
        query = (
            sa.select(_NOTICES, _ALERTS.c.document)
            .join(_ALERTS, _ALERTS.c.id == _NOTICES.c.alert)
            .where(_NOTICES.c.sent_at_ms.is_(None), _NOTICES.c.due_ms <= now_ms)
            .where(_NOTICES.c.channel.in_(list(channels)))
            .order_by(_NOTICES.c.alert, _NOTICES.c.event)
        )
        with self._store.connected() as connection:
            left = {
                name: channel.most_per_hour - _sent_lately(connection, name, now_ms)
                for name, channel in channels.items()
            }
            rows = connection.execute(query).mappings().all()
        notices: list[Notice] = []
        for row in rows:
            if left[row["channel"]] > 0:
                left[row["channel"]] -= 1
                notices.append(_notice(dict(row)))
        return notices

    def sent(self, notice: Notice, now_ms: int) -> None:
        """Note that a receiver has taken a notice: it is never sent again."""
        self._note(notice, sent_at_ms=now_ms)

    def failed(self, notice: Notice, now_ms: int) -> None:
        """Put a notice off: twice as long each time, five minutes at most."""
        wait_ms = min(_FIRST_RETRY_MS * 2 ** min(notice.tries, 10), _LONGEST_RETRY_MS)
        self._note(notice, tries=notice.tries + 1, due_ms=now_ms + wait_ms)

    def forget_old(self, now_ms: int) -> None:
        """Delete what was over 90 days ago, with its notices."""
        old = sa.select(_ALERTS.c.id).where(
            _ALERTS.c.active_key.is_(None), _ALERTS.c.fired_at_ms < now_ms - _KEPT_MS
        )
        with self._store.connected(lock=True) as connection:
            connection.execute(sa.delete(_NOTICES).where(_NOTICES.c.alert.in_(old)))
            connection.execute(sa.delete(_ALERTS).where(_ALERTS.c.id.in_(old)))

    def _note(self, notice: Notice, **values: int) -> None:
        with self._store.connected(lock=True) as connection:
            connection.execute(sa.update(_NOTICES).where(_NOTICES.c.id == notice.id).values(**values))


def change(connection: sa.Connection, id_: int, make: Callable[[Alert], Alert]) -> Alert:
    """Store what a function makes of an alert. Raises: GovernanceError when there is no such alert."""
    found = connection.scalar(sa.select(_ALERTS.c.document).where(_ALERTS.c.id == id_))
    if found is None:
        msg = f"there is no alert {id_}; `exchange alert list` shows all"
        raise GovernanceError(msg)
    after = make(Alert.model_validate_json(found))
    _write(connection, after)
    return after


def _begin(connection: sa.Connection, alert: Alert, now_ms: int) -> Alert:
    """Store a new alert; what was silenced under its key stays so until the time that was said."""
    id_ = (connection.scalar(sa.select(sa.func.max(_ALERTS.c.id))) or 0) + 1
    alert = alert.model_copy(update={"id": id_})
    before = [one for one in _read(connection, [State.RESOLVED]) if one.key == alert.key]
    if before and before[-1].until_ms is not None and before[-1].until_ms > now_ms:
        kept = before[-1].model_dump(include={"by", "reason", "until_ms"})
        alert = alert.model_copy(update={"state": State.SILENCED, **kept})
    connection.execute(sa.insert(_ALERTS).values(**_row(alert)))
    return alert


def _tell(
    connection: sa.Connection, alert: Alert, event: Event, channels: Mapping[str, AnyChannel], now_ms: int
) -> None:
    """Put a notice in the outbox for each channel that wants the alert, where it has none yet."""
    for name, channel in channels.items():
        id_ = f"alert_{alert.id}_{alert.fired_at_ms}_{event}_{name}"
        known = connection.scalar(sa.select(_NOTICES.c.id).where(_NOTICES.c.id == id_))
        if known is None and (alert.severity == "critical" or channel.from_severity == "warning"):
            row = {"id": id_, "alert": alert.id, "channel": name, "event": event.value}
            connection.execute(sa.insert(_NOTICES).values(**row, tries=0, due_ms=now_ms, sent_at_ms=None))


def _tell_end(
    connection: sa.Connection, alert: Alert, channels: Mapping[str, AnyChannel], now_ms: int
) -> None:
    """Tell that it is over where it was told, or was to be, that it fires; one message then says both."""
    if alert.state == State.SILENCED:
        return
    fired = sa.and_(_NOTICES.c.alert == alert.id, _NOTICES.c.event == Event.FIRING.value)
    told = set(connection.scalars(sa.select(_NOTICES.c.channel).where(fired)))
    connection.execute(sa.delete(_NOTICES).where(fired, _NOTICES.c.sent_at_ms.is_(None)))
    wanted = {name: channel for name, channel in channels.items() if name in told}
    _tell(connection, alert, Event.RESOLVED, wanted, now_ms)


def _sent_lately(connection: sa.Connection, channel: str, now_ms: int) -> int:
    lately = sa.and_(_NOTICES.c.channel == channel, _NOTICES.c.sent_at_ms > now_ms - _HOUR_MS)
    return int(connection.scalar(sa.select(sa.func.count()).select_from(_NOTICES).where(lately)) or 0)


def _read(connection: sa.Connection, states: Iterable[State]) -> list[Alert]:
    wanted = [state.value for state in states]
    query = sa.select(_ALERTS.c.document).where(_ALERTS.c.state.in_(wanted)).order_by(_ALERTS.c.id)
    return [Alert.model_validate_json(document) for document in connection.scalars(query)]


def _write(connection: sa.Connection, alert: Alert) -> None:
    connection.execute(sa.update(_ALERTS).where(_ALERTS.c.id == alert.id).values(**_row(alert)))


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "active_key": None if alert.state == State.RESOLVED else alert.key,
        "state": alert.state.value,
        "fired_at_ms": alert.fired_at_ms,
        "document": alert.model_dump_json(),
    }


def _notice(row: Mapping[str, Any]) -> Notice:
    alert = Alert.model_validate_json(row["document"])
    return Notice(row["id"], row["channel"], Event(row["event"]), row["tries"], alert)
