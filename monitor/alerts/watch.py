"""For how long something has been so, and what follows: alerts that fire, keys of what is over. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from exchange.alerting.alert import Alert
from exchange.alerting.rules import Alerting, AlertRule, Kind
from monitor.alerts.judge import conditions, known_kinds, watched
from monitor.alerts.seen import Condition, Seen
from monitor.alerts.texts import words_of
from monitor.api.models import SubscriberPosition

OVER_AFTER_MS: Final = 15_000
"""What comes and goes within this is one alert."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What fires at a moment, and which active keys are seen to be over."""

    fires: tuple[Alert, ...]
    over: tuple[str, ...]


class Moves:
    """Since when each partition of a group has stood though there is more to read."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str, int], tuple[int, int]] = {}

    def look(
        self, positions: Iterable[SubscriberPosition], now_ms: int, ours: frozenset[tuple[str, str]]
    ) -> dict[tuple[str, str], int]:
        """Return (group, topic) → since when it has stood; ours: those that the bus itself reads."""
        stood: dict[tuple[str, str], int] = {}
        for at in positions:
            if (at.group, at.topic) not in ours:
                continue
            where = (at.group, at.topic, at.partition)
            offset, since_ms = self._at.get(where, (-1, now_ms))
            if at.next_offset != offset or not at.lag_s:
                since_ms = now_ms
            self._at[where] = (at.next_offset, since_ms)
            if at.lag_s and since_ms < now_ms:
                pair = (at.group, at.topic)
                stood[pair] = min(since_ms, stood.get(pair, since_ms))
        return stood


@dataclass(slots=True)
class Watch:
    """Remembers what is pending and what has just ended; what fires is remembered by the store."""

    _since: dict[str, int] = field(default_factory=dict)
    _absent: dict[str, int] = field(default_factory=dict)
    _moves: Moves = field(default_factory=Moves)

    def look(self, seen: Seen, active: Iterable[Alert]) -> Verdict:
        """Judge a moment; active: the alerts that are not over."""
        rules = seen.plan.alerts if seen.plan is not None else Alerting()
        ours = watched(seen.plan) if seen.plan is not None else frozenset[tuple[str, str]]()
        stood = self._moves.look(seen.groups or (), seen.now_ms, ours)
        now = {one.key: one for one in conditions(seen, stood) if _is_past(one, rules, seen.long_refused)}
        for gone in self._since.keys() - now.keys():
            del self._since[gone]
        fires = tuple(
            _alert(one, rules.rule(one.kind, one.where), self._since[key], seen.now_ms)
            for key, one in now.items()
            if self._lasts(one, rules.rule(one.kind, one.where), seen.now_ms)
        )
        return Verdict(fires, tuple(self._over(active, now.keys(), known_kinds(seen), seen)))

    def _lasts(self, condition: Condition, rule: AlertRule, now_ms: int) -> bool:
        began_ms = self._since.setdefault(condition.key, now_ms)
        return now_ms - began_ms >= (rule.for_s or 0) * 1000

    def _over(
        self, active: Iterable[Alert], now: Iterable[str], known: frozenset[Kind], seen: Seen
    ) -> Iterable[str]:
        still = set(now)
        for alert in active:
            if alert.key in still or not _is_known(alert, known, seen):
                self._absent.pop(alert.key, None)
            elif seen.now_ms - self._absent.setdefault(alert.key, seen.now_ms) >= OVER_AFTER_MS:
                del self._absent[alert.key]
                yield alert.key


def _is_known(alert: Alert, known: frozenset[Kind], seen: Seen) -> bool:
    """Return whether this moment can say that an alert is over; of the monitor's own parts it always can."""
    return alert.kind in known or (alert.kind == "part_down" and alert.where in seen.parts)


def _is_past(condition: Condition, rules: Alerting, long_refused: Callable[[], Mapping[str, float]]) -> bool:
    rule = rules.rule(condition.kind, condition.where)
    threshold = rule.threshold or 0.0
    if not rule.enabled:
        return False
    match condition.kind:
        case "certificate":
            return condition.value <= threshold
        case "delay_budget" | "overdue_request":
            return condition.value > threshold
        case "refusals" if condition.value >= threshold and rule.long_window:
            return long_refused().get(condition.where, 0.0) >= threshold
        case _:
            return condition.value >= threshold


def _alert(condition: Condition, rule: AlertRule, began_ms: int, now_ms: int) -> Alert:
    words = words_of(condition)
    return Alert(
        key=condition.key,
        kind=condition.kind,
        severity=rule.severity or "warning",
        stage=condition.stage,
        where=condition.where,
        value=min(condition.value, 1e12),
        threshold=rule.threshold or 0.0,
        since_ms=condition.since_ms if condition.since_ms is not None else began_ms,
        fired_at_ms=now_ms,
        what=words.what,
        cause=words.cause,
        action=words.action,
    )
