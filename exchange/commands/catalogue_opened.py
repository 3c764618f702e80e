"""What the commands of `exchange catalogue` share: the catalogue opened, and decisions brought into Kafka."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.commands.acting import acting
from exchange.commands.topology import load
from exchange.errors import GovernanceError

if TYPE_CHECKING:
    from exchange.catalogue.desk import CatalogueDesk
    from exchange.governance.store import Store
    from exchange.settings import Settings
    from exchange.topology.model import Topology

Actor = Annotated[str, typer.Option("--as", help="Who does it: one of `people` in the topology.")]
Resource = Annotated[str, typer.Argument(help="<domain>.<resource>.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@dataclass(frozen=True, slots=True)
class Opened:
    """What every command of the group works with."""

    settings: Settings
    topology: Topology
    store: Store
    desk: CatalogueDesk


@contextmanager
def opened(actor: str = "") -> Iterator[Opened]:
    """Yield the installation's catalogue; where there is an actor, with their roles.

    Raises: ConfigError, PartError where it cannot be opened; as `acting`.
    """
    from exchange.catalogue.desk import CatalogueDesk
    from exchange.governance.store import Store
    from exchange.settings import Settings

    settings = Settings()
    loaded, contracts = load(settings, settings.topology)
    with Store.of(settings) as store:
        roles = acting(settings, store, loaded.topology, actor) if actor else loaded.topology
        desk = CatalogueDesk(store, roles, contracts)
        yield Opened(settings, loaded.topology, store, desk)


@contextmanager
def relayed(at: Opened, *, needed: bool = True) -> Iterator[None]:
    """Bring decisions into Kafka at the end, after a refusal too."""
    from exchange.cluster import ADMIN
    from exchange.governance.relay import relay

    try:
        yield
    except GovernanceError:
        if needed:
            relay(at.store, at.settings.kafka_client(ADMIN))
        raise
    if needed:
        relay(at.store, at.settings.kafka_client(ADMIN))


def json_line(document: dict[str, Any]) -> str:
    """Return the one JSON object that a command answers with."""
    return json.dumps(document, ensure_ascii=False) + "\n"


def now() -> dt.datetime:
    """Return the moment of a decision."""
    return dt.datetime.now().astimezone()
