"""A stack for each file of tests, as some publish plans; for the rest its tests take names of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange.governance.store import Store
from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Yield the file's stack: the one that is shared where the file says `SHARES_STACK = True`."""
    if getattr(request.module, "SHARES_STACK", False):
        yield request.getfixturevalue("shared_stack")
        return
    with running_stack() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path) -> str:
    """Return the URL of a new store, of each kind of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'governance.db'}"
    return stack.create_database(f"governance_{time.monotonic_ns()}")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Yield that store, opened."""
    with Store(url) as opened:
        yield opened
