"""From a file's columns to the contract's fields: by name, by `source`, by Chinese label, or by a mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from connectors.sources.files.problem import FileProblem
from exchange import strictjson
from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.suggest import listing

MAPPING_FILE: Final = "mapping.json"
"""In a folder: `{"<column>": "<field>", "<another>": null}`; null passes a column over."""


class Header:
    """Knows which field each column of one contract's files is."""

    def __init__(self, contract: Contract, mapping: Mapping[str, str | None]) -> None:
        """Compile. mapping: column → field, None: passed over; it wins over names and labels."""
        self._sources = {field.name: field.source for field in contract.fields.values()}
        names: dict[str, str | None] = {}
        twice: set[str] = set()
        for field in contract.fields.values():
            for name in {field.name, field.source, field.label_zh}:
                if names.setdefault(name, field.name) != field.name:
                    twice.add(name)
        self._fields = {name: field for name, field in names.items() if name not in twice} | dict(mapping)

    def of_row(self, cells: Sequence[Any]) -> list[str | None]:
        """Return each column's member of a record, None for one that is passed over.

        Raises: FileProblem naming columns by number, when one is of no field, or a field has none or two.
        """
        fields = [self._field(cell, number) for number, cell in enumerate(cells, 1)]
        self._check_complete(fields)
        return [None if field is None else self._sources[field] for field in fields]

    def of_object(self, members: Mapping[str, Any]) -> dict[str, Any] | str:
        """Return a JSON object as a record, or the rule that its members break."""
        record: dict[str, Any] = {}
        for name, value in members.items():
            if name not in self._fields:
                return "unknown_field"
            field = self._fields[name]
            if field is not None and self._sources[field] in record:
                return "repeated_field"
            if field is not None:
                record[self._sources[field]] = value
        return record

    def _field(self, cell: Any, number: int) -> str | None:
        name = cell.strip() if isinstance(cell, str) else None
        if name in self._fields:
            return self._fields[name]
        msg = (
            f"column {number} is of no field; the first row names the columns, by field or Chinese label: "
            f"{listing(self._sources, 50)}. Columns of other names take a mapping file"
        )
        raise FileProblem(msg)

    def _check_complete(self, fields: Sequence[str | None]) -> None:
        """See that every field has one column: an upsert is the whole row, what is left out would be lost."""
        missing = [field for field in self._sources if field not in fields]
        if missing:
            msg = f"no column for {', '.join(missing)}; a row replaces all of the one before, so each has one"
            raise FileProblem(msg)
        given = [field for field in fields if field is not None]
        if len(given) != len(set(given)):
            msg = f"two columns for {next(field for field in given if given.count(field) > 1)}"
            raise FileProblem(msg)


def read_mapping(path: Path, contract: Contract) -> dict[str, str | None]:
    """Return a mapping file's content; nothing where there is no such file.

    Raises: ConfigError when it is no object of columns and fields.
    """
    if not path.exists():
        return {}
    wanted = 'wanted: {"<column>": "<field of the contract>", "<column to pass over>": null}'
    try:
        found = strictjson.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({type(error).__name__}); {wanted}, in UTF-8"
        raise ConfigError(msg) from None
    known = {*contract.fields, None}
    if not isinstance(found, dict) or any(field not in known for field in map(_word, found.values())):
        msg = f"{path}: {wanted} (fields: {listing(contract.fields, 50)})"
        raise ConfigError(msg)
    return found


def _word(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(str(value))
