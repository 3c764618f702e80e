"""Search in the catalogue: every word must occur somewhere in a resource's names, labels or descriptions.

Substrings count, since Chinese is written without spaces; letters count in either case and width.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from exchange.catalogue.sheet import Sheet


def search(shelf: Iterable[Sheet], words: str) -> list[Sheet]:
    """Return the resources that have all words; first those that have them in their own name or label."""
    wanted = _folded(words).split()
    found = [
        (_rank(sheet, wanted), sheet.name, sheet)
        for sheet in shelf
        if all(word in _folded("\n".join(_texts(sheet))) for word in wanted)
    ]
    return [sheet for _, _, sheet in sorted(found, key=lambda each: each[:2])]


def _rank(sheet: Sheet, wanted: list[str]) -> int:
    own = _folded(f"{sheet.name}\n{sheet.resource.label.zh}\n{sheet.resource.label.en}")
    return -sum(word in own for word in wanted)


def _texts(sheet: Sheet) -> Iterator[str]:
    yield from (sheet.name, sheet.department_zh, sheet.department_en, *sheet.declared().values())
    yield from (sheet.contract.label_zh, sheet.contract.label_en)
    if sheet.entry is not None:
        yield from (str(value) for value in sheet.entry.told.model_dump().values())
    for path, field in sheet.leaves():
        yield from (path, field.label_zh, field.label_en, field.element)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
