"""A resource's quarantine as its steward deals with it through a server: a page, one opened, some sent again.

The private key stays with the steward: it is here for the call that brings it, and nowhere else. What is
opened or sent again is noted with the decisions, and so is each attempt that was refused.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import SecretStr

from exchange import rawkeys
from exchange.apply.access import redriver
from exchange.change import Reason
from exchange.errors import ConfigError, GovernanceError, NotAllowedError, SealError
from exchange.governance.authority import expect_held, expect_known
from exchange.governance.noting import attempt, carried_out, looked
from exchange.governance.request import Who
from exchange.governance.store import Decision, Store, done_below
from exchange.keys import read_key
from exchange.plan import quarantine_topic
from exchange.quarantine.described import decoded
from exchange.quarantine.entries import Entry, Topics, chosen, entries
from exchange.quarantine.redrive import Outcome, redrive
from exchange.registry import Registry
from exchange.settings import Settings
from exchange.subscriber.decoder import WireDecoder
from exchange.topology.model import Topology

MOST_AT_ONCE: Final = 100
_MOST_READ: Final = 20_000
_READ_S: Final = 5.0
"""A page, or the next to be sent again, is looked for among so many entries and for so long at most."""

_ENDS: Final = "~"
"""Where a batch ends others begin: <place>~<end of partition 0>.<of partition 1>…"""
_TURNS: Final[dict[str, threading.Lock]] = {}
"""Department → held by the one re-drive that there may be: a second one would end the first."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in their order. following: the place behind which others may be; empty at the end."""

    entries: tuple[Entry, ...]
    following: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A refused record in clear; key and value as JSON, for its steward's eyes alone."""

    entry: Entry
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be sent again: places, or all of a reason; dry_run: it is only judged.

    after: `following` of the batch before; only what was there when the first one began belongs to it.
    """

    resource: str
    places: tuple[str, ...] = ()
    reason: Reason | None = None
    after: str = ""
    dry_run: bool = False

    @property
    def about(self) -> str:
        """What a decision says it is about."""
        return _about(self.resource, *(self.places or ("reason", str(self.reason))))


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of MOST_AT_ONCE entries at most. following: as of a Page."""

    outcomes: tuple[Outcome, ...]
    following: str


class Desk:
    """Quarantines as people deal with them; each call names who acts."""

    def __init__(self, settings: Settings, store: Store, topology: Topology) -> None:
        """topology: in which whoever acts has the roles in which they act."""
        self._settings = settings
        self._store = store
        self._topology = topology

    def page(self, actor: str, resource: str, reason: Reason | None, after: str, limit: int) -> Page:
        """Return entries of a resource, those of a reason where one is given.

        Raises: NotAllowedError unless the actor is steward of its department; ConfigError when Kafka's
        password for that is missing here; PartError when Kafka does not answer.
        """
        _kafka, topics = self._kafka(self._department(actor, resource))
        page = _page(entries(topics, resource, after), reason, limit)
        return replace(page, entries=tuple(map(_without_payload, page.entries)))

    def sent_again(self, resource: str) -> dict[str, str]:
        """Return place → when it was sent again by way of this store."""
        about = _about(resource, "")
        with self._store.beside() as connection:
            done = done_below(connection, "redrive", about)
        return {place: one.at for one in done for place in one.about.removeprefix(about).split()}

    def open(self, actor: str, resource: str, place: str, key: SecretStr, now: dt.datetime) -> Opened:
        """Open one record; it is noted before anybody sees it.

        Raises: as `page`; NoEntryError; NotAllowedError when the key does not open it; GovernanceError when
        it is no key, or there is no payload.
        """
        tried = attempt(actor, "open", 0, now, about=_about(resource, place))
        return carried_out(
            self._store,
            tried,
            lambda: self._open(actor, resource, place, key),
            lambda before, _opened: before.model_copy(update={"outcome": "done"}),
        )

    def redrive(self, actor: str, wanted: Wanted, key: SecretStr, now: dt.datetime) -> Batch:
        """Send entries again, MOST_AT_ONCE at most; the decision names those that were.

        Raises: as `page`; NoEntryError; NotAllowedError when the key opens none of them; GovernanceError when
        it is no key, or another re-drive of the department is under way.
        """
        tried = attempt(actor, "redrive", 0, now, about=wanted.about)
        if wanted.dry_run:
            return looked(self._store, tried, lambda: self._redrive(actor, wanted, key))
        return carried_out(self._store, tried, lambda: self._redrive(actor, wanted, key), _sent)

    def _open(self, actor: str, resource: str, place: str, key: SecretStr) -> Opened:
        department = self._department(actor, resource)
        private_key = _private_key(key, department)
        _kafka, topics = self._kafka(department)
        [entry] = chosen(topics, resource, [place])
        if entry.record is None or not entry.record.sealed:
            msg = f"{_about(resource, place)}: its payload was not kept, so there is nothing to open"
            raise GovernanceError(msg)
        try:
            found = entry.record.open(private_key)
        except SealError as error:
            raise NotAllowedError(str(error)) from None
        with Registry(self._settings.endpoints().registry) as registry:
            key_text, value_text = (_json(decoded(WireDecoder(registry), part)) for part in found)
        return Opened(entry, key_text, value_text)

    def _redrive(self, actor: str, wanted: Wanted, key: SecretStr) -> Batch:
        department = self._department(actor, wanted.resource)
        private_key = _private_key(key, department)
        kafka, topics = self._kafka(department)
        with _turn(department):
            page = self._chosen(topics, wanted)
            _expect_fits(page.entries, private_key, department)
            secrets = self._settings.secrets
            outcomes = redrive(
                kafka,
                f"redrive-{department}",
                topics,
                page.entries,
                private_key,
                rawkeys.opener(secrets),
                rawkeys.sealer_of(secrets, self._topology, wanted.resource),
                dry_run=wanted.dry_run,
            )
        return Batch(tuple(outcomes), page.following)

    def _chosen(self, topics: Topics, wanted: Wanted) -> Page:
        """Return what is to be sent now; of a reason never what was refused since the first batch.

        What is refused again stands in the same quarantine: without that end it would go round for ever.
        """
        if wanted.places:
            return Page(tuple(chosen(topics, wanted.resource, dict.fromkeys(wanted.places))), "")
        place, _, known = wanted.after.partition(_ENDS)
        if known:
            ends = dict(enumerate(map(int, known.split("."))))
        else:
            spans = topics.spans(quarantine_topic(wanted.resource))
            ends = {partition: end for partition, (_first, end) in spans.items()}
        page = _page(entries(topics, wanted.resource, place, ends), wanted.reason, MOST_AT_ONCE)
        if not page.following:
            return page
        told = ".".join(str(ends.get(partition, 0)) for partition in range(max(ends) + 1))
        return replace(page, following=f"{page.following}{_ENDS}{told}")

    def _department(self, actor: str, resource: str) -> str:
        """Return the department of a resource. Raises: NotAllowedError unless the actor is its steward."""
        expect_known(self._topology, resource=resource)
        department = self._topology.steward_department(resource)
        expect_held(self._topology, actor, Who.STEWARD, department)
        return department

    def _kafka(self, department: str) -> tuple[dict[str, Any], Topics]:
        who = redriver(department)
        kafka = self._settings.kafka_client(who)
        return kafka, Topics(kafka, f"{who}.quarantine")


@contextmanager
def _turn(department: str) -> Iterator[None]:
    """Hold a department's turn. Raises: GovernanceError at once when another re-drive has it."""
    lock = _TURNS.setdefault(department, threading.Lock())
    if not lock.acquire(blocking=False):
        msg = f"a re-drive of department {department} is under way; try again when it has ended"
        raise GovernanceError(msg)
    try:
        yield
    finally:
        lock.release()


def _page(found: Generator[Entry, None, None], reason: Reason | None, limit: int) -> Page:
    """Return the next entries of a reason, as far as they are found in bounded time."""
    taken: list[Entry] = []
    until = time.monotonic() + _READ_S
    with closing(found):
        for count, entry in enumerate(found, start=1):
            if reason is None or (entry.record is not None and entry.record.reason == reason):
                taken.append(entry)
            if len(taken) == limit or count == _MOST_READ or time.monotonic() > until:
                return Page(tuple(taken), entry.place)
    return Page(tuple(taken), "")


def _without_payload(entry: Entry) -> Entry:
    """Return an entry as it is listed: of five hundred, payloads may be half a gigabyte."""
    record = entry.record
    return entry if record is None else replace(entry, record=replace(record, sealed=record.sealed[:1]))


def _private_key(key: SecretStr, department: str) -> bytes:
    try:
        return read_key(key.get_secret_value(), f"{department}.key")
    except ConfigError as error:
        raise GovernanceError(str(error)) from None


def _expect_fits(found: Iterable[Entry], private_key: bytes, department: str) -> None:
    """Raise NotAllowedError when a key opens none of the payloads there are."""
    sealed = [entry.record for entry in found if entry.record is not None and entry.record.sealed]
    for record in sealed:
        try:
            record.open(private_key)
        except SealError:
            continue
        return
    if sealed:
        msg = f"the key opens none of {len(sealed)} records; wanted is {department}.key, as it was then"
        raise NotAllowedError(msg)


def _sent(tried: Decision, batch: Batch) -> Decision:
    """Return the decision on what was sent, which names the places and no other."""
    done = [outcome.entry.place for outcome in batch.outcomes if outcome.done]
    told = f"{len(done)} re-driven, {len(batch.outcomes) - len(done)} kept back"
    resource = tried.about.split()[1]
    return tried.model_copy(update={"outcome": "done", "reason": told, "about": _about(resource, *done)})


def _about(resource: str, *places: str) -> str:
    return " ".join(("quarantine", resource, *places))


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2, default=str)
