"""The folder of a resource: what is dropped in it, what is under way, done or refused.

    <folder>/report.csv            dropped; taken once it has settled
    <folder>/.loading/report.csv   being loaded; gone on with after a crash
    <folder>/done/report.csv       all of it is in Kafka
    <folder>/failed/report.csv     refused, beside report.csv.report.json, which says why

A file has settled when its name neither begins with a dot nor ends in .part or .tmp, and size and time of
change have been the same for five seconds. Whoever writes slower than that writes under such a name, and
renames.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from connectors.sources.files.header import MAPPING_FILE
from exchange.errors import SourceError

SETTLED_AFTER_S: Final = 5.0
_UNFINISHED: Final = (".part", ".tmp")
_LOADING, _DONE, _FAILED = ".loading", "done", "failed"


class Folder:
    """One resource's folder."""

    def __init__(self, path: Path, settled_after_s: float = SETTLED_AFTER_S) -> None:
        """Make the folders. Raises: SourceError when they cannot be made or written."""
        self.path = path
        self._settled_after_s = settled_after_s
        self._seen: dict[str, tuple[int, int, float]] = {}
        try:
            for name in (_LOADING, _DONE, _FAILED):
                (path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = (
                f"folder {path}: cannot be used ({os.strerror(error.errno or 0)}); the connector writes there"
            )
            raise SourceError(msg) from None

    @property
    def mapping(self) -> Path:
        """The file that maps columns to fields, if there is one."""
        return self.path / MAPPING_FILE

    def take(self) -> Path | None:
        """Return the file to load next, moved out of the way of a second one of its name; None when none is.

        One that was under way comes first, then the oldest.
        """
        if begun := sorted(path for path in (self.path / _LOADING).iterdir() if path.is_file()):
            return begun[0]
        settled = sorted(self._settled())
        if not settled:
            return None
        name = settled[0][1]
        self._seen.pop(name, None)
        taken = self.path / _LOADING / name
        (self.path / name).rename(taken)
        return taken

    def done(self, path: Path) -> None:
        """Put a file away that is in Kafka."""
        path.rename(_free(self.path / _DONE / path.name))

    def failed(self, path: Path, report: Mapping[str, Any]) -> Path:
        """Put a file away that is refused, with the report beside it; return where it is."""
        place = _free(self.path / _FAILED / path.name)
        text = json.dumps(report, ensure_ascii=False, indent=1)
        place.with_name(f"{place.name}.report.json").write_text(text + "\n", encoding="utf-8")
        path.rename(place)
        return place

    def _settled(self) -> list[tuple[int, str]]:
        """Return time of change and name of every file that has been alike for long enough."""
        now_s = time.monotonic()
        seen: dict[str, tuple[int, int, float]] = {}
        for entry in os.scandir(self.path):
            name = entry.name
            if name.startswith(".") or name == MAPPING_FILE or not entry.is_file(follow_symlinks=False):
                continue
            state = entry.stat(follow_symlinks=False)
            size, changed, since_s = self._seen.get(name, (-1, -1, now_s))
            if (size, changed) != (state.st_size, state.st_mtime_ns):
                since_s = now_s
            seen[name] = (state.st_size, state.st_mtime_ns, since_s)
        self._seen = seen
        return [
            (changed, name)
            for name, (_, changed, since_s) in seen.items()
            if now_s - since_s >= self._settled_after_s and not name.endswith(_UNFINISHED)
        ]


class FileLock:
    """One load of a system's files at a time on this machine: the connector's or `exchange load`'s."""

    def __init__(self, home: Path, system: str) -> None:
        """home: the installation's; the lock is a file in it."""
        self._path = home / "locks" / f"load-{system}"
        self._held: int | None = None

    def acquire(self) -> bool:
        """Take it if nobody has it; whoever has it may take it again."""
        if self._held is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._held = handle
        return True

    def release(self) -> None:
        """Give it up; the kernel does so when the process dies."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _free(path: Path) -> Path:
    """Return the path, or one with a number where a file of that name was put away before."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return free
