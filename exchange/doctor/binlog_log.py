"""Examines how long a MariaDB or MySQL keeps its log, and what keeps a reader from going on in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exchange.binlog.fitness import IN_CONFIGURATION
from exchange.binlog.session import Refused, Session, log_status
from exchange.doctor.finding import Finding, Level, mib

_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
_SHORTEST_S: Final = 3 * _DAY_S
"""A weekend: shorter than this, nobody may be there before the log is gone."""
_WANTED_S: Final = 7 * _DAY_S
_SHORTEST_MEASURE_S: Final = _HOUR_S
"""Statistics of less than an hour say little of a day's log."""
_STATUS: Final = "SHOW GLOBAL STATUS WHERE variable_name IN ('Uptime', 'Binlog_bytes_written')"


def log_findings(session: Session, kind: str) -> Iterator[Finding]:
    """Return what is found about the log's files and transactions that wait in it."""
    try:
        files = session.texts("SHOW BINARY LOGS")
        file, byte = log_status(session)[:2]
    except Refused:  # no log, or no right to see it; both are told
        return
    if not _is_reachable(session, kind, [row[0] for row in files], file, byte):
        yield Finding(
            "log_position",
            Level.ERROR,
            "the server does not find the end of its own log",
            "a reader could not go on where it stopped",
            f"FLUSH BINARY LOGS; {IN_CONFIGURATION} log_bin=ON",
        )
    yield from _expiry(session, sum(int(row[1]) for row in files), len(files))
    yield from _prepared(session)


def _is_reachable(session: Session, kind: str, files: list[str], file: str, byte: str) -> bool:
    if file not in files:
        return False
    if kind == "mysql":
        return True
    told = session.query("SELECT BINLOG_GTID_POS(%s, %s)", [file, int(byte)])
    return told[0][0] is not None


def _expiry(session: Session, size_bytes: int, files: int) -> Iterator[Finding]:
    kept_s = _kept_s(session)
    in_hand = f"{files} files of log hold {mib(size_bytes)}"
    mend = f"binlog_expire_logs_seconds{{}}{_WANTED_S}"
    statement = f"SET GLOBAL {mend.format(' = ')}; {IN_CONFIGURATION} {mend.format('=')}"
    if kept_s == 0:
        yield Finding(
            "binlog_expire_logs_seconds",
            Level.WARNING,
            f"the log is never removed by age; {in_hand}",
            "it grows until the disk is full, which stops the department's database",
            statement,
        )
    elif kept_s < _SHORTEST_S:
        yield Finding(
            "binlog_expire_logs_seconds",
            Level.WARNING,
            f"the log is removed after {kept_s / _HOUR_S:.0f} h",
            "a connector that is away for longer halts, and all tables must be read anew",
            statement,
        )
    yield from _growth(session, kept_s, in_hand)


def _kept_s(session: Session) -> int:
    """Return how long the log is kept; 0 for ever. The older of the two settings counts days."""
    seconds = session.variable("binlog_expire_logs_seconds")
    if seconds is not None:
        return int(seconds)
    return int(float(session.variable("expire_logs_days") or 0) * _DAY_S)


def _growth(session: Session, kept_s: int, in_hand: str) -> Iterator[Finding]:
    """Estimate what the log takes of the disk; MariaDB alone counts what it writes."""
    status = {name: int(value) for name, value in session.texts(_STATUS)}
    up_s, written = status["Uptime"], status.get("Binlog_bytes_written", 0)
    if up_s < _SHORTEST_MEASURE_S or not written:
        yield Finding("disk_risk", Level.NOTE, f"{in_hand}; its growth is not known for long enough")
        return
    an_hour = written * _HOUR_S / up_s
    within = f": {mib(an_hour * kept_s / _HOUR_S)} within the time it is kept" if kept_s else ""
    yield Finding("disk_risk", Level.NOTE, f"{in_hand}; about {mib(an_hour)} are written an hour{within}")


def _prepared(session: Session) -> Iterator[Finding]:
    try:
        waiting = len(session.query("XA RECOVER"))
    except Refused:
        return
    if waiting:
        yield Finding(
            "prepared_transactions",
            Level.WARNING,
            f"{waiting} prepared XA transactions wait for their end",
            "a snapshot waits for them, and every start of the connector reads the log from there again",
            "XA RECOVER; -- then XA COMMIT or XA ROLLBACK each, as its owner says",
        )
