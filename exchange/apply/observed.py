"""What is there now, looked at side by side: brokers take a second for the settings of 1500 topics."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from exchange.apply import publish, source
from exchange.apply.ledger import Ledger
from exchange.apply.schemas import Registered, Schemas
from exchange.apply.topics import Topics
from exchange.cluster import ADMIN, Acl, Cluster
from exchange.errors import ExchangeError
from exchange.plan import MADE_TOPIC, PLAN_TOPIC
from exchange.quotas import Quotas, client_quotas
from exchange.settings import Settings

_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Observed:
    """Kafka, the registry and the databases as they are.

    topics: name → partitions; configs: topic → its settings; users: user → iterations of its credential;
    publications: what is to be done for each, or what is in the way.
    """

    topics: Mapping[str, int]
    configs: Mapping[str, Mapping[str, str]]
    users: Mapping[str, int]
    quotas: Quotas
    acls: frozenset[Acl]
    last_plan: publish.LastPlan
    registered: Registered
    publications: tuple[source.Publication | ExchangeError, ...]


def look(
    settings: Settings,
    cluster: Cluster,
    ledger: Ledger,
    parts: tuple[Topics, Schemas],
    databases: tuple[source.Wanted, ...],
) -> Observed:
    """Look at everything, and have the ledger read.

    Raises: ExchangeError when Kafka or the registry does not answer.
    """
    of_topics, of_schemas = parts
    topics = cluster.topics()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        configs = pool.submit(of_topics.settings, topics)
        registered = pool.submit(of_schemas.look)
        acls, users = pool.submit(cluster.acls), pool.submit(cluster.scram_iterations)
        quotas = pool.submit(client_quotas, settings)
        made = pool.submit(ledger.read) if MADE_TOPIC in topics else None
        found = [pool.submit(source.survey, wish, settings.secrets) for wish in databases]
        last = publish.LastPlan(0, None)
        if PLAN_TOPIC in topics:
            last = publish.read_last(settings.kafka_client(ADMIN))
        if made is not None:
            made.result()
        return Observed(
            topics,
            configs.result(),
            users.result(),
            quotas.result(),
            acls.result(),
            last,
            registered.result(),
            tuple(map(_outcome, found)),
        )


def _outcome(planned: Future[source.Publication]) -> source.Publication | ExchangeError:
    try:
        return planned.result()
    except ExchangeError as error:
        return error
