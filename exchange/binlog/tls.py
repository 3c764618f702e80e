"""TLS to a source: what a connection string says of it, and the context that connections are made with.

Where the string says nothing, a server on another host must prove who it is by a certificate for that host,
from an authority that this machine trusts; on this machine itself the connection is plain. No mode encrypts
without verifying: who is in between could then read all the same.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from exchange.errors import ConfigError

Mode = Literal["disabled", "verify_ca", "verify_identity"]
OPTIONS: Final = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key")


@dataclass(frozen=True, slots=True)
class Tls:
    """What a connection string says of TLS. ca, cert, key: paths of PEM files; empty where not given."""

    mode: Mode
    ca: str = ""
    cert: str = ""
    key: str = ""


def tls(at: str, host: str, options: Mapping[str, str]) -> Tls:
    """Return what the options of OPTIONS mean for a host. at: how an error's text begins.

    Raises: ConfigError when they contradict each other.
    """
    mode = options.get("ssl_mode") or ("disabled" if is_here(host) and not options else "verify_identity")
    if mode not in get_args(Mode):
        msg = f"{at}: its ssl_mode is none of {', '.join(get_args(Mode))}"
        raise ConfigError(msg)
    found = Tls(cast("Mode", mode), *(options.get(name, "") for name in OPTIONS[1:]))
    if mode == "disabled" and (found.ca or found.cert or found.key):
        msg = f"{at}: ssl_mode=disabled, and files for TLS are named; take either out"
        raise ConfigError(msg)
    if found.key and not found.cert:
        msg = f"{at}: ssl_key is given without ssl_cert, the certificate that it belongs to"
        raise ConfigError(msg)
    return found


def context(at: str, wanted: Tls) -> ssl.SSLContext | None:
    """Return the context of a connection, None for a plain one.

    Raises: ConfigError when a file cannot be read as what it should be.
    """
    if wanted.mode == "disabled":
        return None
    made = ssl.create_default_context()
    if wanted.ca:  # then no other authority counts
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(at, "ssl_ca", lambda: made.load_verify_locations(cafile=wanted.ca))
    made.check_hostname = wanted.mode == "verify_identity"
    if wanted.cert:
        # Without a password function an encrypted key would be asked for on the terminal.
        key = wanted.key or None
        _load(at, "ssl_cert, ssl_key", lambda: made.load_cert_chain(wanted.cert, key, lambda: ""))
    return made


def _load(at: str, what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        msg = f"{at}: {what}: the file is not there, or not PEM of that kind ({type(error).__name__})"
        raise ConfigError(msg) from None


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
