"""A real MariaDB server for tests: Debian's programs, a directory and a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from tests.stack import wait_for

MISSING = (
    "no MariaDB server here: mariadbd and mariadb-install-db are in neither PATH nor /usr/sbin "
    "(Debian: apt-get install mariadb-server)"
)
SETTINGS = {
    "log-bin": "binlog",
    "server-id": "7",
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "binlog-row-metadata": "FULL",
    "bind-address": "127.0.0.1",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "16M",
    "innodb-flush-log-at-trx-commit": "2",
    "character-set-server": "utf8mb4",
}


def program(name: str) -> str | None:
    """Return the path of a program of the server; root's programs are not in everybody's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/libexec:/usr/local/sbin")


def is_here() -> bool:
    return program("mariadbd") is not None and program("mariadb-install-db") is not None


@dataclass
class Server:
    """A server under test; `restart` keeps its data."""

    root: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "root", database: str = "", password: str = "") -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str | None = None, **settings: Any) -> Any:
        """Return an administrator's connection that commits each statement."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            database=database,
            charset="utf8mb4",
            **{"autocommit": True, **settings},
        )

    def execute(self, sql: str) -> Any:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def install(self) -> None:
        """Make the system tables of a new server; root needs no password, from this machine alone."""
        command = [
            program("mariadb-install-db") or "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.root / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *_user(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def start(self, **settings: str) -> None:
        wanted = SETTINGS | {name.replace("_", "-"): value for name, value in settings.items()}
        command = [
            program("mariadbd") or "mariadbd",
            "--no-defaults",
            f"--datadir={self.root / 'data'}",
            f"--socket={self.root / 's'}",
            f"--pid-file={self.root / 'pid'}",
            f"--tmpdir={self.root / 'tmp'}",  # another server's start would delete ours in /tmp
            f"--port={self.port}",
            "--skip-name-resolve",
            *_user(),
            *(f"--{name}={value}" for name, value in wanted.items()),
        ]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._answers, f"a MariaDB server; see {self.root / 'log'}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def restart(self, **settings: str) -> None:
        self.stop()
        self.start(**settings)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "log").read_text(errors="replace")
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True


def _user() -> list[str]:
    """The server refuses to run as root."""
    return ["--user=nobody"] if os.geteuid() == 0 else []


@contextmanager
def running_mariadb() -> Iterator[Server]:
    """Start a new server; stop it and delete its data at the end, whatever happens."""
    root = Path(tempfile.mkdtemp(prefix="exchange-mariadb-"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = Server(root, port)
    try:
        places = [root, root / "data", root / "tmp"]
        for place in places[1:]:
            place.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for place in places:
                os.chown(place, nobody.pw_uid, nobody.pw_gid)
        server.install()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)
