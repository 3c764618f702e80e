"""A real MariaDB server for tests: Debian's programs, a directory and a port of its own."""

from __future__ import annotations

import datetime as dt
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
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

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

HERE = "127.0.0.1"


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

    def url(
        self, user: str = "root", database: str = "", password: str = "", options: str = "", host: str = HERE
    ) -> str:
        return f"mysql://{user}:{password}@{host}:{self.port}/{database}{options}"

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
            f"--tmpdir={self.root}",  # in /tmp another server's start would delete ours
            f"--pid-file={self.root / 'pid'}",
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

    def make_certificates(self, host: str) -> Path:
        """Make an authority and what it signed for a host and for a client; return their folder."""
        folder = self.root / f"tls-{host}"
        folder.mkdir(exist_ok=True)
        authority, key = _certificate(folder, "ca", None)
        for name in ("server", "client"):
            _certificate(folder, name, (authority, key), host)
        for file in (folder, *folder.iterdir()):
            os.chown(file, *_owner())
        return folder

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


def _owner() -> tuple[int, int]:
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _certificate(folder: Path, name: str, signer: tuple[Any, Any] | None, host: str = "") -> tuple[Any, Any]:
    """Write <name>.pem and <name>.key; signed by itself when there is no signer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, f"{name} of {folder}")])
    issuer, signing = (subject, key) if signer is None else (signer[0].subject, signer[1])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    made = builder.sign(signing, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(Encoding.PEM))
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return made, key


@contextmanager
def running_mariadb(**settings: str) -> Iterator[Server]:
    """Start a new server; stop it and delete its data at the end, whatever happens."""
    root = Path(tempfile.mkdtemp(prefix="exchange-mariadb-"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = Server(root, port)
    try:
        (root / "data").mkdir()
        for place in (root, root / "data"):
            os.chown(place, *_owner())
        server.install()
        server.start(**settings)
        yield server
    finally:
        server.stop()
        shutil.rmtree(root, ignore_errors=True)
