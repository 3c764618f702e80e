"""An assessment as an Excel workbook: a sheet for departments, resources and rules."""

from __future__ import annotations

import io
from collections.abc import Iterable

import xlsxwriter

from exchange.model import Model
from exchange.report.assess import Assessment
from exchange.report.render import DEPARTMENTS, RESOURCES, RULES, SHARES, Columns, cell


def workbook(assessment: Assessment) -> bytes:
    """Return the file. No text becomes a formula or a link, whatever it is."""
    out = io.BytesIO()
    plain = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(out, plain) as book:
        _sheet(book, "部门 Departments", DEPARTMENTS, assessment.departments)
        _sheet(book, "资源 Resources", RESOURCES, assessment.resources)
        _sheet(book, "规则 Rules", RULES, assessment.rules)
    return out.getvalue()


def _sheet(book: xlsxwriter.Workbook, name: str, columns: Columns, lines: Iterable[Model]) -> None:
    sheet, bold = book.add_worksheet(name), book.add_format({"bold": True})
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, len(columns) - 1, 22)
    for column, (attribute, heading) in enumerate(columns):
        sheet.write_string(0, column, f"{heading} %" if attribute in SHARES else heading, bold)
    for row, line in enumerate(lines, 1):
        for column, (attribute, _) in enumerate(columns):
            value = cell(line, attribute)
            if isinstance(value, str):
                sheet.write_string(row, column, value)
            elif value is not None:
                sheet.write_number(row, column, value)
