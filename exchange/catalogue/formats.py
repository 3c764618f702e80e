"""Which format a file of the catalogue has, and the way to write and read each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from exchange.catalogue import dcat, odcs, table
from exchange.catalogue.exchanged import Row
from exchange.catalogue.sheet import Sheet
from exchange.errors import ConfigError

Write = Callable[[Path, Sequence[Sheet]], None]


def _odcs(folder: Path, shelf: Sequence[Sheet]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in shelf:
        (folder / f"{sheet.name}{odcs.SUFFIX}").write_text(odcs.text(sheet), encoding="utf-8")


WRITERS: Final[dict[str, Write]] = {
    "csv": lambda path, shelf: _write(path, table.csv_text(shelf)),
    "xlsx": lambda path, shelf: table.write_excel(path, shelf),
    "odcs": _odcs,
    "dcat": lambda path, shelf: _write(path, dcat.text(shelf)),
}
"""Format → what writes it: a file, or for odcs a folder with a file a resource."""


def write(format_: str, path: Path, shelf: Sequence[Sheet]) -> None:
    """Write resources. Raises: ConfigError for an unknown format, or where the file cannot be written."""
    if format_ not in WRITERS:
        msg = f"--format {format_[:40]}: no such format; there are {', '.join(WRITERS)}"
        raise ConfigError(msg)
    try:
        WRITERS[format_](path, shelf)
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror})"
        raise ConfigError(msg) from None


def read(path: Path) -> list[Row]:
    """Return the rows of a file, by its suffix, or of a folder of ODCS files.

    Raises: ConfigError where it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
            if not files:
                msg = f"{path}: no file like *{odcs.SUFFIX} is in it"
                raise ConfigError(msg)
            return [odcs.read(file) for file in files]
        suffix = path.suffix.lower()
        if suffix in (".yaml", ".yml"):
            return [odcs.read(path)]
        readers = {
            ".csv": table.read_csv,
            ".xlsx": table.read_excel,
            ".jsonld": dcat.read,
            ".json": dcat.read,
        }
        if suffix not in readers:
            msg = (
                f"{path}: a file of another kind is wanted: {', '.join(readers)}, .yaml, or a folder of .yaml"
            )
            raise ConfigError(msg)
        return readers[suffix](path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise ConfigError(msg) from None


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")
