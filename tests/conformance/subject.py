"""What the conformance suite asks of a kind of source: how its rows are changed, what its types give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from tests.integration.capture import System

DDL = "CREATE TABLE person (id bigint PRIMARY KEY, name varchar(200), amount decimal(12,2))"
AMOUNT = Decimal(1)


@dataclass(frozen=True)
class Put:
    """A row as it is from now on; is_new: its key was not there."""

    key: int
    name: str | None
    is_new: bool = True


@dataclass(frozen=True)
class Delete:
    """The end of a row."""

    key: int


@dataclass(frozen=True)
class Rekey:
    """A row whose key changes; its name stays."""

    key: int
    to: int
    name: str


Change = Put | Delete | Rekey
Told = tuple[str, str | None]
"""Operation and name after it; a delete has none."""


class Changing:
    """Something whose rows of `person` (id, name and amount) can be changed, in a way of its own."""

    lacks: ClassVar[Mapping[str, str]] = {}
    """What a story may need and this kind has not → why. Such tests are not run; see conftest.py."""
    created: ClassVar[str] = "c"
    """The operation by which a new row is told."""

    @abstractmethod
    def commit(self, changes: Sequence[Change], writer: int = 0, *, undo: bool = False) -> None:
        """Change rows, all in one; undo: roll back at the end. They are told in this order of each key.

        A writer whose changes may not have been taken yet (see `confirm`) commits nothing further.
        """

    def confirm(self, writer: int) -> bool:
        """Return whether a writer may go on: whether the source has taken what was committed before."""
        return True

    def fill(self, keys: range) -> None:
        """Commit new rows with the name `row`."""
        self.commit([Put(key, "row") for key in keys])

    def tells(self, change: Change) -> list[tuple[int, Told]]:
        """Return what must be told of a change."""
        match change:
            case Put(key, name, is_new):
                return [(key, (self.created if is_new else "u", name))]
            case Delete(key):
                return [(key, ("d", None))]
            case Rekey(key, to, name):
                return [(key, ("d", None)), (to, ("c", name))]


class InSql(Changing):
    """Changes rows by SQL that all databases here take."""

    @abstractmethod
    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Yield `run(sql)` within a transaction on a connection of its own; rolled back when it raises."""

    def run_sql(self, sql: str) -> None:
        with self.transaction() as run:
            run(sql)

    def commit(self, changes: Sequence[Change], writer: int = 0, *, undo: bool = False) -> None:
        with suppress(_UndoneError), self.transaction() as run:
            for change in changes:
                run(_sql(change))
            if undo:
                raise _UndoneError

    def fill(self, keys: range) -> None:
        with self.transaction() as run:
            for first in range(keys.start, keys.stop, 1000):
                rows = ",".join(f"({key}, 'row', 1)" for key in range(first, min(first + 1000, keys.stop)))
                run(f"INSERT INTO person VALUES {rows}")  # noqa: S608 - our own numbers


class AnySubject(Changing, System):
    """A system under test, whatever its kind."""

    started: ClassVar[str] = "stream_started"
    """What its connector says once it follows the source."""
    large: ClassVar[int] = 5_000
    """Rows of one commit that take three Kafka transactions of struck.py; 0 where there is no such one."""
    faults: ClassVar[Mapping[str, str]] = {"position-first": "lost"}
    """Faults of planted.py that this kind may have → what the judge must find."""
    expected: ClassVar[Mapping[str, Any]]
    """A row with every type, as it must come out of Avro, without its key."""

    @abstractmethod
    def create(self, *, typed: bool) -> None:
        """Make `person`; typed: with every type instead of name and amount."""

    @abstractmethod
    def put_typed(self, key: int, *, nulls: bool) -> None:
        """Commit a row with every type, or with null for each."""


class Subject(InSql, AnySubject):
    """A system with tables. What only these can do, its stories say in SQL."""

    schema: ClassVar[str]
    """Before the table's name: the schema, or the database where there are none."""
    types: ClassVar[str]
    """Columns of a table with every type, without its key."""
    before_types: ClassVar[Collection[str]] = ()
    """Statements to make before that table."""
    row: ClassVar[str]
    """Values for them, as SQL."""

    @abstractmethod
    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def create(self, *, typed: bool) -> None:
        for statement in self.before_types if typed else ():
            self.run_sql(statement)
        self.run_sql(f"CREATE TABLE person (id bigint PRIMARY KEY, {self.types})" if typed else DDL)

    def put_typed(self, key: int, *, nulls: bool) -> None:
        values = ", ".join(["NULL"] * len(self.expected)) if nulls else self.row
        self.run_sql(f"INSERT INTO person VALUES ({key}, {values})")  # noqa: S608 - our own constants


class _UndoneError(Exception):
    pass


def _sql(change: Change) -> str:
    match change:
        case Put(key, None, False):
            return f"UPDATE person SET name = NULL WHERE id = {key}"  # noqa: S608 - our own numbers
        case Put(key, name, False):
            return f"UPDATE person SET name = '{name}' WHERE id = {key}"  # noqa: S608
        case Put(key, name):
            return f"INSERT INTO person VALUES ({key}, '{name}', 1)"  # noqa: S608
        case Delete(key):
            return f"DELETE FROM person WHERE id = {key}"  # noqa: S608
        case Rekey(key, to):
            return f"UPDATE person SET id = {to} WHERE id = {key}"  # noqa: S608
