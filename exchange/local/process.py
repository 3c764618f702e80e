"""Background processes that outlive the command that started them, and are never mistaken for others.

A process is known by its pid *and* the moment it began, so that a pid which the system has since given to
somebody else is neither taken for ours nor signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil  # type: ignore[import-untyped]
from pydantic import Field

from exchange.errors import PartError
from exchange.model import Model

TAIL_LINES: Final = 20
_POLL_S: Final = 0.05
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# proc(5): num_threads is field 20 and starttime field 22; the list begins with field 4.
_THREADS: Final = 20 - 4
_START_TICKS: Final = 22 - 4

# Popen handles of what this very process started: whoever starts a child has to reap it.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Running(Model):
    """A background process as run.json remembers it."""

    pid: int
    began: str = Field(description="What tells this process from a later one with the same pid.")
    stop_signal: int = Field(default=int(signal.SIGTERM), description="What asks it to end in order.")
    stop_timeout_s: float = Field(default=20.0, description="After that it is killed.")
    log: str = Field(description="File that holds its output.")


class User(NamedTuple):
    """Whom a process runs as, when that isn't ourselves."""

    uid: int
    gid: int


def start(
    command: Sequence[str | Path],
    log_file: Path,
    *,
    environment: Mapping[str, str] | None = None,
    user: User | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    stop_timeout_s: float = 20.0,
) -> Running:
    """Start a command in its own session, with its output appended to `log_file`.

    Nothing secret belongs into `command`: every user of the machine can read it. Without an `environment` it
    gets the one for foreign programs.

    Raises: PartError when the program or the log file cannot be opened.
    """
    try:
        log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        msg = f"{log_file}: cannot be written ({error.strerror}); free space, or set EXCHANGE_HOME elsewhere"
        raise PartError(msg) from None
    try:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(environment) if environment is not None else plain_environment(),
            **_as_user(user),
        )
    except OSError as error:
        msg = f"{command[0]}: cannot be started ({error.strerror})"
        raise PartError(msg) from None
    finally:
        os.close(log)
    _children[child.pid] = child
    return Running(
        pid=child.pid,
        began=_began(child.pid) or "ended at once",
        stop_signal=int(stop_signal),
        stop_timeout_s=stop_timeout_s,
        log=str(log_file),
    )


def plain_environment() -> dict[str, str]:
    """Return this process's environment for a foreign program: without our secrets, in UTF-8.

    PostgreSQL would take settings from PG...; Java cannot open a path in Chinese without a UTF-8 locale.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EXCHANGE_", "PG"))}
    return kept | {"LC_ALL": "C.UTF-8"}


def run(command: Sequence[str | Path], *, user: User | None = None, timeout_s: float = 120.0) -> None:
    """Run a helper program to its end, silently.

    Raises: PartError with the end of what it wrote to stderr when it fails. Its stdout is never shown:
    Kafka's formatter prints password verifiers there.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
            env=plain_environment(),
            **_as_user(user),
        )
    except subprocess.TimeoutExpired:
        msg = f"{name}: not done after {timeout_s:.0f} s"
        raise PartError(msg) from None
    except OSError as error:
        msg = f"{command[0]}: cannot be started ({error.strerror})"
        raise PartError(msg) from None
    if done.returncode != 0:
        said = "\n".join(done.stderr.decode(errors="replace").splitlines()[-TAIL_LINES:])
        msg = f"{name}: exit code {done.returncode}\n{said}"
        raise PartError(msg)


def alive(running: Running) -> bool:
    """Say whether this very process still runs (a zombie doesn't)."""
    exit_code(running)
    return _began(running.pid) == running.began


def exit_code(running: Running) -> int | None:
    """Return how our own child ended (minus the signal when killed); None while it runs and for others."""
    child = _children.get(running.pid)
    return child.poll() if child is not None else None


def stop(running: Running) -> None:
    """Ask the process to end, kill it when it doesn't in time, and return when it's gone.

    Raises: PartError when it belongs to another user, or survives even the kill.
    """
    if not alive(running):
        return
    _signal(running, running.stop_signal)
    if _gone(running, running.stop_timeout_s):
        return
    _signal(running, signal.SIGKILL)
    if not _gone(running, 10.0):
        msg = f"process {running.pid} is still there 10 s after SIGKILL; see {running.log}"
        raise PartError(msg)


def listens(running: Running, port: int) -> bool:
    """Say whether this process, and not another one, listens on a TCP port; true where we may not look."""
    try:
        connections = psutil.Process(running.pid).net_connections(kind="tcp")
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    return any(found.status == psutil.CONN_LISTEN and found.laddr.port == port for found in connections)


def tail(log_file: str | Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented."""
    try:
        with Path(log_file).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 32_768))
            content = log.read().decode(errors="replace")
    except OSError:
        return "  (no log)"
    kept = content.splitlines()[-lines:]
    return "\n".join("  " + line[:400] for line in kept) or "  (the log is empty)"


def _as_user(user: User | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": (), "cwd": "/"}


def _began(pid: int) -> str | None:
    """Return a mark of the process's start, or None when there is no such living process.

    On Linux the start is counted in ticks since boot, so that neither a moved clock nor a reboot is mistaken.
    """
    try:
        if _BOOT_ID.exists():
            state, *later = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # A killed process's first thread is a zombie while others still hold its ports and files.
            if state in "ZX" and int(later[_THREADS]) <= 1:
                return None
            return f"{_BOOT_ID.read_text().strip()}/{later[_START_TICKS]}"
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except (OSError, psutil.Error):
        return None


def _gone(running: Running, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while alive(running):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(running: Running, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        try:
            os.kill(running.pid, number)
        except PermissionError:
            msg = f"process {running.pid} belongs to another user; stop it as that user or as root"
            raise PartError(msg) from None
