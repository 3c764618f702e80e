"""A cell as the JSON value that its field takes; what fits none stays as it is, to be refused by the field.

An empty cell is null. A text is taken as it stands: nothing is trimmed or guessed. A number that Excel holds
in a text field is refused: an ID number kept as a number has lost digits, a code its leading zeros.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from exchange import strictjson
from exchange.fieldtype import FieldType

_WHOLE: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False, "是": True, "否": False}
_FRACTIONAL: Final = frozenset({"float", "double", "decimal"})


def value_of(cell: Any, type_: FieldType) -> Any:
    """Return a cell's value for a field of a type."""
    if cell == "" or cell is None:
        return None
    return _of_text(cell, type_.kind) if isinstance(cell, str) else _of_excel(cell, type_.kind)


def _of_text(text: str, kind: str) -> Any:
    if kind in ("int", "long"):
        return int(text) if _WHOLE.fullmatch(text) else text
    if kind in _FRACTIONAL:
        return Decimal(text) if _NUMBER.fullmatch(text) else text
    if kind == "boolean":
        return _BOOLEANS.get(text.lower(), text)
    if kind in ("record", "array"):
        try:
            return strictjson.loads(text)
        except ValueError:
            return text
    return text


def _of_excel(cell: Any, kind: str) -> Any:
    """Excel knows numbers (all of them doubles), truths and days; a day with a time has no time zone."""
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int | float):
        if kind in ("int", "long") and cell == int(cell):
            return int(cell)
        return Decimal(repr(cell)) if kind in _FRACTIONAL or kind in ("int", "long") else cell
    if isinstance(cell, datetime) and kind == "date":
        return cell.date().isoformat() if cell.time() == datetime.min.time() else cell
    if isinstance(cell, datetime) and kind == "local_timestamp":
        return cell.isoformat()
    if isinstance(cell, date) and kind == "date":
        return cell.isoformat()
    return cell
