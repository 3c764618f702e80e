"""What holds for every test, and the stack that is shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.stack import Stack, running_stack

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("exchange", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("exchange")


LONGEST = (
    "test_source", "test_bad_input", "test_stream", "test_requests", "test_kill", "test_apply", "test_pull",
    "test_revoke", "test_incremental_snapshot", "test_sink", "test_journey", "test_debezium", "test_parts",
    "test_bench", "test_webhook", "test_postgres_source", "test_demo", "test_quarantine", "test_mysql_source",
    "test_push", "test_postgres_tables", "test_alerts", "test_planner", "test_identity", "test_console",
    "test_consume", "test_postgres_guard", "test_kafka_safety", "test_objection", "test_canaries",
)  # fmt: skip
"""Files that take longest, in that order; a new one that is not here only comes a little late."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, so that none is left for the end, and those of the shared stack last.

    From its first such file to its end a test process has a shared stack, which takes processor time at rest.
    """
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int, str]:
    path = Path(item.path)
    file = (LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST), str(path))
    if isinstance(item, pytest.Function) and getattr(item.module, "SHARES_STACK", False):
        return 2, *file
    return int("unit" in path.parts), *file


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """Yield a stack for all files of a test process whose tests have systems of their own."""
    with running_stack() as running:
        yield running
