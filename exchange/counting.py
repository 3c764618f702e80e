"""How many of something, as people write it."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return `1 change`, `2 changes`, `1,000 changes`; for nouns whose plural is made with an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
