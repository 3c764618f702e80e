"""Refuses to go on where changes may be missing: what Kafka holds against what the server can still give."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.sources.mysql.place import Mark, byte_of, number_of
from exchange.errors import GapError
from exchange.position import SourcePosition


def refuse_gap(
    stored: SourcePosition, identity: str, files: Mapping[str, int], gtids: tuple[str, ...] | None
) -> None:
    """Compare the position that Kafka holds with the server and its log.

    identity: of the server; files: its log files with their sizes in bytes; gtids: what MariaDB says stands
    before the stored place, None where that cannot be asked.

    Raises: GapError when any change between the two may be missing.
    """
    problem = _gap(stored, identity, files, gtids)
    if problem:
        raise gap(stored, problem)


def refuse_other_log(stored: SourcePosition, created_s: int) -> None:
    """Compare when the file of the stored place was begun.

    Raises: GapError when it is another file of the same name.
    """
    mark = Mark.of(stored.mark)
    if mark.created_s not in (0, created_s):
        raise gap(stored, "the file of that name was begun at another time: the log was reset (RESET MASTER)")


def gap(stored: SourcePosition, problem: str) -> GapError:
    """Return the error for changes that may be missing."""
    return GapError(
        f"source {stored.system}: Kafka holds changes up to {where(stored)}, but {problem}. Changes may be "
        f"missing, so nothing was captured since; run `exchange resnapshot {stored.system}` to read all "
        "tables anew"
    )


def where(stored: SourcePosition) -> str:
    """Return a stored place as people write it: file:byte."""
    mark = Mark.of(stored.mark)
    return f"{mark.base}.{number_of(stored.resume):06d}:{byte_of(stored.resume)}"


def _gap(
    stored: SourcePosition, identity: str, files: Mapping[str, int], gtids: tuple[str, ...] | None
) -> str:
    if stored.system_identifier != identity:
        return (
            f"of the server '{stored.system_identifier}', and this one is '{identity}': "
            "it was replaced, restored or failed over"
        )
    mark = Mark.of(stored.mark)
    name = where(stored).partition(":")[0]
    if name not in files:
        oldest = next(iter(files), "none")
        return f"the server no longer has that file (oldest: {oldest}): the log was purged, reset or renamed"
    if files[name] < byte_of(stored.resume):
        return f"that file ends at byte {files[name]}: the log was reset, or the server lost its end"
    if gtids is not None and gtids != mark.gtids:
        return "other transactions stand there now (the GTIDs differ): the log was reset or restored"
    return ""
