"""What to say about an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(seen: str, known: Iterable[str]) -> str:
    """Return the unknown name, what is known, and the nearest known one where one is near."""
    names = sorted(known)
    close = difflib.get_close_matches(seen, names, n=1)
    hint = f". Did you mean {close[0]!r}?" if close else ""
    return f"{seen!r} (known: {', '.join(names) or 'none'}){hint}"
