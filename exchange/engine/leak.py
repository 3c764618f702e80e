"""The last gate: no finished record may hold a sensitive value that its view does not show.

It knows nothing of masks. It takes the bytes as they would be written and looks for what must not be there,
also where it was copied into free text with full-width digits, blanks or hyphens.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Set
from typing import Final

from exchange.rules import is_id_number

MIN_CHARACTERS: Final = 6
"""Shorter values occur by chance: a two-character name is part of many a street's."""

_SEPARATORS: Final = re.compile(r"[\s\-‐-―._·]+")
_ID_NUMBERS: Final = re.compile(r"(?=([1-8][0-9]{16}[0-9X]))", re.ASCII)
"""Overlapping, without looking at the neighbours: a length byte before the text may look like a digit."""


def find_leak(output: bytes, hidden: Mapping[str, str], approved: Set[str]) -> str | None:
    """Return the path of a hidden value found in the output, or None.

    hidden: sensitive value → path, where the view does not show it; approved: sensitive values that it shows
    for a stated reason. Any other valid ID number in the output counts too, with the empty path: free text
    may hold a third person's.
    """
    loose_output = _loose(output.decode("utf-8", "replace"))
    for value, path in hidden.items():
        if len(value) < MIN_CHARACTERS or value in approved:
            continue
        loose = _loose(value)
        if value.encode() in output or (len(loose) >= MIN_CHARACTERS and loose in loose_output):
            return path
    for match in _ID_NUMBERS.finditer(loose_output):
        if is_id_number(match[1]) and match[1] not in approved:
            return ""
    return None


def loosened(character: str) -> str:
    """Return what a character counts as: decomposed, in upper case, without separators and accents.

    Character by character, so that the kernel can do the same by table. Source: Unicode NFKD.
    """
    bare = _SEPARATORS.sub("", unicodedata.normalize("NFKD", character))
    return "".join(part for part in bare if not unicodedata.category(part).startswith("M")).upper()


class _Loose(dict[int, str]):
    """Code point → loosened text, filled as characters are met."""

    def __missing__(self, code_point: int) -> str:
        found = self[code_point] = loosened(chr(code_point))
        return found


_LOOSE: Final = _Loose()


def _loose(text: str) -> str:
    return text.translate(_LOOSE)
