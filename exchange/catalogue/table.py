"""The catalogue as CSV and Excel: one row a resource; in Excel also a sheet with one row a field.

A cell that a spreadsheet would take for a formula stands behind an apostrophe in CSV, which an import takes
off again; Excel's cells are typed as text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import xlsxwriter
from python_calamine import CalamineError, CalamineWorkbook

from exchange.catalogue.exchanged import RESOURCE, Row, row_of
from exchange.catalogue.sheet import Sheet, fields_of
from exchange.errors import ConfigError
from exchange.files import packed

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "'")
_MOST_BYTES: Final = 32 * 1_048_576
_MOST_CELLS: Final = 2_000_000
_WORKBOOK: Final = "xl/workbook.xml"
_ENTRIES, _FIELDS = "catalogue", "fields"


def csv_text(shelf: Iterable[Sheet]) -> str:
    """Return CSV with a byte order mark, without which Excel takes Chinese for something else."""
    rows = [row_of(sheet) for sheet in shelf]
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_header(rows))
    writer.writerows([_guarded(value) for value in row.values()] for row in rows)
    return "\ufeff" + out.getvalue()


def excel(shelf: Sequence[Sheet]) -> bytes:
    """Return an Excel file with a sheet of resources and one of fields."""
    rows = [row_of(sheet) for sheet in shelf]
    fields = [{RESOURCE: sheet.name} | field for sheet in shelf for field in fields_of(sheet)]
    made = io.BytesIO()
    with xlsxwriter.Workbook(made, {"in_memory": True}) as book:
        for name, table in ((_ENTRIES, rows), (_FIELDS, fields)):
            page = book.add_worksheet(name)
            page.freeze_panes(1, 0)
            for line, cells in enumerate([_header(table), *(row.values() for row in table)]):
                for column, cell in enumerate(cells):
                    page.write_string(line, column, _cell(cell))
    return made.getvalue()


def read_csv(name: str, content: bytes) -> list[Row]:
    """Return the rows of a CSV file. Raises: ConfigError where it cannot be read as one."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{name}: not UTF-8; save it from the spreadsheet as `CSV UTF-8`"
        raise ConfigError(msg) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append((f"{name}:{line}", [_unguarded(cell) for cell in cells]))
            line = reader.line_num + 1
    except csv.Error as error:
        msg = f"{name}:{line}: not CSV: {error}"
        raise ConfigError(msg) from None
    return list(_rows(name, rows))


def read_excel(name: str, content: bytes) -> list[Row]:
    """Return the rows of the sheet `catalogue`, or of the first. Raises: ConfigError where there is none."""
    parts = unpacked(name, content, "an Excel file (.xlsx)")
    if _WORKBOOK not in parts:
        msg = f"{name}: not an Excel file (.xlsx); save it anew as one"
        raise ConfigError(msg)
    try:
        book = CalamineWorkbook.from_filelike(packed.workbook(parts.items(), _MOST_CELLS))
        sheet = _ENTRIES if _ENTRIES in book.sheet_names else book.sheet_names[0]
        cells = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except packed.PackedError as error:
        msg = f"{name}: {error}"
        raise ConfigError(msg) from None
    except (CalamineError, IndexError):
        msg = f"{name}: not an Excel file (.xlsx); save it anew as one"
        raise ConfigError(msg) from None
    return list(_rows(name, [(f"{name}: row {number}", row) for number, row in enumerate(cells, 1)]))


def unpacked(name: str, content: bytes, wanted: str) -> dict[str, bytes]:
    """Return the parts of a ZIP file, 32 MiB in all at most: no catalogue is so large.

    Raises: ConfigError when it is larger, or is none; `wanted` says what it should be.
    """
    try:
        return dict(packed.unpacked(io.BytesIO(content), wanted, _MOST_BYTES))
    except packed.PackedError as error:
        msg = f"{name}: {error}"
        raise ConfigError(msg) from None


def _rows(name: str, rows: list[tuple[str, list[Any]]]) -> Iterator[Row]:
    header = [_cell(cell).strip() for cell in rows[0][1]] if rows else []
    if RESOURCE not in header or len(set(header)) != len(header):
        msg = f"{name}: the first row must name the columns, each once, and `{RESOURCE}` among them"
        raise ConfigError(msg)
    for where, row in rows[1:]:
        cells = [_cell(cell) for cell in row]
        if not any(cells):
            continue
        if len(cells) > len(header):
            msg = f"{where}: {len(cells)} cells, and {len(header)} columns are named"
            raise ConfigError(msg)
        columns = dict(zip(header, cells, strict=False))
        yield Row(where, columns.get(RESOURCE, "").strip(), {key: columns[key] for key in columns if key})


def _header(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(rows[0]) if rows else [RESOURCE]


def _cell(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a number that somebody typed; Excel has no whole ones
    return str(value)


def _guarded(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
