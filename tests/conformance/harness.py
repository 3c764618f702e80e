"""The kinds of source under test."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.databases import MariadbSubject, PostgresSubject
from tests.conformance.debezium import DebeziumEngineSubject, DebeziumTopicsSubject
from tests.conformance.handed import FilesSubject, HttpSubject
from tests.conformance.subject import AnySubject, Subject
from tests.mariadb import MISSING, is_here

SUBJECTS: dict[str, type[AnySubject]] = {
    "postgres": PostgresSubject,
    "mariadb": MariadbSubject,
    "debezium-engine": DebeziumEngineSubject,
    "debezium-topics": DebeziumTopicsSubject,
    "http": HttpSubject,
    "files": FilesSubject,
}
"""Kind of system → its harness. A new kind of source is one entry and its class."""


def why_not(kind: str) -> str:
    """Return why a kind cannot be tested here; empty when it can."""
    return MISSING if kind == "mariadb" and not is_here() else ""


def names(table: str, subject: Subject) -> Sequence[str]:
    return (f"{subject.schema}.{table}",)
