"""A file as rows of cells, whatever its format; nothing is guessed about what the cells mean."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from python_calamine import CalamineError, CalamineWorkbook

from connectors.sources.files.encoding import detect
from connectors.sources.files.problem import FileProblem
from exchange import strictjson
from exchange.files.packed import PackedError, unpacked, workbook

SUFFIXES: Final = (".csv", ".tsv", ".xlsx", ".jsonl", ".ndjson")
MOST_SHEET_BYTES: Final = 512 * 1_048_576
"""Of an Excel file once unpacked: it is read whole, and a small one may unpack to any size."""
MOST_SHEET_CELLS: Final = 32 * 1_048_576
"""All of Excel's rows in 32 columns, empty cells too; a sheet full of cells has MOST_SHEET_BYTES before."""


class Row(NamedTuple):
    """One row: its line (of CSV the first, of Excel the row's number) and its cells, or one JSON object.

    broken: the rule that the line itself breaks, "" when none.
    """

    line: int
    cells: list[Any] | dict[str, Any]
    broken: str = ""


def rows(path: Path) -> Iterator[Row]:
    """Yield a file's rows, the header first where it has one; empty rows are passed over.

    Raises: FileProblem when the file, or the rest of it, cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        yield from _csv(path, "," if suffix == ".csv" else "\t")
    elif suffix == ".xlsx":
        yield from _excel(path)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(path)
    else:
        msg = f"a file of another kind is wanted: {', '.join(SUFFIXES)}"
        raise FileProblem(msg)


def has_header(path: Path) -> bool:
    """Whether a file's first row names its columns; JSON objects name them themselves."""
    return path.suffix.lower() not in (".jsonl", ".ndjson")


def _csv(path: Path, delimiter: str) -> Iterator[Row]:
    with path.open(encoding=detect(path), newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield Row(line, cells)
                line = reader.line_num + 1
        except csv.Error as error:
            msg = f"line {line}: not CSV: {error}"
            raise FileProblem(msg) from None


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding=detect(path), newline="\n") as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                found = strictjson.loads(line)
            except ValueError:
                yield Row(number, {}, "json")
                continue
            yield Row(number, found) if isinstance(found, dict) else Row(number, {}, "object")


def _excel(path: Path) -> Iterator[Row]:
    try:
        parts = unpacked(path, "an Excel file", MOST_SHEET_BYTES)
        book = CalamineWorkbook.from_filelike(workbook(parts, MOST_SHEET_CELLS))
        sheets = [book.get_sheet_by_index(at) for at in range(len(book.sheet_names))]
        filled = [sheet for sheet in sheets if sheet.to_python(skip_empty_area=True)]
    except PackedError as error:
        msg = f"{error}; save it anew as .xlsx, or hand over CSV"
        raise FileProblem(msg) from None
    except (CalamineError, OSError) as error:
        msg = f"not an Excel file that can be read ({type(error).__name__}); save it anew as .xlsx"
        raise FileProblem(msg) from None
    if len(filled) != 1:
        msg = f"{len(filled)} of its sheets hold data; one is wanted"
        raise FileProblem(msg)
    for number, cells in enumerate(filled[0].to_python(skip_empty_area=False), 1):
        if any(cell != "" for cell in cells):
            yield Row(number, cells)
