"""Which format a file of the catalogue has, and the way to write and read each."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from exchange.catalogue import dcat, odcs, table
from exchange.catalogue.exchanged import Row
from exchange.catalogue.sheet import Sheet
from exchange.errors import ConfigError

MOST_BYTES: Final = 8 * 1_048_576
"""Of a file that is read: a thousand resources as CSV are half a MiB."""
_YAML: Final = (".yaml", ".yml")


def _zip_of_contracts(shelf: Sequence[Sheet]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as packed:
        for sheet in shelf:
            packed.writestr(f"{sheet.name}{odcs.SUFFIX}", odcs.text(sheet))
    return made.getvalue()


WRITERS: Final[dict[str, tuple[str, Callable[[Sequence[Sheet]], bytes]]]] = {
    "csv": (".csv", lambda shelf: table.csv_text(shelf).encode()),
    "xlsx": (".xlsx", table.excel),
    "odcs": (".zip", _zip_of_contracts),
    "dcat": (".jsonld", lambda shelf: dcat.text(shelf).encode()),
}
"""Format → suffix of its file, and what makes the content."""
_READERS: Final[dict[str, Callable[[str, bytes], list[Row]]]] = {
    ".csv": table.read_csv,
    ".xlsx": table.read_excel,
    ".jsonld": dcat.read,
    ".json": dcat.read,
    **dict.fromkeys(_YAML, lambda name, content: [odcs.read(name, content)]),
    ".zip": lambda name, content: _contracts(name, content),
}


def write(format_: str, path: Path, shelf: Sequence[Sheet]) -> None:
    """Write resources to a file; as odcs to a folder, a file a resource.

    Raises: ConfigError for an unknown format, or where the file cannot be written.
    """
    if format_ not in WRITERS:
        msg = f"--format {format_[:40]}: no such format; there are {', '.join(WRITERS)}"
        raise ConfigError(msg)
    try:
        if format_ != "odcs":
            path.write_bytes(WRITERS[format_][1](shelf))
            return
        path.mkdir(parents=True, exist_ok=True)
        for sheet in shelf:
            (path / f"{sheet.name}{odcs.SUFFIX}").write_text(odcs.text(sheet), encoding="utf-8")
    except OSError as error:
        msg = f"{path}: cannot be written ({error.strerror})"
        raise ConfigError(msg) from None


def read(path: Path) -> list[Row]:
    """Return the rows of a file, by its suffix, or of a folder of ODCS files.

    Raises: ConfigError where it cannot be read.
    """
    try:
        if not path.is_dir():
            return parse(str(path), path.read_bytes())
        files = sorted(file for suffix in _YAML for file in path.glob(f"*{suffix}"))
        if not files:
            msg = f"{path}: no file like *{odcs.SUFFIX} is in it"
            raise ConfigError(msg)
        return [odcs.read(str(file), file.read_bytes()) for file in files]
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror})"
        raise ConfigError(msg) from None


def parse(name: str, content: bytes) -> list[Row]:
    """Return the rows of a file's content, by the suffix of its name.

    Raises: ConfigError where it is too large, or cannot be read as what it says it is.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _READERS:
        msg = f"{name}: a file of another kind is wanted: {', '.join(_READERS)}, or a folder of .yaml"
        raise ConfigError(msg)
    if len(content) > MOST_BYTES:
        msg = f"{name}: larger than {MOST_BYTES // 1_048_576} MiB; import it in several files"
        raise ConfigError(msg)
    return _READERS[suffix](name, content)


def _contracts(name: str, content: bytes) -> list[Row]:
    parts = table.unpacked(name, content, "a ZIP file with contracts (.yaml)")
    found = {part: text for part, text in sorted(parts.items()) if part.lower().endswith(_YAML)}
    if not found:
        msg = f"{name}: no file like *{odcs.SUFFIX} is in it"
        raise ConfigError(msg)
    return [odcs.read(f"{name}/{part[:200]}", text) for part, text in found.items()]
