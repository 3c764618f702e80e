"""`exchange watch`: looks every few seconds, and does what the rules of topology.yaml say.

1 the positions of all subscribers' groups, and what Kafka denied them since the last look
2 the positions are kept for the next look: what is counted is counted once
3 each rule's windows, in Redis
4 where one is full: the alarm, and a suspension in the name `rule:<name>` if the rule says so

Nothing is suspended by half: what fails is done at the next look, and exchange/apply/revoke.py finishes it.
While Redis or Kafka is away nothing is judged: that is told, no data waits for it, and what was read
meanwhile is not counted, so that nobody is suspended for another's outage.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import redis

from exchange import heartbeat, log
from exchange.apply.revoke import Wish, revoke
from exchange.cluster import ADMIN, Cluster
from exchange.errors import ConfigError, ExchangeError
from exchange.revocations import key_of, read_revocations
from exchange.settings import Settings
from exchange.topology import today
from exchange.topology.model import Topology
from exchange.topology.watch import AnyWatchRule
from exchange.watch.kafka import DenialLog, moves, positions
from exchange.watch.rules import Act, Seen, counted_by, limit, told
from exchange.watch.windows import Subject, Windows

EVERY_S: Final = 5.0
_LATE_S: Final = 120.0
"""What was read between two looks further apart than this is not counted: nobody knows when it was read."""
_SHOWN: Final = 20

_log = log.get(__name__)


class Alarm(NamedTuple):
    """A rule that holds for a subscriber; view: empty where the rule is about none."""

    rule: str
    subscriber: str
    view: str
    text: str


class Watch:
    """Watches until stopped. topology: gives the rules, the subscribers and the grants in force."""

    def __init__(self, settings: Settings, topology: Callable[[], Topology]) -> None:
        self._settings = settings
        self._topology = topology
        self._admin = Cluster(settings)
        self._redis = heartbeat.connect(settings)
        self._windows = Windows(self._redis)
        self._denials = DenialLog(settings.kafka_authorizer_log or settings.root / "logs" / "kafka.log")
        self._owed: dict[Subject, Wish] = {}
        self._shown: deque[str] = deque(maxlen=_SHOWN)
        self._stopping = threading.Event()
        self._blind = ""

    def stop(self) -> None:
        """Ask `run` to return after the look under way; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Look until stopped; a look that is not possible is told once, and tried again."""
        while not self._stopping.is_set():
            try:
                self.look(dt.datetime.now(dt.UTC))
                self._blind = ""
            except (redis.RedisError, ExchangeError) as error:
                why = type(error).__name__ if isinstance(error, redis.RedisError) else str(error)
                if why != self._blind:
                    _log.error("watch_is_blind", reason=why, retry_after_s=EVERY_S)
                self._blind = why
            self._beat()
            self._stopping.wait(EVERY_S)
        self._redis.close()

    def look(self, at: dt.datetime) -> list[Alarm]:
        """Look once and return what is newly told.

        Raises: redis.RedisError, ExchangeError when Redis, Kafka or the store of requests does not answer.
        """
        self._suspend_owed()
        topology = self._topology()
        seen_s, before = self._windows.positions()
        now = positions(self._admin.client, topology.subscribers)
        seen = [*moves(before, now, at), *self._denied(topology, at)]
        late = at.timestamp() - seen_s > _LATE_S
        self._windows.keep_positions(at, now)
        judged = [one for one in seen if not (late and one.act is Act.READ)]
        return [alarm for one in judged for alarm in self._judged(topology, one)]

    def _denied(self, topology: Topology, at: dt.datetime) -> Iterator[Seen]:
        for user, count in self._denials.read().items():
            if user in topology.subscribers:
                yield Seen(Act.DENIED, user, "", count, at)

    def _judged(self, topology: Topology, seen: Seen) -> Iterator[Alarm]:
        for name, rule in topology.watch.items():
            amount = counted_by(rule, seen, topology.governance)
            most = limit(rule, topology.expected_records_per_day(seen.subscriber, seen.view))
            if not amount or most is None:
                continue
            window_s = rule.within_minutes * 60
            subject = Subject(name, seen.subscriber, seen.view)
            total = self._windows.add(subject, amount, seen.at, window_s)
            if total < most:
                continue
            views = self._readable(topology, subject) if rule.action == "suspend" else ()
            if views or not self._windows.is_told(subject):
                yield self._held(rule, subject, views, told(rule, total), most)
                self._windows.told(subject, window_s)

    def _readable(self, topology: Topology, subject: Subject) -> tuple[str, ...]:
        """Return what a rule is to suspend: its view, or all of the subscriber's, as far as they hold."""
        granted = topology.granted_views(subject.subscriber, today())
        known = read_revocations(self._settings.kafka_client(ADMIN))
        gone = {key for key, one in known.items() if one.in_force}
        views = (subject.view,) if subject.view else granted
        return tuple(view for view in views if key_of(subject.subscriber, view) not in gone)

    def _held(
        self, rule: AnyWatchRule, subject: Subject, views: tuple[str, ...], seen: str, most: int
    ) -> Alarm:
        on = f" of {subject.view}" if subject.view else ""
        text = (
            f"rule {subject.rule}: {subject.subscriber}{on}: {seen} in {rule.within_minutes} min; "
            f"it holds from {most:,} on"
        )
        who = {"rule": subject.rule, "subscriber": subject.subscriber, "view": subject.view}
        _log.error("abnormal_use", **who, seen=seen, limit=most, action=rule.action)
        self._shown.append(text)
        for view in views:
            wish = Wish(subject.subscriber, view, f"rule:{subject.rule}", text, "suspended")
            self._owed[subject._replace(view=view)] = wish
        if views:
            self._suspend_owed()
            self._windows.forget(subject)  # once it is restored, counting begins anew
        return Alarm(subject.rule, subject.subscriber, subject.view, text)

    def _suspend_owed(self) -> None:
        """Suspend what is to be; what Kafka does not do now is owed until the next look."""
        for subject, wish in list(self._owed.items()):
            try:
                revoke(self._settings, wish)
            except ConfigError as error:  # there is no such view or subscriber any more
                _log.error("suspension_void", rule=subject.rule, view=subject.view, exc_info=error)
            except ExchangeError as error:
                _log.error("suspension_fails", rule=subject.rule, view=subject.view, exc_info=error)
                continue
            else:
                _log.error("suspended", rule=subject.rule, subscriber=subject.subscriber, view=subject.view)
                self._shown.append(
                    f"rule {subject.rule}: {subject.view} is suspended for {subject.subscriber}"
                )
            del self._owed[subject]

    def _beat(self) -> None:
        alarms = [*self._shown, *([f"nothing is judged: {self._blind}"] if self._blind else [])]
        state = "blind" if self._blind else "watching"
        heartbeat.publish(self._redis, "watch", "watch", state, {}, [], alarms)
