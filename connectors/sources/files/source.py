"""Dropped files as a `Source`: one after the other, each judged whole before its first row is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from connectors.rowrecord import Row, RowRecords
from connectors.source import Batch
from connectors.sources.files.folder import FileLock, Folder
from connectors.sources.files.header import read_mapping
from connectors.sources.files.load import FileRows
from connectors.sources.files.problem import FileProblem
from connectors.sources.files.progress import Progress, ProgressStore
from connectors.sources.files.steps import first_position, step_batch
from exchange import log
from exchange.errors import ConfigError, SourceError
from exchange.position import SourcePosition

_IDLE_S: Final = 0.5

_log = log.get(__name__)


class _Stopped(Exception):
    """The connector is to end while a file is judged."""


@dataclass(slots=True)
class _Current:
    """The file under way. rows: of all of it; progress: what is in Kafka once the last batch is."""

    folder: Folder
    path: Path
    key: bytes
    records: RowRecords
    rows: int
    progress: Progress
    steps: Iterator[list[Row]]
    ends_at: int = -1
    """Commit position of its last batch, -1 before that."""


class FilesSource:
    """The `Source` protocol on folders. See connectors/source.py for the calling order."""

    _position: SourcePosition

    def __init__(
        self,
        system: str,
        resources: Sequence[tuple[RowRecords, Folder]],
        store: ProgressStore,
        lock: FileLock,
        stopping: Callable[[], bool],
    ) -> None:
        self._system = system
        self._resources = resources
        self._store = store
        self._lock = lock
        self._stopping = stopping
        self._current: _Current | None = None

    def open(self, stored: SourcePosition | None) -> None:
        """Begin a history the first time; else go on with it."""
        self._position = stored or first_position(self._system)

    def read(self) -> Batch:
        """Return the next rows of the file under way, else begin with the next file."""
        with self._folders_usable():
            return self._read()

    def _read(self) -> Batch:
        if self._current is None:
            try:
                self._current = self._next_file()
            except _Stopped:
                self._lock.release()
        if self._current is None:
            if not self._stopping():
                time.sleep(_IDLE_S)
            return Batch((), self._position)
        if self._current.ends_at >= 0:  # all of it was read, and waits for its commit
            return Batch((), self._position)
        return self._step(self._current)

    def acknowledge(self, position: SourcePosition) -> None:
        """Put the file away once all of it is in Kafka."""
        current = self._current
        if current is not None and 0 <= current.ends_at <= position.commit:
            with self._folders_usable():
                current.folder.done(current.path)
            _log.info(
                "file_loaded", system=self._system, resource=_name(current.records), records=current.rows
            )
            self._finish()

    def close(self) -> None:
        """Leave the file under way where it is; the next open goes on with it."""
        self._finish()

    @contextmanager
    def _folders_usable(self) -> Iterator[None]:
        """Make an error of the file system one for people; what was under way stays where it is."""
        try:
            yield
        except OSError as error:
            msg = (
                f"source {self._system}: a folder of its files cannot be used ({error.strerror}); "
                "this user reads, writes and renames there"
            )
            raise SourceError(msg) from None

    def _step(self, current: _Current) -> Batch:
        try:
            rows = next(current.steps)
        except FileProblem as problem:
            self._refuse(
                current.folder, current.path, {"problem": str(problem), "loaded": current.progress.rows}
            )
            self._finish()
            return Batch((), self._position)
        done = current.progress.rows + len(rows)
        current.progress = Progress(done, complete=done == current.rows)
        receipt = self._store.record(current.key, current.progress)
        batch, self._position = step_batch(current.records, rows, self._position, receipt)
        if current.progress.complete:
            current.ends_at = self._position.commit
        return replace(batch, more=not current.progress.complete)

    def _next_file(self) -> _Current | None:
        for records, folder in self._resources:
            if not self._lock.acquire():
                return None
            path = folder.take()
            if path is not None and (begun := self._begin(records, folder, path)) is not None:
                return begun
        self._lock.release()
        return None

    def _begin(self, records: RowRecords, folder: Folder, path: Path) -> _Current | None:
        """Return a file that is to be loaded; one that was, or is refused, is put away."""
        try:
            mapping = read_mapping(folder.mapping, records.form.contract)
            files = FileRows(records, mapping)
            key = self._store.key(_name(records), path, mapping)
            progress = self._store.read(key)
            if progress.complete:
                _log.info("file_was_loaded_before", system=self._system, resource=_name(records))
                folder.done(path)
                return None
            found = files.judge(path, self._told)
        except (FileProblem, ConfigError) as problem:
            self._refuse(folder, path, {"problem": str(problem), "loaded": 0})
            return None
        if found.refused:
            refusals = [asdict(refusal) for refusal in found.refusals]
            report = {"problem": "rows break the contract; none was loaded", "rows": found.rows}
            self._refuse(folder, path, report | {"refused": found.refused, "refusals": refusals})
            return None
        return _Current(folder, path, key, records, found.rows, progress, files.steps(path, progress.rows))

    def _refuse(self, folder: Folder, path: Path, report: dict[str, Any]) -> None:
        folder.failed(path, {"file": path.name} | report)
        _log.warning("file_refused", system=self._system, refused=report.get("refused", 0))

    def _told(self, _rows: int) -> None:
        if self._stopping():
            raise _Stopped

    def _finish(self) -> None:
        self._current = None
        self._lock.release()


def _name(records: RowRecords) -> str:
    return records.resource.name
