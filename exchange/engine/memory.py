"""What calls out of the kernel have made, remembered within one bound for a whole worker."""

from __future__ import annotations

from typing import Any, Final, TypeVar

Made = TypeVar("Made")

MAX_ENTRIES: Final = 200_000
"""Of all memories together: some 40 MB of tokens and short texts. Then all is forgotten at once."""
LONGEST_KEY_BYTES: Final = 1_024
"""What is made of longer values is not remembered: they hardly come again, and would fill gigabytes."""


class Memory:
    """Hands out dictionaries and keeps their entries few."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries = 0
        self._dictionaries: list[dict[bytes, Any]] = []

    def dictionary(self) -> dict[bytes, Any]:
        """Return a new dictionary, to be read at will and written through `keep` only."""
        self._dictionaries.append({})
        return self._dictionaries[-1]

    def keep(self, dictionary: dict[bytes, Made], key: bytes, made: Made) -> Made:
        """Remember what was made of a key, and return it; when the memory is full it is emptied first."""
        if len(key) > LONGEST_KEY_BYTES:
            return made
        if self._entries >= self._max_entries:
            self._entries = 0
            for each in self._dictionaries:
                each.clear()
        self._entries += 1
        dictionary[key] = made
        return made
