"""One stack for the suite, one server of each kind, a system of its own for each test.

`@needs("snapshot")` marks a test that has no meaning for a kind which lacks that; see AnySubject.lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from tests.conformance.databases import MariadbSubject
from tests.conformance.harness import SUBJECTS, names, why_not
from tests.conformance.subject import AnySubject, Subject
from tests.mariadb import running_mariadb
from tests.stack import Stack, running_stack

DATABASES = ("postgres", "mariadb")
Make = Callable[..., Any]
"""Makes a system: an AnySubject, for a test that needs what only tables have a Subject."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a kind has not; `make test` does what is long for the databases alone."""
    for item in items:
        if any(item.iter_markers("long")) and _kind(item) not in DATABASES:
            item.add_marker(pytest.mark.slow_faults)
    left_out = [item for item in items if _is_lacking(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_lacking(item: pytest.Item) -> bool:
    needed = {name for mark in item.iter_markers("needs") for name in mark.args}
    return bool(needed) and not needed.isdisjoint(SUBJECTS[_kind(item)].lacks)


def _kind(item: pytest.Item) -> str:
    assert isinstance(item, pytest.Function)
    return str(item.callspec.params["kind"])


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        yield running


KINDS = [
    pytest.param(name, marks=pytest.mark.slow_faults if name.startswith("debezium-") else ())
    for name in SUBJECTS
]
"""Java starts in seconds, and each death is a start: `make test` leaves those kinds to test_debezium.py."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[type[AnySubject]]:
    name: str = request.param
    if why := why_not(name):
        pytest.skip(why)
    with running_mariadb() if name == "mariadb" else nullcontext() as server:
        if server is not None:
            MariadbSubject.server = server
        yield SUBJECTS[name]


@pytest.fixture
def make(stack: Stack, kind: type[AnySubject], request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of systems with `person`; typed: with every type; or with tables of one's own."""
    made: list[AnySubject] = []

    def build(*ddl: str, tables: tuple[str, ...] = ("person",), typed: bool = False) -> AnySubject:
        number = abs(hash(request.node.nodeid)) % 10**8
        subject = kind(stack, f"c{number}n{len(made)}", ())
        made.append(subject)
        if not ddl:
            subject.create(typed=typed)
        if isinstance(subject, Subject):
            for statement in ddl:
                subject.run_sql(statement)
            subject.tables = [name for table in tables for name in names(table, subject)]
        subject.publish()
        return subject

    yield build
    for subject in made:
        subject.close()
