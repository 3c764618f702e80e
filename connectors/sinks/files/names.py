"""Names of files: they hold the offsets that are in them, so a folder itself says how far it is.

<folder>/<view>/<yyyy-mm-dd>/<hh>-<partition>-<first offset>-<last offset>.csv     the hour is UTC
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[0-9]{2}-(?P<partition>[0-9]+)-[0-9]+-(?P<last>[0-9]+)\.(csv|parquet)")
HOUR_MS: Final = 3_600_000


def file_of(hour: int, partition: int, first: int, last: int, form: str) -> Path:
    """Return a file's path within its view's folder; hour: since 1970-01-01 UTC."""
    at = datetime.fromtimestamp(hour * HOUR_MS / 1000, UTC)
    return Path(f"{at:%Y-%m-%d}") / f"{at:%H}-{partition}-{first:012d}-{last:012d}.{form}"


def next_offsets(files: Iterable[Path]) -> dict[int, int]:
    """Return where each partition goes on by the names of the files that are there."""
    found: dict[int, int] = {}
    for file in files:
        named = _NAME.fullmatch(file.name)
        if named is not None:
            partition, offset = int(named["partition"]), int(named["last"]) + 1
            found[partition] = max(found.get(partition, 0), offset)
    return found
