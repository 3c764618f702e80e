"""What holds for every test, and the stack that is shared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.stack import Stack, running_stack

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("exchange", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("exchange")


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """Yield a stack for all files of a test process whose tests have systems of their own."""
    with running_stack() as running:
        yield running
