"""Examines a MariaDB or MySQL source: what `exchange apply` would refuse, and what harms it later.

Only questions, in a session that may change nothing.
Source: MariaDB documentation, "Replication and Binary Log System Variables", "Global Transaction ID".
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from exchange.apply import binlog
from exchange.binlog.address import KINDS, server_id
from exchange.binlog.fitness import (
    AS_ADMINISTRATOR,
    IN_CONFIGURATION,
    SETTINGS,
    account,
    filter_problems,
    server_problems,
    table_problems,
)
from exchange.binlog.session import Refused, Session
from exchange.binlog.tls import is_here
from exchange.doctor.binlog_log import log_findings
from exchange.doctor.finding import Finding, Level, Patient, clock, of_problem, unreachable
from exchange.errors import SourceError, TransientError
from exchange.settings import Secrets

_WHY_SETTING: Final = {
    "log_bin": "the log is what changes are read from",
    "binlog_format": "changes that are logged as statements do not tell which rows they changed",
    "binlog_row_image": "rows that are logged in part cannot be told whole",
    "binlog_row_metadata": "without the columns' names a value could be taken for its neighbour's",
    "binlog_checksum": "without checksums the end of what the log tells of a table is lost",
    "lacks": "the log is sent to users with these rights only",
}
_SET_GLOBAL: Final = re.compile(r"SET GLOBAL \w+ = '?(\w*)'?;")
_WHY_SERVER: Final = "no change would be captured, or not exactly"
_CHANGED_AT_RUN_TIME: Final = (
    "SELECT lower(variable_name) FROM information_schema.system_variables"
    " WHERE global_value_origin = 'SQL' ORDER BY 1"
)
_OTHER_SESSIONS: Final = (
    "SELECT count(*) FROM information_schema.processlist"
    " WHERE id <> connection_id() AND command NOT IN ('Daemon', 'Binlog Dump', 'Slave_IO', 'Slave_SQL')"
)
_OWN_SETTINGS: Final = (
    "SELECT t.processlist_id, lower(v.variable_name), v.variable_value"
    " FROM performance_schema.variables_by_thread v JOIN performance_schema.threads t USING (thread_id)"
    " WHERE (lower(v.variable_name), v.variable_value) NOT IN (('binlog_format', 'ROW'),"
    " ('binlog_row_image', 'FULL')) AND lower(v.variable_name) IN ('binlog_format', 'binlog_row_image')"
    " ORDER BY 1, 2 LIMIT 20"
)
"""MySQL only: MariaDB does not show what other sessions have set for themselves."""


def examine(patient: Patient, secrets: Secrets) -> Iterator[Finding]:
    """Return what is found at a MariaDB or MySQL source."""
    wish = _wish(patient)
    try:
        session = binlog.connect(wish, secrets)
    except (SourceError, TransientError) as error:
        yield unreachable(error, "the server's bind-address")
        return
    with session:
        session.only_look(wish.kind)
        yield from _examine(session, wish)


def _wish(patient: Patient) -> binlog.Wanted:
    """Return what the topology wants to capture, with the tables asked for besides."""
    system = patient.topology.databases()[patient.system]
    wishes = {wish.system: wish for wish in binlog.wanted(patient.topology, patient.contracts)}
    empty = binlog.Wanted(patient.system, system.kind, system.connection_env, ())
    wish = wishes.get(patient.system, empty)
    return wish.with_tables(patient.tables)


def _examine(session: Session, wish: binlog.Wanted) -> Iterator[Finding]:
    ((version,),) = session.texts("SELECT VERSION()")
    yield Finding("version", Level.NOTE, f"{KINDS[wish.kind]} {version}")
    for problem in server_problems(session, wish.kind):
        yield _of_server(problem)
    for problem in filter_problems(session, [table.name for table in wish.tables]):
        yield _told("filters", problem, "their changes would be missing without a word")
    for table in wish.tables:
        for problem in table_problems(session, table):
            yield _told("table", problem, "the table cannot be captured whole and exactly")
    yield from _identity(session, wish)
    yield from _superuser(session)
    yield from _in_clear(session)
    yield from _clock(session)
    yield from log_findings(session, wish.kind)
    yield from _sessions(session, wish.kind)


def _of_server(problem: str) -> Finding:
    """Name the check by the setting that a problem begins with."""
    setting = problem.split()[0]
    check = "log_bin" if "no binary log" in problem else setting if "_" in setting else "server"
    check = "grants" if problem.startswith("user ") else check
    why = _WHY_SETTING["lacks"] if check == "grants" else _WHY_SETTING.get(check, _WHY_SERVER)
    found = _told(check, problem, why)
    kept = _SET_GLOBAL.fullmatch(found.mend)
    if kept is None:
        return found
    return replace(found, mend=f"{found.mend} {IN_CONFIGURATION} {check}={kept.group(1)}")


def _told(check: str, problem: str, why: str) -> Finding:
    return of_problem(check, problem.replace(AS_ADMINISTRATOR, ""), why)


def _identity(session: Session, wish: binlog.Wanted) -> Iterator[Finding]:
    if session.variable("server_id") == str(server_id(wish.system)):
        yield Finding(
            "server_id",
            Level.ERROR,
            f"the server's id is {server_id(wish.system)}, which is that of the bus's reader",
            "a server sends its log to no reader with its own id",
            f"SET GLOBAL server_id = 1; {IN_CONFIGURATION} server_id=1",
        )
    strict = session.variable("gtid_strict_mode")
    if strict == "OFF":
        yield Finding(
            "gtid_strict_mode",
            Level.WARNING,
            "gtid_strict_mode is OFF",
            "without it a GTID need not name one place of the log, and a failover to a replica halts",
            f"SET GLOBAL gtid_strict_mode = ON; {IN_CONFIGURATION} gtid_strict_mode=ON",
        )


def _superuser(session: Session) -> Iterator[Finding]:
    grants = session.texts("SHOW GRANTS FOR CURRENT_USER()")
    if any(row[0].upper().startswith("GRANT ALL PRIVILEGES ON *.*") for row in grants):
        yield Finding(
            "superuser",
            Level.WARNING,
            f"the connection's user {account(session)} has all privileges",
            "whoever gets hold of the connection string then owns the department's databases",
            "CREATE USER exchange_capture IDENTIFIED BY '...'; -- and grant it what this command then names",
        )


def _in_clear(session: Session) -> Iterator[Finding]:
    if session.where.tls.mode == "disabled" and not is_here(session.where.host):
        yield Finding(
            "tls",
            Level.WARNING,
            "the connection string says ssl_mode=disabled, and the server is another machine",
            "whoever is in between reads every row",
            "set up TLS on the server, take ssl_mode=disabled out of the connection string, and name ssl_ca",
        )


def _clock(session: Session) -> Iterator[Finding]:
    asked_s = time.time()
    ((told_s,),) = session.texts("SELECT UNIX_TIMESTAMP(NOW(6))")
    unsure_s = (time.time() - asked_s) / 2
    yield from clock(float(told_s) - asked_s - unsure_s, unsure_s)


def _sessions(session: Session, kind: str) -> Iterator[Finding]:
    """Find sessions that may log otherwise than the server's settings say."""
    why = "a session keeps the setting it began with, and its next change of a captured table halts"
    try:
        if kind == "mysql":
            for number, name, value in session.texts(_OWN_SETTINGS):
                seen = f"session {number} has {name} = {value}"
                yield Finding(
                    "sessions", Level.WARNING, seen, why, f"KILL {number}; -- once its owner agrees"
                )
            return
        changed = [name for (name,) in session.texts(_CHANGED_AT_RUN_TIME) if name in SETTINGS]
        ((others,),) = session.texts(_OTHER_SESSIONS)
    except Refused:
        yield Finding("sessions", Level.NOTE, "what other sessions have set is not shown to this user", why)
        return
    if changed:
        yield Finding(
            "sessions",
            Level.WARNING,
            f"{', '.join(changed)} was set while the server ran; {others} other sessions are shown",
            f"the next start of the server takes it back; {why}",
            f"{IN_CONFIGURATION} {' '.join(f'{name}={SETTINGS[name]}' for name in changed)}",
        )
