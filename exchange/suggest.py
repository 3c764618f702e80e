"""What to say about an unknown name: what is known, and what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(seen: str, known: Iterable[str]) -> str:
    """Return the unknown name, what is known, and the nearest known one where one is near."""
    names = sorted(known)
    near = hint(seen, names)
    return f"{seen!r} (known: {', '.join(names) or 'none'}){near and '.' + near}"


def hint(seen: object, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(str(seen), sorted(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def listing(words: Iterable[str], most: int = 12) -> str:
    """Return words in alphabetical order, cut after `most`."""
    ordered = sorted(words)
    tail = f", … {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(ordered[:most]) + tail) or "none"
