"""Where a server is, from its connection string."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from exchange.binlog.tls import OPTIONS, Tls, context, tls
from exchange.errors import ConfigError

WANTED_URL: Final = "mysql://user:password@host:3306/database"
KINDS: Final = {"mysql": "MySQL", "mariadb": "MariaDB"}
"""Kind of system → name of the product."""

_CONNECT_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who we are there. Never printed: it holds the password."""

    host: str
    port: int
    user: str
    password: SecretStr
    database: str
    tls: Tls

    @property
    def at(self) -> str:
        """How people call it."""
        return f"the server at {self.host}:{self.port}"


def address(system: str, url: SecretStr) -> Address:
    """Return the parts of a connection string.

    Raises: ConfigError when it is not of the form WANTED_URL.
    """
    try:
        parts = urlsplit(url.get_secret_value())
        port = parts.port or 3306
    except ValueError:
        parts, port = None, 0
    if parts is None or parts.scheme not in KINDS or not parts.hostname or not parts.username:
        msg = f"source {system}: its connection string is not a URL like {WANTED_URL}"
        raise ConfigError(msg)
    options = dict(parse_qsl(parts.query))
    if parts.fragment or bool(parts.query) != bool(options) or not set(options) <= set(OPTIONS):
        msg = (
            f"source {system}: its connection string has an option that is not known; wanted: {WANTED_URL}, "
            f"and behind a ? some of {', '.join(OPTIONS)} (a ? or # in a password is written %3F or %23)"
        )
        raise ConfigError(msg)
    return Address(
        host=parts.hostname,
        port=port,
        user=unquote(parts.username),
        password=SecretStr(unquote(parts.password or "")),
        database=unquote(parts.path.lstrip("/")),
        tls=tls(f"source {system}", parts.hostname, options),
    )


def connection_settings(system: str, where: Address) -> dict[str, Any]:
    """Return what every connection of ours is made with.

    Raises: ConfigError when a file that TLS needs cannot be used.
    """
    secured = context(f"source {system}", where.tls)
    return {
        "host": where.host,
        "port": where.port,
        "user": where.user,
        "password": where.password.get_secret_value(),
        "charset": "utf8mb4",
        "connect_timeout": _CONNECT_TIMEOUT_S,
        **({"ssl_disabled": True} if secured is None else {"ssl": secured}),
    }


def server_id(system: str) -> int:
    """Return the id that a system's reader has on its server: of the upper half, where no server's is."""
    return 1 << 31 | zlib.crc32(f"exchange {system}".encode()) >> 1
