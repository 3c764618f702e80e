"""Rows with a version in a table of the store: each is written only over the version that was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import sqlalchemy as sa

from exchange.errors import NoRequestError, StaleError
from exchange.governance.store import Change


class _Row(Protocol):
    """What a model must have to be kept."""

    @property
    def id(self) -> int: ...

    def model_dump_json(self) -> str: ...


RowT = TypeVar("RowT", bound=_Row)


def judge_version(
    judge: Callable[[], None], there: int, shown: int, *, takes_part: bool, what: str, command: str
) -> None:
    """Judge what somebody does to the version of something that was shown to them.

    1. an older version was overtaken, which comes before every other reason for who takes part in it, in any
    role; 2. `judge` looks at role and state; 3. the version that is there was shown.

    what, command: what it is called, and what shows it.

    Raises: StaleError by 1 and 3; as `judge` does.
    """
    msg = f"{what} is at version {there}, and version {shown} was shown; look again with `exchange {command}`"
    if shown < there and takes_part:
        raise StaleError(msg)
    judge()
    if shown != there:
        raise StaleError(msg)


class Versioned(Generic[RowT]):
    """One table of documents, numbered by the counter of the same name."""

    def __init__(self, name: str, model: type[RowT], word: str) -> None:
        """`word`: what people call a row."""
        self._name = name
        self._model: Any = model
        self._word = word
        self._table = sa.Table(
            name,
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("version", sa.Integer),
            sa.Column("state", sa.Text),
            sa.Column("document", sa.Text),
        )

    def all(self, change: Change) -> list[RowT]:
        """Return all rows, oldest first."""
        query = sa.select(self._table.c.document).order_by(self._table.c.id)
        return [self._model.model_validate_json(document) for document in change.connection.scalars(query)]

    def one(self, change: Change, id_: int) -> RowT:
        """Return a row. Raises: NoRequestError when there is none."""
        query = sa.select(self._table.c.document).where(self._table.c.id == id_)
        found = change.connection.scalar(query)
        if found is None:
            msg = f"there is no {self._word} {id_}; `exchange {self._word} list` shows all"
            raise NoRequestError(msg)
        row: RowT = self._model.model_validate_json(found)
        return row

    def add(self, change: Change, row: RowT) -> RowT:
        """Store a new row and return it with its number."""
        stored: RowT = _any(row).model_copy(update={"id": change.next(self._name)})
        change.connection.execute(sa.insert(self._table).values(**_values(stored)))
        return stored

    def replace(self, change: Change, row: RowT) -> None:
        """Store the next version of a row. Raises: StaleError when another one was stored."""
        seen = _any(row).version - 1
        written = change.connection.execute(
            sa.update(self._table)
            .where(self._table.c.id == row.id, self._table.c.version == seen)
            .values(**_values(row))
        )
        if written.rowcount != 1:
            msg = f"{self._word} {row.id} was changed in the meantime; look at it again"
            raise StaleError(msg)


def _values(row: _Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "version": getattr(row, "version", 1),
        "state": str(getattr(row, "state", "")),
        "document": row.model_dump_json(),
    }


def _any(row: Any) -> Any:
    """Return a row for what the protocol leaves out."""
    return row
