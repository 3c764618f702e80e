"""One file: judged whole, then loaded in steps, each of which is one transaction with the file's progress.

A file with one bad row is not loaded at all: its department mends it and hands it over again. A file that was
begun goes on at the row after the last one in Kafka; it is known by its content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from connectors.rowrecord import Row, RowRecords
from connectors.sources.files import sheet
from connectors.sources.files.cells import value_of
from connectors.sources.files.header import Header
from connectors.sources.files.problem import FileProblem
from exchange.rowform import Flaw

MOST_TOLD: Final = 1000
"""Refusals of one file that are told one by one; the rest is counted."""
STEP_ROWS: Final = 2000
"""Of one transaction."""
NUMBER_IN_TEXT: Final = "text_cell"
"""Rule that a cell breaks which Excel holds as a number or day, and whose field is a text."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a line is refused: the field and the rule, never the value."""

    line: int
    field: str
    rule: str


@dataclass(slots=True)
class Judgement:
    """What a file holds: rows, refused ones of them, and the first refusals."""

    rows: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)


class FileRows:
    """Reads files of one resource as rows."""

    def __init__(self, records: RowRecords, mapping: dict[str, str | None]) -> None:
        self.records = records
        self.mapping = mapping
        self._header = Header(records.form.contract, mapping)
        fields = records.form.contract.fields.values()
        self._types = {field.source: field.type for field in fields}
        self._names = {field.source: field.name for field in fields}

    def judge(self, path: Path, told: Callable[[int], object] = lambda _rows: None) -> Judgement:
        """Read a file through and return what it holds; `told` hears now and then how many rows were read.

        Raises: FileProblem when it cannot be read as records at all.
        """
        found = Judgement()
        for line, row in self._rows(path, _now_ms()):
            found.rows += 1
            if found.rows % STEP_ROWS == 0:
                told(found.rows)
            if isinstance(row, Row):
                continue
            found.refused += 1
            refusals = [Refusal(line, flaw.field, flaw.rule) for flaw in row]
            found.refusals += refusals[: MOST_TOLD - len(found.refusals)]
        if not found.rows:
            msg = "it holds no row"
            raise FileProblem(msg)
        return found

    def steps(self, path: Path, skip: int) -> Iterator[list[Row]]:
        """Yield the rows of a file that was judged, from the one after `skip` of them, in steps.

        Raises: FileProblem when a row is not as it was.
        """
        rows = islice(self._rows(path, _now_ms()), skip, None)
        while step := list(islice(rows, STEP_ROWS)):
            taken = [row for _, row in step if isinstance(row, Row)]
            if len(taken) < len(step):
                msg = "it was changed after it was judged"
                raise FileProblem(msg)
            yield taken

    def _rows(self, path: Path, now_ms: int) -> Iterator[tuple[int, Row | list[Flaw]]]:
        rows = sheet.rows(path)
        members: list[str | None] = []
        if sheet.has_header(path):
            first = next(rows, None)
            if first is None:
                msg = "it is empty"
                raise FileProblem(msg)
            members = self._header.of_row(first.cells)  # type: ignore[arg-type] # a list where there is a header
        for row in rows:
            record = self._record(row, members)
            yield row.line, record if isinstance(record, list) else self.records.upsert(record, now_ms)

    def _record(self, row: sheet.Row, members: list[str | None]) -> dict[str, Any] | list[Flaw]:
        if row.broken:
            return [Flaw("", row.broken)]
        if isinstance(row.cells, dict):
            record = self._header.of_object(row.cells)
            return record if isinstance(record, dict) else [Flaw("", record)]
        if len(row.cells) != len(members):
            return [Flaw("", "columns")]
        found = {
            member: value_of(cell, self._types[member])
            for member, cell in zip(members, row.cells, strict=True)
            if member is not None
        }
        flaws = [
            Flaw(self._names[member], NUMBER_IN_TEXT)
            for member, value in found.items()
            if not isinstance(value, str | None) and self._types[member].kind in ("string", "enum", "uuid")
        ]
        return flaws or found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
