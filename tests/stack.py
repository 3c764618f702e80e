"""The stack the tests run on: real Kafka, Redis, PostgreSQL and monitor in a home of their own."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import psycopg
from psycopg import sql

from exchange import local
from exchange.cluster import Cluster
from exchange.local.home import Home
from exchange.local.stack import ALL_PARTS
from exchange.settings import Settings

_T = TypeVar("_T")


@dataclass(frozen=True)
class Stack:
    """A running stack."""

    settings: Settings

    @cached_property
    def admin(self) -> Cluster:
        """Kafka as its administrator."""
        return Cluster(self.settings)

    @property
    def home(self) -> Path:
        return self.settings.root

    def postgres_dsn(self, database: str = "postgres") -> str:
        """Return the superuser's DSN for a database of the embedded PostgreSQL."""
        host, _, port = (self.settings.endpoints().postgres or "").rpartition(":")
        password = self.settings.secrets.get("EXCHANGE_POSTGRES_PASSWORD").get_secret_value()
        return f"postgresql://postgres:{password}@{host}:{port}/{database}"

    def create_database(self, name: str) -> str:
        """Create a database and return the superuser's DSN for it."""
        with psycopg.connect(self.postgres_dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.postgres_dsn(name)

    def log(self, part: str) -> str:
        """Return what a part has logged so far."""
        return (self.home / "logs" / f"{part}.log").read_text(errors="replace")


@contextmanager
def running_stack(parts: Collection[str] = ALL_PARTS, home: Path | None = None) -> Iterator[Stack]:
    """Bring a stack up, and stop it and delete its home at the end, whatever happens."""
    root = home or Path(tempfile.mkdtemp(prefix="exchange-test-"))
    settings = Settings(home=root)
    try:
        Home(root).make()
        Home(root).keep_from_usual_ports()
        local.up(settings, _say, parts)
        yield Stack(settings)
    finally:
        remove(settings)


def remove(settings: Settings) -> None:
    """Stop everything in a home and delete it, with what lies outside."""
    if not settings.root.exists():
        return
    local.down(settings)
    for place in Home(settings.root).state().places.values():
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(settings.root, ignore_errors=True)


def wait_for(look: Callable[[], _T | None], what: str, timeout_s: float = 60.0) -> _T:
    """Return what `look` returns as soon as it is true; fail with `what` when the time is over."""
    deadline = monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        sleep(0.05)


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")
