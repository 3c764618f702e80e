"""`exchange revoke`: a grant taken away at once, and a certificate of it.

1. remember it in `_exchange.revocations`, so that no `exchange apply` gives it again;
2. take away every rule by which the subscriber, or its deliverer, may read the view's topic;
3. take away the subscriber's login where that was the last of its views, and the bus made it;
4. read the rules back, and note where each partition ends;
5. have Kafka answer the fetches that it accepted before (exchange/apply/flush.py), and note the ends again;
6. sign, and keep the certificate with what is remembered.

Each step may be repeated: where it broke off, the next run does all of it, under the
name and time of the first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # re-exported without a word
from pydantic import JsonValue, ValidationError

from exchange.apply import publish
from exchange.apply.access import deliverer
from exchange.apply.flush import RECORD_BYTES, Flush
from exchange.apply.ledger import Ledger
from exchange.apply.ownership import is_of_bus
from exchange.certificate import Signer
from exchange.cluster import ADMIN, Cluster
from exchange.errors import ConfigError, PartError
from exchange.plan import PLAN_TOPIC, REVOCATIONS_TOPIC, view_topic
from exchange.revocations import Lifted, Revocation, key_of, now, read_revocations, remember
from exchange.settings import Settings
from exchange.suggest import did_you_mean

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be taken away, and in whose name."""

    subscriber: str
    view: str
    actor: str
    reason: str
    kind: Literal["revoked", "suspended"] = "revoked"


def revoke(
    settings: Settings, wish: Wish, report: Callable[[str], object] = lambda _step: None
) -> dict[str, Any]:
    """Take a grant away and return the certificate; `report` hears of each step.

    Where it was revoked before and nothing of it has come back, that certificate is returned.

    Raises: ConfigError for an unknown name; PartError when Kafka refuses, or somebody else's rule lets the
    subscriber read on.
    """
    return Revoking(settings, wish, report).run()


def restore(settings: Settings, wish: Wish, *, for_good: bool) -> Revocation:
    """Lift a suspension, with `for_good` a revocation too; the next `exchange apply` gives the grant again.

    Raises: ConfigError when there is none, or it is a revocation.
    """
    client = settings.kafka_client(ADMIN)
    known = read_revocations(client).get(key_of(wish.subscriber, wish.view))
    if known is None or not known.in_force:
        msg = f"{wish.view} is not revoked from {wish.subscriber}; there is nothing to restore"
        raise ConfigError(msg)
    if known.kind == "revoked" and not for_good:
        msg = (
            f"{wish.view} was revoked from {wish.subscriber}, not suspended ({known}). "
            "Where that was decided anew, say --revoked as well"
        )
        raise ConfigError(msg)
    lifted = _checked(lambda: Lifted(actor=wish.actor, reason=wish.reason, at=now()))
    restored = known.model_copy(update={"lifted": lifted})
    remember(client, restored)
    return restored


class Revoking:
    """One revocation, step by step."""

    def __init__(self, settings: Settings, wish: Wish, report: Callable[[str], object]) -> None:
        self._settings = settings
        self._wish = wish
        self._report = report
        self._cluster = Cluster(settings)
        self._client = settings.kafka_client(ADMIN)
        resource, _, view = wish.view.rpartition(".")
        self._topic = view_topic(resource, view)
        self._readers = frozenset({wish.subscriber, deliverer(wish.subscriber)})
        self._known = dict[str, Revocation]()
        self._partitions = 0

    def run(self) -> dict[str, Any]:
        """Do every step and return the certificate. Raises: as `revoke`."""
        flush = Flush(self._client, self._topic)
        self._check()
        revocation = self._remember()
        closed = self._close()
        gone_at = now()
        ends = self._ends()
        flush.run(self._cluster.client, self._partitions)
        removed = self._remove_login()
        self._confirm()
        if revocation.certificate is not None and not closed and not removed:
            return dict(revocation.certificate)
        certificate = self._sign(revocation, told_at(gone_at), ends)
        remember(self._client, revocation.model_copy(update={"certificate": certificate}))
        self._report("signed")
        return certificate

    def _check(self) -> None:
        """Raise ConfigError for what cannot be meant, before anything is changed."""
        with ThreadPoolExecutor(1) as beside:  # the reader's connections take as long as all the rest
            reading = beside.submit(read_revocations, self._client)
            topics = self._cluster.topics()
            users = {user for user in self._cluster.scram_users() if not is_of_bus(user)}
            readers = {who for who in self._cluster.readers_of(self._topic) if not is_of_bus(who)}
        if self._topic not in topics:
            views = [name.removeprefix("share.") for name in topics if name.startswith("share.")]
            msg = f"no topic of a view {did_you_mean(self._wish.view, views)}"
            raise ConfigError(msg)
        if REVOCATIONS_TOPIC not in topics:
            msg = f"topic {REVOCATIONS_TOPIC} is not there; `exchange apply` of this version makes it"
            raise ConfigError(msg)
        self._known = reading.result()
        # who lost everything has no login any more
        known = (users | readers | {one.subscriber for one in self._known.values()}) - {"*"}
        if is_of_bus(self._wish.subscriber) or self._wish.subscriber not in known:
            msg = f"no subscriber {did_you_mean(self._wish.subscriber, known)}"
            raise ConfigError(msg)
        self._partitions = topics[self._topic]

    def _remember(self) -> Revocation:
        """Return the revocation in force: one that broke off or is done, else a new one, which is written."""
        wish = self._wish
        known = self._known.get(key_of(wish.subscriber, wish.view))
        if known is not None and known.in_force and (known.kind == wish.kind or known.kind == "revoked"):
            self._report("remembered before")
            return known
        made: Revocation = _checked(
            lambda: Revocation(
                subscriber=wish.subscriber,
                view=wish.view,
                kind=wish.kind,
                actor=wish.actor,
                reason=wish.reason,
                ordered_at=now(),
            )
        )
        remember(self._client, made)
        self._report("remembered")
        return made

    def _close(self) -> bool:
        """Take the access away; return whether there was any."""
        closed = self._cluster.close_topic(self._topic, self._readers)
        self._report("access is gone")
        return bool(closed)

    def _remove_login(self) -> bool:
        """Take the subscriber's login away where no view is left to it; return whether that was done.

        One that others made (`existing` in the topology) is theirs: the ledger does not have it.
        """
        who = self._wish.subscriber
        left = any(
            acl.principal == who and acl.resource_type == "topic" and acl.operation in ("read", "all")
            for acl in self._cluster.acls()
        )
        if left:
            return False
        iterations = self._cluster.scram_iterations().get(who)
        if iterations is None:
            return False
        if not self._is_ours(who, iterations):
            self._report("login stays: it is not of the bus's making")
            return False
        self._cluster.remove_scram_user(who)
        self._report("login is gone")
        return True

    def _is_ours(self, user: str, iterations: int) -> bool:
        """Return whether `exchange apply` made a user, and nobody gave it another password since."""
        ledger = Ledger(self._client)
        ledger.read()
        made = ledger.find("user", user)
        return made is not None and made.mark == str(iterations)

    def _confirm(self) -> None:
        """Raise PartError when a rule still lets the subscriber read: for everybody, or made meanwhile."""
        still = self._cluster.readers_of(self._topic) & (self._readers | {"*"})
        if still:
            whom = ", ".join("everybody (User:*)" if name == "*" else name for name in sorted(still))
            msg = (
                f"topic {self._topic}: a rule in Kafka still lets {whom} read it, so nothing is certified. "
                "Remove that rule, which the bus did not make, and run the same command again"
            )
            raise PartError(msg)

    def _ends(self) -> list[dict[str, int]]:
        """Return each partition's end, for readers of what is committed and for those of everything."""
        at = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        stable, high = (
            self._cluster.client.list_offsets(
                {one: OffsetSpec.latest() for one in at},  # type: ignore[no-untyped-call]
                isolation_level=level,
                request_timeout=_TIMEOUT_S,
            )
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        )
        try:
            return [
                {
                    "partition": one.partition,
                    "last_stable_offset": stable[one].result(_TIMEOUT_S).offset,
                    "high_watermark": high[one].result(_TIMEOUT_S).offset,
                }
                for one in at
            ]
        except (KafkaException, TimeoutError) as error:
            msg = f"topic {self._topic}: Kafka does not tell its ends ({type(error).__name__}); run it again"
            raise PartError(msg) from None

    def _sign(
        self, revocation: Revocation, gone_at: str, ends: list[dict[str, int]], **more: JsonValue
    ) -> dict[str, Any]:
        later = self._ends()
        has_login = self._wish.subscriber in self._cluster.scram_users()
        plan_version = 0
        if PLAN_TOPIC in self._cluster.topics():
            plan_version = publish.read_last(self._client).version
        document = {
            "certificate": "exchange.revocation.1",
            "subscriber": revocation.subscriber,
            "view": revocation.view,
            "topic": self._topic,
            "kind": revocation.kind,
            "actor": revocation.actor,
            "reason": revocation.reason,
            "ordered_at": told_at(revocation.ordered_at),
            "access_gone_at": gone_at,
            "login_removed": not has_login,
            "plan_version": plan_version,
            "in_flight_bytes": RECORD_BYTES,
            "partitions": [
                end | {"in_flight_bound": after["high_watermark"]}
                for end, after in zip(ends, later, strict=True)
            ],
            "signed_at": told_at(now()),
        }
        return Signer(self._settings.secrets, make=True).sign(document | more)


def told_at(at: dt.datetime) -> str:
    """Return an instant as certificates have it."""
    return at.isoformat(timespec="milliseconds")


def _checked(make: Callable[[], Any]) -> Any:
    """Return what `make` makes. Raises: ConfigError when a text is missing or too long."""
    try:
        return make()
    except ValidationError as error:
        names = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        msg = f"{names}: wanted is a text of 1 to 500 characters (--as: who; --reason: why)"
        raise ConfigError(msg) from None
