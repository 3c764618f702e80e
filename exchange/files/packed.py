"""ZIP files and workbooks from outside, unpacked within bounds: a small one may unpack to any size.

What a file declares of its sizes is not believed. Readers of ZIP files differ on which of two directories
holds, so what was counted here is handed on in a file made anew, and nothing else is.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

_BOUNDED: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""Methods of which Python inflates no more than is asked for; of the others whatever comes."""
_PLACE: Final = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,8})([0-9]{0,18})["']""")
"""Where a row or a cell of a sheet says that it stands: 7, C7. Source: ECMA-376, attribute r of row and c."""


class PackedError(Exception):
    """A packed file is not read; the text says why, and does not name it."""


def unpacked(packed: Path | IO[bytes], wanted: str, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each part of a ZIP file, `most_bytes` in all at most.

    Raises: PackedError when there is more, or it is none; `wanted` says what it should be.
    """
    left, names = most_bytes, set[str]()
    try:
        with zipfile.ZipFile(packed) as opened:
            for part in opened.infolist():
                if part.compress_type not in _BOUNDED or part.filename in names:
                    raise zipfile.BadZipFile
                names.add(part.filename)
                with opened.open(part) as stream:
                    content = stream.read(left + 1)
                left -= len(content)
                if left < 0:
                    msg = (
                        f"unpacks to more than {most_bytes // 1_048_576} MiB, which is the most that is read"
                    )
                    raise PackedError(msg)
                yield part.filename, content
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        msg = f"not {wanted}, or damaged, or locked with a password"
        raise PackedError(msg) from None


def workbook(parts: Iterable[tuple[str, bytes]], most_cells: int) -> io.BytesIO:
    """Return a workbook's parts as a ZIP file made here: as large as it says, and read alike by every reader.

    Raises: PackedError where cells stand so far apart that those between them would fill the memory.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy:
        for name, content in parts:
            _expect_near(content, most_cells)
            copy.writestr(name, content)
    made.seek(0)
    return made


def _expect_near(part: bytes, most_cells: int) -> None:
    rows = columns = 1
    for place in _PLACE.finditer(part):
        letters, digits = place.groups()
        column = 0
        for letter in letters.upper():
            column = 26 * column + letter - 64
        rows, columns = max(rows, int(digits or 1)), max(columns, column)
        if rows * columns > most_cells:
            msg = f"its cells reach to row {rows}, column {columns}; delete what is empty between them"
            raise PackedError(msg)
