"""Files for their owner alone."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_private(file: Path, content: bytes) -> None:
    """Write a file that nobody else may read, whole or not at all; its folder is made where there is none.

    Raises: OSError when it cannot be written; no part of it stays.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # what was in the way of writing is what is told
            draft.unlink()
        raise
