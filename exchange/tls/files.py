"""`<home>/tls`: the authority's certificate and key, and those of the embedded Kafka.

    ca.pem      the authority's certificate, which every client is given
    ca.key      its private key, where the authority is our own; may lie elsewhere while nothing is issued
    kafka.pem   Kafka's private key and certificate in one file, the form in which Kafka reads them

Whoever has an authority already puts ca.pem and kafka.pem there. Every file with a key has mode 0600.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Final

from exchange.errors import ConfigError
from exchange.files import private
from exchange.tls import authority
from exchange.tls.authority import Described, Pair

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
RENEW_BEFORE_DAYS: Final = 30
_CERTIFICATE_BEGINS: Final = b"-----BEGIN CERTIFICATE-----"


class TlsFiles:
    """The certificates of one installation."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "tls"
        self.ca = self._folder / "ca.pem"
        self.ca_key = self._folder / "ca.key"
        self.kafka = self._folder / "kafka.pem"

    @property
    def is_wanted(self) -> bool:
        """Whether the embedded Kafka is to speak TLS: it has a certificate."""
        return self.kafka.exists()

    def init(self, name: str, days: int = authority.AUTHORITY_DAYS) -> Described:
        """Make the authority.

        Raises: ConfigError when there is one: what it has issued would no longer be believed.
        """
        if self.ca.exists() or self.ca_key.exists():
            msg = (
                f"{self.ca}: there is an authority already, and clients believe what it issued; "
                "to begin afresh move the folder away, and give all clients the new ca.pem"
            )
            raise ConfigError(msg)
        made = authority.make_authority(name, _now(), days)
        write_private(self.ca_key, made.key)
        write_private(self.ca, made.certificate)
        return authority.describe(made.certificate, str(self.ca))

    def authority(self) -> Pair:
        """Return the authority.

        Raises: ConfigError when it is not here, or its key is elsewhere.
        """
        if not self.ca.exists():
            msg = f"{self.ca}: there is no authority here; `exchange ca init` makes one"
            raise ConfigError(msg)
        if not self.ca_key.exists():
            msg = (
                f"{self.ca_key}: the authority's key is not here; bring it back while you issue, or have "
                f"certificates made where it is and write key and certificate to {self.kafka}"
            )
            raise ConfigError(msg)
        return Pair(self.ca.read_bytes(), read_private(self.ca_key))

    def issue(self, hosts: list[str], days: int, out: Path) -> Described:
        """Issue a certificate for hosts; `out` gets its key and the certificate, in one file.

        Raises: ConfigError when there is no authority with its key, or `out` cannot be written.
        """
        made = authority.issue(self.authority(), hosts, _now(), days)
        write_private(out, made.key + made.certificate)
        return authority.describe(made.certificate, str(out))

    def ensure_kafka(self) -> None:
        """Make what the embedded Kafka needs to speak TLS, where it is missing."""
        if not self.kafka.exists():
            if not self.ca.exists():
                self.init("exchange bus")
            self.issue(list(LOCAL_HOSTS), authority.SERVER_DAYS, self.kafka)

    def check_kafka(self) -> None:
        """Raise ConfigError when Kafka's certificate is not one that clients can believe now."""
        if not self.ca.exists():
            msg = f"{self.ca}: missing, so that no client could believe {self.kafka}; put the authority there"
            raise ConfigError(msg)
        pair = split(read_private(self.kafka), str(self.kafka))
        authority.check_pair(pair, self.ca.read_bytes(), str(self.kafka), _now())

    def kafka_described(self) -> Described | None:
        """Return what Kafka's certificate says, None where it has none.

        Raises: ConfigError when the file holds no certificate.
        """
        if not self.kafka.exists():
            return None
        return authority.describe(read_private(self.kafka), str(self.kafka))

    def kafka_sha256(self) -> str | None:
        """Return the fingerprint of Kafka's certificate, None where it has none."""
        found = self.kafka_described()
        return found.sha256 if found is not None else None

    def kafka_days_left(self) -> int | None:
        """Return the days that Kafka's certificate still has, None where it has none."""
        found = self.kafka_described()
        return found.days_left(_now()) if found is not None else None


def split(content: bytes, what: str) -> Pair:
    """Return key and certificates of a file that holds both, in any order; the key's own lines stay together.

    Raises: ConfigError when there is no certificate in it.
    """
    head, begins, rest = content.partition(_CERTIFICATE_BEGINS)
    if not begins:
        msg = f"{what}: wanted are a private key and a certificate in PEM, in one file"
        raise ConfigError(msg)
    return Pair(begins + rest, content if b"PRIVATE KEY" not in head else head)


def write_private(file: Path, content: bytes) -> None:
    """Write a file for its owner alone, whole or not at all.

    Raises: ConfigError when it cannot be written.
    """
    try:
        private.write_private(file, content)
    except OSError as error:
        msg = f"{file}: cannot be written ({os.strerror(error.errno or 0)}); make room or write access there"
        raise ConfigError(msg) from None


def read_private(file: Path) -> bytes:
    """Return the content of a file that holds a key.

    Raises: ConfigError when it cannot be read, or others than its owner may read it.
    """
    try:
        if file.stat().st_mode & 0o077:
            msg = f"{file}: readable by others than its owner, and it holds a key; run `chmod 600 {file}`"
            raise ConfigError(msg)
        return file.read_bytes()
    except OSError as error:
        msg = f"{file}: cannot be read ({os.strerror(error.errno or 0)})"
        raise ConfigError(msg) from None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
