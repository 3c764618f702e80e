"""Which encoding a text file is in: UTF-8 or GB18030, told apart by proof, never by likelihood."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from connectors.sources.files.problem import FileProblem

_CHUNK_BYTES: Final = 1_048_576
UTF_8: Final = "utf-8-sig"
"""UTF-8, whose mark at the beginning (BOM) is no part of the text."""
GB18030: Final = "gb18030"


def detect(path: Path) -> str:
    """Return `utf-8-sig` or `gb18030`.

    GB18030 takes nearly any bytes, also those of UTF-8 with one byte broken, and would make other characters
    of them. So a file is GB18030 only when its very first character beyond ASCII is no UTF-8.

    Raises: FileProblem naming the line, when a file is neither, or is UTF-8 with a broken byte.
    """
    utf8 = _first_fault(path, "utf-8")
    if utf8 is None:
        return UTF_8
    line, is_first = utf8
    if not is_first:
        msg = f"line {line}: bytes that are not UTF-8, in a file that is UTF-8 before them; save it anew"
        raise FileProblem(msg)
    other = _first_fault(path, GB18030)
    if other is not None:
        msg = f"line {other[0]}: bytes that are neither UTF-8 nor GB18030; save it as UTF-8"
        raise FileProblem(msg)
    return GB18030


def _first_fault(path: Path, encoding: str) -> tuple[int, bool] | None:
    """Return the line of the first bytes that the encoding has not, and whether all before them is ASCII."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, only_ascii = 1, True
    with path.open("rb") as source:
        while True:
            chunk = source.read(_CHUNK_BYTES)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                return line + before.count(b"\n"), only_ascii and before.isascii()
            line += text.count("\n")
            only_ascii = only_ascii and text.isascii()
            if not chunk:
                return None
