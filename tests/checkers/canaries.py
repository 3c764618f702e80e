"""Searches bytes for planted values, in every disguise in which one could slip through.

A canary is a value that exists nowhere but in a sensitive column of a source, so that one find is one leak.
"""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_SHORTEST = 5
"""Bytes; a shorter pattern would be found by chance."""


@dataclass(frozen=True, slots=True)
class Canary:
    """One planted value and the column it was planted in."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Find:
    """A canary found: where, which, in which disguise, at which byte."""

    where: str
    canary: str
    disguise: str
    offset: int


class Searcher:
    """Looks for canaries in bytes; patterns are made once."""

    def __init__(self, canaries: Iterable[Canary]) -> None:
        self._patterns: dict[bytes, tuple[str, str]] = {}
        for canary in canaries:
            for disguise, pattern in disguises(canary.value):
                if len(pattern) >= _SHORTEST:
                    self._patterns.setdefault(pattern, (canary.name, disguise))

    def search(self, where: str, data: bytes) -> list[Find]:
        """Return the first occurrence of every pattern that `data` holds."""
        return [
            Find(where, name, disguise, offset)
            for pattern, (name, disguise) in self._patterns.items()
            if (offset := data.find(pattern)) >= 0
        ]

    def search_all(self, places: Iterable[tuple[str, bytes]]) -> list[Find]:
        """Return the finds of many places."""
        return [find for where, data in places for find in self.search(where, data)]


def disguises(value: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every form in which a value is looked for."""
    for spelling, text in _spellings(value):
        raw = text.encode()
        yield spelling, raw
        yield f"{spelling}, UTF-16 little-endian", text.encode("utf-16-le")
        yield f"{spelling}, UTF-16 big-endian", text.encode("utf-16-be")
        yield f"{spelling}, hex", raw.hex().encode()
        yield f"{spelling}, hex upper case", raw.hex().upper().encode()
        yield f"{spelling}, URL-encoded", urllib.parse.quote(text, safe="").encode()
        yield f"{spelling}, every byte URL-encoded", "".join(f"%{byte:02X}" for byte in raw).encode()
        yield f"{spelling}, JSON escapes", _json_escapes(text, upper=False)
        yield f"{spelling}, JSON escapes upper case", _json_escapes(text, upper=True)
        yield f"{spelling}, GB 18030", text.encode("gb18030")
        yield from _base64_forms(spelling, raw)


def _spellings(value: str) -> Iterator[tuple[str, str]]:
    yield "as it is", value
    yield "reversed", value[::-1]
    if value.isascii() and len(value) >= 11:  # numbers as people write them
        yield "full width", "".join(chr(ord(char) + 0xFEE0) for char in value)
        for joint, name in ((" ", "spaces"), ("-", "hyphens")):
            yield f"{name} between all", joint.join(value)
            for groups in ((6, 8, 4), (3, 4, 4), (4, 4, 4, 4, 2)):
                if sum(groups) == len(value):
                    yield f"{name} between groups of {groups}", joint.join(_cut(value, groups))
    if value != value.lower():
        yield "lower case", value.lower()


def _cut(value: str, groups: tuple[int, ...]) -> Iterator[str]:
    start = 0
    for size in groups:
        yield value[start : start + size]
        start += size


def _json_escapes(text: str, *, upper: bool) -> bytes:
    """Every UTF-16 unit as backslash-u and four hex digits."""
    units = text.encode("utf-16-be")
    digits = "%04X" if upper else "%04x"
    return "".join(
        rf"\u{digits % int.from_bytes(units[i : i + 2], 'big')}" for i in range(0, len(units), 2)
    ).encode()


def _base64_forms(spelling: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """The part of a base64 text that depends on `raw` alone, for each of its three alignments."""
    for lead in range(3):
        padded = b"\0" * lead + raw
        first = -(-lead * 8 // 6)
        last = len(padded) * 8 // 6
        for alphabet, encode in (("base64", base64.b64encode), ("base64 URL-safe", base64.urlsafe_b64encode)):
            yield f"{spelling}, {alphabet} at {lead}", encode(padded)[first:last]
