"""The sink into files: records of one partition and hour, in one file that is there whole or not at all.

Exactly once: a file's name holds its offsets, and it gets it by a rename once its bytes are on the disk.
Files of a partition are renamed in the order of their offsets, so the highest name says how far it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import ClassVar, Final

from connectors.sink import DeliveredView, Parked
from connectors.sinks import laststate
from connectors.sinks.files.content import Content, content_of
from connectors.sinks.files.names import HOUR_MS, file_of, next_offsets
from exchange.errors import SinkError, TransientError
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received

_PASSING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE)
_DRAFT: Final = ".draft-"
PARKED: Final = "_parked"


class FilesSink:
    """The `Sink` protocol on one folder of a view."""

    linger_s: ClassVar[float] = 60.0
    """So long records are gathered for one file."""
    max_records: ClassVar[int] = 50_000

    def __init__(self, delivery: PlannedDelivery, view: DeliveredView, _secrets: Secrets) -> None:
        self._root = Path(delivery.folder)
        self._folder = self._root / view.name
        self._form = delivery.format
        self._view = view
        self._content: Content | None = None
        self._already: dict[int, int] = {}
        self._lock: int | None = None

    def open(self) -> Mapping[int, Place]:
        """Make the view's folder, remove what a process before us left half-written, see how far it is."""
        self._content = content_of(self._form, self._view)
        if not self._root.is_dir():
            msg = f"view {self._view.name}: folder {self._root} is not there; make it, or mount what it is on"
            raise SinkError(msg)
        with self._in_our_words():
            self._folder.mkdir(exist_ok=True)
            self._take_lock()
            for draft in self._folder.glob(f"*/{_DRAFT}*"):
                draft.unlink()
            self._already = next_offsets(self._folder.glob("*/*"))
        return {partition: Place(offset) for partition, offset in self._already.items()}

    def write(self, batch: Batch) -> Parked:
        """Write a batch, file by file in the order of offsets; what was parked is noted before its file."""
        parked = {(one.partition, one.offset) for one in batch.records if laststate.unfit(one)}
        with self._in_our_words():
            for partition in sorted({one.partition for one in batch.records}):
                first = self._already.get(partition, 0)
                new = [one for one in batch.records if one.partition == partition and one.offset >= first]
                for hour, run in groupby(_with_hours(new), key=lambda pair: pair[0]):
                    self._write_file(hour, [record for _, record in run])
        return parked

    def begin_anew(self) -> str:
        """Return what makes the folder forget the view."""
        return f"move away the folder {self._folder}"

    def close(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_file(self, hour: int, records: Sequence[Received]) -> None:
        unfit = [(one, reason) for one in records if (reason := laststate.unfit(one))]
        fit = [one for one in records if not laststate.unfit(one)]
        for record, reason in unfit:
            self._put(Path(PARKED) / f"{record.partition}-{record.offset:012d}.txt", f"{reason}\n".encode())
        if not unfit and all(one.header is not None and one.header.tombstone for one in fit):
            return
        first, last = records[0].offset, records[-1].offset
        name = file_of(hour, records[0].partition, first, last, self._form)
        self._put(name, self._content(fit) if self._content is not None else b"")

    def _put(self, name: Path, content: bytes) -> None:
        """Write a file that is on the disk, under its name, when this returns."""
        folder = self._folder / name.parent
        if not folder.is_dir():
            folder.mkdir()
            _sync(self._folder)
        draft = folder / f"{_DRAFT}{name.name}"
        with draft.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(folder / name.name)
        _sync(folder)

    def _take_lock(self) -> None:
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            msg = f"view {self._view.name}: another process writes to {self._folder}; it is waited for"
            raise TransientError(msg) from None
        self._lock = lock

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            told = f"view {self._view.name}: {self._folder}: {os.strerror(error.errno or 0)}"
            if error.errno in _PASSING:
                raise TransientError(told) from None
            raise SinkError(told) from None


def _with_hours(records: Sequence[Received]) -> Iterator[tuple[int, Received]]:
    """Yield records with the hour of their commit; one without a header belongs to the record before it."""
    hour = 0
    for record in records:
        hour = record.header.source_ms // HOUR_MS if record.header is not None else hour
        yield hour, record


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
