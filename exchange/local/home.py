"""One installation's directory: what runs, on which ports, and who may change that just now.

`run.json` remembers the processes and the ports, so that a second `up` finds what the first one started and a
restarted installation keeps its addresses. It is believed only as far as the processes it names are still the
same ones (exchange/local/process.py), hence a reboot or a kill -9 leaves nothing to tidy up by hand.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from exchange.errors import ConfigError, PartError
from exchange.local import process
from exchange.local.process import Running
from exchange.model import Model

Progress = Callable[[str], None]

USUAL_PORTS: Final = {"kafka": 19092, "redis": 16379, "postgres": 15432, "monitor": 18081}
# Below the range from which outgoing connections take theirs, on Linux as on macOS.
_OTHER_PORTS: Final = range(20_000, 32_000)
_LOCK_WAIT_S: Final = 300.0


class RunState(Model):
    """What `run.json` holds."""

    parts: dict[str, Running] = Field(default={}, description="Part → its process, as last started.")
    ports: dict[str, int] = Field(default={}, description="Part → port, kept over restarts where possible.")
    places: dict[str, str] = Field(default={}, description="Part → directory of its data.")


class Home:
    """The state directory of one installation; whoever changes `run.json` holds `locked()`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self) -> None:
        """Create the directory. Others may pass through (PostgreSQL's user has to) but not look round.

        Raises: ConfigError when it cannot be created or written.
        """
        try:
            self.root.mkdir(mode=0o711, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"room for a block\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def directory(self, name: str) -> Path:
        """Return a subdirectory, created with mode 0700."""
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.root / "logs" / f"{part}.log"

    def write(self, name: str, content: str) -> Path:
        """Write a file of mode 0600, whole or not at all.

        Raises: ConfigError when it cannot be written.
        """
        file = self.root / name
        try:
            return _replace(file, content)
        except OSError as error:
            raise self._unwritable(error) from None

    def locked(self, progress: Progress) -> AbstractContextManager[None]:
        """Hold the home's lock, so that two `up` or `down` don't race."""
        return locked(
            self.root / "lock",
            lambda: progress("waiting for another exchange command that is at work in this home"),
        )

    def state(self) -> RunState:
        """Return what run.json holds; an empty state where there's none.

        Raises: ConfigError when the file isn't ours to understand.
        """
        file = self.root / "run.json"
        if not file.exists():
            return RunState()
        try:
            return RunState.model_validate_json(file.read_text())
        except (ValidationError, OSError) as error:
            msg = (
                f"{file}: cannot be read ({type(error).__name__}). It names the background processes; "
                "stop them by hand, then delete it"
            )
            raise ConfigError(msg) from None

    def running(self, part: str) -> Running | None:
        """Return the process of a part if it's alive."""
        known = self.state().parts.get(part)
        return known if known is not None and process.alive(known) else None

    def remember(self, part: str, running: Running) -> None:
        """Note a started process."""
        state = self.state()
        self._save(state.model_copy(update={"parts": state.parts | {part: running}}))

    def forget(self, part: str) -> None:
        """Strike out a stopped process; its port and place stay noted."""
        state = self.state()
        kept = {name: running for name, running in state.parts.items() if name != part}
        self._save(state.model_copy(update={"parts": kept}))

    def place(self, part: str, directory: Path) -> None:
        """Note a directory that a part has outside the home."""
        state = self.state()
        self._save(state.model_copy(update={"places": state.places | {part: str(directory)}}))

    def port(self, part: str) -> int:
        """Return a free port for a part: its last one, else the usual one, else any; and note it."""
        state = self.state()
        taken = {number for name, number in state.ports.items() if name != part}
        wanted = [state.ports.get(part), USUAL_PORTS.get(part)]
        usable = (port for port in wanted if port is not None and port not in taken and is_free(port))
        port = next(usable, None) or any_free(taken)
        self._save(state.model_copy(update={"ports": state.ports | {part: port}}))
        return port

    def keep_from_usual_ports(self) -> None:
        """Choose ports at random: while a part of this home is down, another home would take a usual one."""
        ports: dict[str, int] = {}
        for part in ("kafka", "kafka-controller", "redis", "postgres", "monitor"):
            ports[part] = any_free(ports.values())
        self.write("run.json", RunState(ports=ports).model_dump_json())

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"EXCHANGE_HOME {self.root}: cannot be written ({error.strerror}); "
            "make it writable, free space, or set EXCHANGE_HOME to another directory"
        )

    def _save(self, state: RunState) -> None:
        self.write("run.json", json.dumps(state.model_dump(), indent=1) + "\n")


def _replace(file: Path, content: str) -> Path:
    descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        return Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def is_free(port: int) -> bool:
    """Say whether a server could listen on that port of 127.0.0.1 just now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_free(taken: Collection[int]) -> int:
    """Return a port of 127.0.0.1 on which nobody listens, and that isn't among `taken`.

    Raises: PartError when a thousand tries find none.
    """
    for _ in range(1000):
        port = secrets.choice(_OTHER_PORTS)
        if port not in taken and is_free(port):
            return port
    msg = f"no free port among {_OTHER_PORTS.start}-{_OTHER_PORTS.stop - 1} of 127.0.0.1"
    raise PartError(msg)


@contextmanager
def locked(file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold an exclusive lock on a file; `on_wait` is called once if somebody else holds it.

    Raises: PartError when it isn't free within five minutes.
    """
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        if not _try_lock(lock.fileno()):
            on_wait()
            deadline = time.monotonic() + _LOCK_WAIT_S
            while not _try_lock(lock.fileno()):
                if time.monotonic() > deadline:
                    msg = f"{file}: another exchange command has held it for {_LOCK_WAIT_S:.0f} s"
                    raise PartError(msg)
                time.sleep(0.1)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
