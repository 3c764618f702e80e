"""One stack for the suite, one server of each kind, a system of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.harness import DDL, SUBJECTS, MariadbSubject, Subject, names, why_not
from tests.mariadb import running_mariadb
from tests.stack import Stack, running_stack

Make = Callable[..., Subject]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        yield running


@pytest.fixture(scope="module", params=SUBJECTS)
def kind(request: pytest.FixtureRequest) -> Iterator[type[Subject]]:
    name: str = request.param
    if why := why_not(name):
        pytest.skip(why)
    if name != "mariadb":
        yield SUBJECTS[name]
        return
    with running_mariadb() as server:
        MariadbSubject.server = server
        yield MariadbSubject


@pytest.fixture
def make(stack: Stack, kind: type[Subject], request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of systems with the table `person`, captured once `publish` was called."""
    made: list[Subject] = []

    def build(*ddl: str, tables: tuple[str, ...] = ("person",)) -> Subject:
        number = abs(hash(request.node.nodeid)) % 10**8
        subject = kind(stack, f"c{number}n{len(made)}", ())
        made.append(subject)
        for statement in ddl or (DDL,):
            subject.run_sql(statement)
        subject.tables = [name for table in tables for name in names(table, subject)]
        subject.publish()
        return subject

    yield build
    for subject in made:
        subject.close()
