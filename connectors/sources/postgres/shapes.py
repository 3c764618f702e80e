"""The shapes of a source's tables: read from its catalogue for the snapshot, then told by the stream."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.sources.postgres.catalog import Catalog, SourceTable
from connectors.sources.postgres.envelope import ShapeColumn, TableShape
from connectors.sources.postgres.marks import RECREATED, UNUSABLE, Marks
from connectors.sources.postgres.pgoutput import Relation
from connectors.sources.postgres.types import mapping
from exchange.errors import GapError, SourceError


class Shapes:
    """Compiles shapes, and keeps those that the stream's changes refer to. `tables`: those to capture."""

    def __init__(
        self, catalog: Catalog, tables: Mapping[str, SourceTable], marks: Marks | None = None
    ) -> None:
        self._catalog = catalog
        self._database = catalog.database()
        self._tables = tables
        self._marks = marks or Marks(catalog.system)
        self._relations: dict[int, Relation] = {}
        self._shapes: dict[int, TableShape | None] = {}

    def of_table(self, table: SourceTable) -> TableShape:
        """Compile a table's shape as the catalogue showed it."""
        return self._compile(table.relation, table.key)

    def learn(self, relation: Relation) -> None:
        """Compile a table's shape where it is another: after each TRUNCATE the same one is told again."""
        if self._relations.get(relation.oid) != relation:
            self._shapes[relation.oid] = self._captured_or_halted(relation)
            self._relations[relation.oid] = relation

    def of_relation(self, oid: int) -> TableShape | None:
        """Return the shape learned last; None for a table that the plan does not capture."""
        return self._shapes.get(oid)

    def told(self, name: str) -> Relation | None:
        """Return how the stream told of a table last, None when it has not."""
        for oid, shape in self._shapes.items():
            if shape is not None and shape.shape.table == name:
                return self._relations[oid]
        return None

    def since(self, oid: int) -> int:
        """Return the log position from which a table's changes are captured."""
        shape = self._shapes.get(oid)
        return 0 if shape is None else self._marks.since(shape.shape.table)

    def _captured_or_halted(self, relation: Relation) -> TableShape | None:
        """Compile a relation message; a table that cannot go on is halted alone, from this change on."""
        name = f"{relation.schema}.{relation.table}"
        if name not in self._tables or name in self._marks.halted:
            return None
        if relation.oid != self._tables[name].relation.oid:
            self._marks.halt(name, RECREATED, f"table {name} was dropped and made anew")
            return None
        try:
            return self._captured(name, relation)
        except SourceError as error:
            self._marks.halt(name, UNUSABLE, str(error).removeprefix(f"source {self._catalog.system}: "))
            return None

    def _captured(self, name: str, relation: Relation) -> TableShape:
        if relation.replica_identity == "d":
            key = tuple(column.name for column in relation.columns if column.identity)
        elif relation.replica_identity == "f":
            key = self._key_of_full(name, {column.name for column in relation.columns})
        else:
            key = ()
        if not key:
            msg = (
                f"source {self._catalog.system}: table {name} no longer has a primary key as replica "
                f"identity; give it one and run ALTER TABLE {name} REPLICA IDENTITY DEFAULT or FULL"
            )
            raise SourceError(msg)
        return self._compile(relation, key)

    def _key_of_full(self, name: str, columns: set[str]) -> tuple[str, ...]:
        """Under REPLICA IDENTITY FULL the message does not tell the key: as before, or else as it is now."""
        for key_of in (lambda name: self._tables[name].key, self._catalog.key_now):
            if columns.issuperset(key := key_of(name)):
                return key
        msg = (
            f"source {self._catalog.system}: table {name} had other columns in its primary key when this "
            "change was made than it has now; its key cannot be told"
        )
        raise GapError(msg)

    def _compile(self, relation: Relation, key: tuple[str, ...]) -> TableShape:
        columns = tuple(
            ShapeColumn(
                column.name,
                column.name in key,
                mapping(column.type_oid, column.typmod, self._catalog.type_of),
            )
            for column in relation.columns
        )
        return TableShape(self._catalog.system, self._database, relation.schema, relation.table, columns)
