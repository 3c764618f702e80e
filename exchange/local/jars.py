"""Kafka's jars: fetched once per user from the Maven repository, used only when each is the one we pinned.

`kafka-jars.lock` has one line a jar: `group:artifact:version sha256`. It was written from Kafka's own
dependency tree plus the log4j binding that Kafka's release archive adds; nothing is resolved at run time, so
nothing but these files can ever get onto the class path.
"""

from __future__ import annotations

import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from exchange.errors import PartError
from exchange.local.home import Progress, locked


class Jar(NamedTuple):
    """One pinned jar."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Its path in a Maven repository."""
        return Path(*self.group.split("."), self.name, self.version, f"{self.name}-{self.version}.jar")

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def cache_directory() -> Path:
    """Return where this user's jars are kept, for all homes: $XDG_CACHE_HOME/exchange-bus/maven."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "exchange-bus" / "maven"


def pinned() -> tuple[Jar, ...]:
    """Return the jars of the lock file, in its order."""
    lock = files("exchange.local").joinpath("kafka-jars.lock").read_text()
    return read_lock(lock)


def read_lock(lock: str) -> tuple[Jar, ...]:
    """Return the jars that a lock file's text pins, in its order."""
    return tuple(Jar(*line.replace(" ", ":").split(":")) for line in lock.splitlines())


def class_path(progress: Progress, jars: tuple[Jar, ...] | None = None) -> str:
    """Return a class path, Kafka's unless given, after fetching what's missing and checking every jar.

    Raises: PartError naming the artifact that cannot be fetched or isn't the pinned one.
    """
    cache = cache_directory()
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    jars = pinned() if jars is None else jars
    paths = []
    with locked(cache / "lock", lambda: progress("Kafka: waiting for another process that fetches the jars")):
        for number, jar in enumerate(jars, start=1):
            path = cache / jar.path
            if not path.exists() or _sha256(path) != jar.sha256:
                progress(f"Kafka: fetching jar {number} of {len(jars)}: {path.name}")
                _fetch(jar, cache)
            paths.append(str(path))
    return os.pathsep.join(paths)


def _fetch(jar: Jar, cache: Path) -> None:
    """Download one jar; whatever isn't the pinned file, a cut-off one included, does not stay."""
    from jgo.maven import MavenContext  # here: slow to import, and only needed once per machine

    path = cache / jar.path
    path.unlink(missing_ok=True)
    context = MavenContext(repo_cache=cache, local_repos=[], timeout=30)
    try:
        context.project(jar.group, jar.name).at_version(jar.version).artifact().resolve()
        seen = _sha256(path)
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo raises RuntimeError
        path.unlink(missing_ok=True)
        source = ", ".join(context.remote_repos.values())
        msg = (
            f"Kafka: cannot fetch {jar} from {source} ({type(error).__name__}). "
            f"Check the network (HTTPS_PROXY is honoured) and the free space, or put the file at {path} "
            "yourself; then run the command again"
        )
        raise PartError(msg) from None
    if seen != jar.sha256:
        path.unlink()
        msg = (
            f"Kafka: {jar} as fetched has sha256 {seen}, but its lock file pins {jar.sha256}. "
            "It was thrown away: something between the repository and this machine alters files"
        )
        raise PartError(msg)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
