"""Figures as a table: for the terminal, and in Markdown for the report."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their head, columns aligned; the first to the left, the others to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(_width(row[at]) for row in cells) for at in range(len(head))]
    lines = [
        "  ".join(_padded(cell, widths[at], at) for at, cell in enumerate(row)).rstrip() for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same as a Markdown table."""
    lines = [head, [" --- " if not at else " ---: " for at in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines) + "\n"


def _padded(cell: str, width: int, at: int) -> str:
    blanks = " " * (width - _width(cell))
    return cell + blanks if at == 0 else blanks + cell


def _width(cell: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in cell)
