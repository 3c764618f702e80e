"""Goes on at another server of the same history: its place is found by GTID, or nothing goes on.

A replica of MariaDB writes what it takes from its primary into its own log, under the same GTIDs, in other
files and at other bytes. The place right behind the last GTID of each domain that Kafka holds is the one
to go on from: what stands before it there is what was captured, and what follows is not. gap.py then asks the
server itself whether exactly these GTIDs stand before that place.

Source: MariaDB documentation, "Global Transaction ID", gtid_strict_mode and BINLOG_GTID_POS.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from pymysqlreplication.event import HeartbeatLogEvent, MariadbGtidEvent, RotateEvent

from connectors.sources.mysql.binlog import Binlog
from connectors.sources.mysql.catalog import Catalog
from connectors.sources.mysql.gap import gap
from connectors.sources.mysql.place import Mark, file_number, place
from exchange import log
from exchange.binlog.session import Session
from exchange.position import SourcePosition
from exchange.tablemark import TableMark

_log = log.get(__name__)

_FIRST_BYTE: Final = 4
"""Where the events of a log file begin."""
_LONGEST_SILENCE_S: Final = 30.0


def follow(
    catalog: Catalog, session: Session, stored: SourcePosition, files: Mapping[str, int]
) -> SourcePosition:
    """Return the stored position as one of this server's log; as it is when the server is the same.

    files: the log's files with their sizes in bytes, oldest first.

    Raises: GapError when this server's log does not show what Kafka holds; TransientError; SourceError.
    """
    identity = catalog.identity(session)
    if stored.system_identifier == identity:
        return stored
    gone = f"of the server '{stored.system_identifier}', and this one is '{identity}'"
    if problem := _problem(catalog, session, stored):
        raise gap(stored, f"{gone}: {problem}")
    wanted = Mark.of(stored.mark).gtids
    found = _find(catalog, session, wanted, files)
    if found is None:
        told = ",".join(wanted)
        problem = f"its log has no place behind GTID {told}: it was behind, or went another way"
        raise gap(stored, f"{gone}: {problem}")
    moved = _moved(stored, identity, *found)
    _log.warning("failed_over", system=stored.system, gtid=",".join(wanted), server=identity)
    return moved


def _problem(catalog: Catalog, session: Session, stored: SourcePosition) -> str:
    """Return why there is no place to look for; empty when there may be one."""
    if catalog.kind != "mariadb" or not Mark.of(stored.mark).gtids:
        return "it was replaced, restored or failed over, and there are no GTIDs to go on by"
    if stored.commit >= stored.resume:
        return "it failed over in the middle of a large or prepared transaction, whose bytes are others there"
    if any(TableMark.parse(entry).since > stored.resume for entry in stored.tables):
        return "it failed over while a table was read anew, and that place is not known there"
    if session.variable("gtid_strict_mode") != "ON":
        return "gtid_strict_mode is OFF there, so a GTID need not name one place of its log"
    return ""


def _moved(stored: SourcePosition, identity: str, file: str, byte: int) -> SourcePosition:
    """Return the position at a place of the new log.

    Its timeline is another, and with it the stream id: places there may be smaller than those before.
    """
    resume = place(file_number(file), byte)
    mark = Mark(file.rpartition(".")[0], 0, Mark.of(stored.mark).gtids)
    progress = stored.snapshot
    return replace(
        stored,
        system_identifier=identity,
        timeline=max(time.time_ns() // 1_000_000, stored.timeline + 1),
        resume=resume,
        commit=0,
        index=0,
        tables=tuple(str(replace(TableMark.parse(entry), since=0)) for entry in stored.tables),
        snapshot=progress and replace(progress, commit=resume - 1),
        mark=mark.text(),
    )


def _find(
    catalog: Catalog, session: Session, wanted: tuple[str, ...], files: Mapping[str, int]
) -> tuple[str, int] | None:
    """Return the file and byte before which just these GTIDs are the last of their domains."""
    for file in reversed(tuple(files)):
        before = catalog.gtids(session, file, _FIRST_BYTE)
        if before is not None and _is_before(before, wanted):
            return _search(catalog, file, before, wanted)
    return None


def _is_before(gtids: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    last = {_domain(gtid): _number(gtid) for gtid in wanted}
    return all(_number(gtid) <= last.get(_domain(gtid), -1) for gtid in gtids)


def _search(
    catalog: Catalog, file: str, before: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[str, int] | None:
    """Read a file from its beginning to where the wanted GTIDs have just gone by."""
    seen = {_domain(gtid): gtid for gtid in before}
    binlog = Binlog(catalog.system, catalog.where, file, _FIRST_BYTE, ())
    binlog.start()
    try:
        while (event := binlog.take(_LONGEST_SILENCE_S)) is not None:
            is_ahead = isinstance(event, MariadbGtidEvent)
            ends = isinstance(event, HeartbeatLogEvent) or _leaves(event, file)
            if (is_ahead or ends) and _same(seen.values(), wanted):
                return file, event.packet.log_pos - (event.packet.event_size if is_ahead else 0)
            if ends:
                return None
            if is_ahead:
                seen[_domain(event.gtid)] = event.gtid
    finally:
        binlog.close()
    return None


def _same(seen: Iterable[str], wanted: tuple[str, ...]) -> bool:
    return tuple(sorted(seen)) == wanted


def _leaves(event: object, file: str) -> bool:
    return isinstance(event, RotateEvent) and event.next_binlog != file


def _domain(gtid: str) -> str:
    return gtid.partition("-")[0]


def _number(gtid: str) -> int:
    return int(gtid.rpartition("-")[2])
