"""What `exchange apply` made and the topology no longer has: shown, and deleted only where allowed by name.

Nothing is taken for ours by its name alone: an object must stand in the ledger, and carry the mark there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Final

from exchange.apply import access, source
from exchange.apply.ledger import BY_CONNECTOR, INTENDED, Ledger, Made
from exchange.apply.schemas import wanted_subjects
from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.cluster import ADMIN, Cluster
from exchange.compacted import CompactedTopic
from exchange.errors import ExchangeError, PartError
from exchange.plan import POSITIONS_TOPIC
from exchange.position import system_of
from exchange.quotas import Quotas, set_client_quotas
from exchange.registry import Registry, for_writing
from exchange.settings import Settings
from exchange.topology.model import Topology

DATA_TOPICS: Final = ("raw.", "share.", "quarantine.")


class Leftovers:
    """Finds them for one topology."""

    def __init__(self, settings: Settings, cluster: Cluster, ledger: Ledger, topology: Topology) -> None:
        self._settings = settings
        self._cluster = cluster
        self._ledger = ledger
        self._topology = topology

    def survey(
        self, seen: Survey, topics: Mapping[str, int], users: Mapping[str, int], quotas: Quotas
    ) -> None:
        """Add what may be deleted, and a note on what has a name like ours and is not.

        users: Kafka user → iterations of its credential.

        Raises: ExchangeError when Kafka or the registry does not answer.
        """
        seen.deletes += self._topics(seen, topics)
        seen.deletes += self._schemas(seen)
        seen.deletes += self._users(seen, users, quotas)
        seen.deletes += self._in_databases(seen, positions=POSITIONS_TOPIC in topics)

    def _topics(self, seen: Survey, topics: Mapping[str, int]) -> Iterator[Stage]:
        declared = self._topology.data_topics()
        gone = [
            made for made in self._ledger.of("topic") if made.name not in declared and made.name in topics
        ]
        ids = self._cluster.topic_ids(made.name for made in gone)
        ours = [made for made in gone if made.mark == ids[made.name]]
        for made in ours:
            yield self._stage(made, self._delete_topic)
        foreign = {name for name in topics if name.startswith(DATA_TOPICS)} - {made.name for made in ours}
        for name in sorted(foreign - declared.keys()):
            seen.notes.append(f"topic {name} is not declared, and not of our making; it is left as it is")

    def _delete_topic(self, made: Made) -> None:
        if self._cluster.topic_ids([made.name])[made.name] != made.mark:
            msg = f"topic {made.name} was made anew by somebody else in the meantime; it is left as it is"
            raise PartError(msg)
        self._cluster.delete_topic(made.name)

    def _schemas(self, seen: Survey) -> Iterator[Stage]:
        declared = wanted_subjects(self._topology)
        gone = [made for made in self._ledger.of("schema") if made.name not in declared]
        if not gone:
            return
        with for_writing(self._settings) as registry:
            existing = set(registry.subjects())
            for made in gone:
                if made.name not in existing or made.mark == INTENDED:
                    continue
                if self._is_ours(registry, made):
                    yield self._stage(made, self._delete_subject)
                else:
                    seen.notes.append(
                        f"schema {made.name} is not declared, and somebody else registered versions of it; "
                        "it is left as it is"
                    )

    def _is_ours(self, registry: Registry, made: Made) -> bool:
        return made.mark == BY_CONNECTOR or registry.version_ids(made.name) <= set(made.mark.split(","))

    def _delete_subject(self, made: Made) -> None:
        with for_writing(self._settings) as registry:
            registry.delete_subject(made.name)

    def _users(self, seen: Survey, users: Mapping[str, int], quotas: Quotas) -> Iterator[Stage]:
        declared = access.principals(self._topology)
        for made in self._ledger.of("user"):
            if made.name in declared or made.name not in users or made.mark == INTENDED:
                continue
            if made.mark == str(users[made.name]):
                yield self._stage(made, lambda one: self._delete_user(one, quotas))
            else:
                seen.notes.append(
                    f"user {made.name} is not declared, and has a password that apply did not set; it is "
                    "left as it is"
                )

    def _delete_user(self, made: Made, quotas: Quotas) -> None:
        if made.name in quotas:
            set_client_quotas(self._settings, {made.name: dict.fromkeys(quotas[made.name])})
        self._cluster.remove_scram_user(made.name)

    def _in_databases(self, seen: Survey, *, positions: bool) -> Iterator[Stage]:
        """Yield publications and slots, by the database they are in; slots first, they read the former."""
        declared = set(source.names(self._topology))
        found = [*self._ledger.of("slot"), *self._ledger.of("publication")]
        gone = [made for made in found if made.key[:2] not in declared and made.mark != INTENDED]
        captured = self._captured() if gone and positions else frozenset()
        for (system, env), entries in groupby(sorted(gone, key=_database), key=_database):
            made = [one for one in entries if one.kind == "publication" or one.system in captured]
            wish = source.Wanted(system, env, "", ())
            try:
                there = source.there(wish, self._settings.secrets, made)
            except ExchangeError as error:
                seen.notes.append(f"{error}. What apply made there and is not declared stays for now")
                continue
            for one in sorted(there, key=lambda one: one.kind, reverse=True):
                yield self._stage(one, lambda one: source.drop(one, self._settings.secrets))

    def _captured(self) -> frozenset[str]:
        """Return the systems whose connector has stored a position: it made their slots."""
        with CompactedTopic(self._settings.kafka_client(ADMIN), POSITIONS_TOPIC) as topic:
            keys = topic.read().keys()
        return frozenset(system_of(key.decode()) for key in keys)

    def _stage(self, made: Made, delete: Callable[[Made], object]) -> Stage:
        def run() -> None:
            delete(made)
            self._ledger.forget(made)

        where = f"in system {made.system}" if made.system else ""
        return Stage((Line(Mark.UNDECLARED, made.kind, made.name, where),), run)


def _database(made: Made) -> tuple[str, str]:
    return made.system, made.connection_env
