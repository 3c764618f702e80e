"""The kinds of source, by the name that topology.yaml uses. postgres is the one to copy for a new kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pydantic import SecretStr

from connectors.source import Frame, Source, Watch
from connectors.sources.mysql.source import MariadbSource, MysqlSource
from connectors.sources.postgres.slotwatch import SlotWatch
from connectors.sources.postgres.source import PostgresSource
from exchange.plan import PlannedSystem

Make = Callable[[str, SecretStr, str, str, Sequence[str], Callable[[], bool], Frame], Source]
"""Of system, DSN, publication, slot, tables, a question whether to stop, and how records are framed."""

SOURCES: Final[dict[str, Make]] = {
    "postgres": PostgresSource,
    "mysql": MysqlSource,
    "mariadb": MariadbSource,
}
"""Kind → maker."""

MakeWatch = Callable[[PlannedSystem, SecretStr], Watch]

WATCHES: Final[dict[str, MakeWatch]] = {"postgres": SlotWatch}
"""Kind → maker; a kind whose server keeps nothing for its reader has none."""
