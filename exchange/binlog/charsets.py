"""Text of a column's character set → UTF-8, exactly as the server converts it.

Only character sets for which every character was compared with the server's own conversion are here
(tests/integration/test_mysql_source.py does so again); a column of another one is refused by name.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final

Decode = Callable[[bytes], bytes]
"""Raises ValueError for bytes that are no text of the character set."""

_HOLES: Final = frozenset(b"\x81\x8d\x8f\x90\x9d")
_LATIN1: Final = "".join(
    chr(code) if code in _HOLES else bytes([code]).decode("cp1252") for code in range(256)
)
"""The server's latin1 is Windows-1252, whose five undefined codes stand for themselves."""


def _utf8(text: bytes) -> bytes:
    text.decode()
    return text


def _latin1(text: bytes) -> bytes:
    return codecs.charmap_decode(text, "strict", _LATIN1)[0].encode()


def _by(codec: str) -> Decode:
    return lambda text: text.decode(codec).encode()


CHARSETS: Final[dict[str, Decode]] = {
    "utf8": _utf8, "utf8mb3": _utf8, "utf8mb4": _utf8, "ascii": _utf8,
    "latin1": _latin1, "latin2": _by("iso8859-2"), "latin5": _by("iso8859-9"),
    "cp1250": _by("cp1250"), "cp1251": _by("cp1251"), "koi8r": _by("koi8-r"),
    "gbk": _by("gbk"), "gb2312": _by("gb2312"),
    "ucs2": _by("utf-16-be"), "utf16": _by("utf-16-be"), "utf16le": _by("utf-16-le"),
    "utf32": _by("utf-32-be"),
}  # fmt: skip
"""Character set of MySQL and MariaDB → decoder."""
