"""A stack for each file of tests, as some publish plans; for the rest its tests take names of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Yield the file's stack: the one that is shared where the file says `SHARES_STACK = True`."""
    if getattr(request.module, "SHARES_STACK", False):
        yield request.getfixturevalue("shared_stack")
        return
    with running_stack() as running:
        yield running
