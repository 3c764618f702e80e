"""How competitors' programs are found, prepared and started; one that is missing says what to install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from bench.contest import Start
from bench.ground import Ground
from bench.progress import say
from exchange.errors import PartError
from exchange.local import process
from exchange.local.jars import class_path, pinned, read_lock
from exchange.local.kafka import LOWEST_JAVA

ROOT: Final = Path(__file__).parents[1]
_PEERS_PYTHON: Final = Path(sys.prefix).parent / ".venv-bench" / "bin" / "python"
"""A virtual environment of their own: Quix Streams wants another confluent-kafka than the bus."""
NO_JDK: Final = f"not run: no javac in JAVA_HOME or PATH; install a JDK, {LOWEST_JAVA} or later"


def python_with(package: str) -> Path | None:
    """Return the peers' Python when a package is installed there, else None."""
    if not _PEERS_PYTHON.exists():
        return None
    find = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    done = subprocess.run([_PEERS_PYTHON, "-c", find], check=False, timeout=60)
    return _PEERS_PYTHON if done.returncode == 0 else None


def not_installed(package: str) -> str:
    """Return what a table says of a competitor whose package is missing."""
    return f"not run: {package} is not installed; run `make setup-bench`"


def module(
    ground: Ground, python: Path | str, name: str, settings: Mapping[str, Any], **environ: str
) -> Start:
    """Return what starts `python -m bench.peers.<name>` with its settings in a private file of its own."""
    file = ground.private_file(f"{name}-{uuid.uuid4()}.json", json.dumps(settings))
    environment = {"PYTHONPATH": str(ROOT), **environ}
    return lambda: ground.program(name, [python, "-m", f"bench.peers.{name}", file], environment)


def find_javac() -> Path | None:
    """Return the Java compiler of JAVA_HOME, or the one in PATH."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("javac")
    return Path(found).resolve() if found else None


def kafka_streams_class_path() -> str:
    """Return the class path of the Kafka Streams peer: Kafka's jars and those of its own lock file."""
    lock = files("bench.peers").joinpath("streams-jars.lock").read_text()
    return class_path(say, pinned() + read_lock(lock))


def compile_streams_peer(ground: Ground, javac: Path, jars: str) -> Path:
    """Compile the peer into the temporary home; return the directory of its class."""
    out = ground.home / "kafka-streams-peer"
    source = Path(str(files("bench.peers").joinpath("KafkaStreamsPeer.java")))
    process.run([javac, "-nowarn", "-cp", jars, "-d", out, source])
    return out


def streams_peer(
    ground: Ground, javac: Path, jars: str, classes: Path, properties: Mapping[str, str]
) -> Start:
    """Return what starts the Kafka Streams peer; `properties` are added to those that connect."""
    client = ground.client
    login = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{client["sasl.username"]}" password="{client["sasl.password"]}";'
    )
    connect = {
        "bootstrap.servers": client["bootstrap.servers"],
        "security.protocol": client["security.protocol"],
        "sasl.mechanism": client["sasl.mechanism"],
        "sasl.jaas.config": login,
    }
    lines = "".join(f"{name}={value}\n" for name, value in (connect | dict(properties)).items())
    file = ground.private_file(f"{properties['application.id']}.properties", lines)
    command: Sequence[str | Path] = [
        javac.with_name("java"),
        "-Xmx1g",
        "-cp",
        os.pathsep.join([str(classes), jars]),
        "KafkaStreamsPeer",
        file,
    ]
    return lambda: ground.program("kafka-streams", command)


def usable_javac() -> Path | None:
    """Return the compiler when it runs; a broken one is an error, for nobody would find out why.

    Raises: PartError.
    """
    javac = find_javac()
    if javac is None:
        return None
    try:
        process.run([javac, "-version"])
    except PartError as error:
        msg = f"{javac}: {error}; repair the JDK, or set JAVA_HOME to another"
        raise PartError(msg) from None
    return javac
