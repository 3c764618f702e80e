"""The kinds of source, by the name that topology.yaml uses. postgres is the one to copy for a new kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pydantic import SecretStr

from connectors.source import Source
from connectors.sources.postgres.source import PostgresSource

SOURCES: Final[dict[str, Callable[[str, SecretStr, str, str, Sequence[str], Callable[[], bool]], Source]]] = {
    "postgres": PostgresSource,
}
"""Kind → maker: system, DSN, publication, slot, tables, and a question whether to stop."""
