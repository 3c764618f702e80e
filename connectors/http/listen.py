"""The socket that requests come in by."""

from __future__ import annotations

import socket
from typing import Final

from exchange.errors import ConfigError

_BACKLOG: Final = 1024


def listen(address: str, what: str, where: str) -> socket.socket:
    """Return a socket that listens on host:port, by whichever family the host's first address has.

    what: who listens; where: what says the address; both for the error's text.

    Raises: ConfigError when the address is taken or not this machine's.
    """
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, place = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        msg = f"{what}: {address} cannot be listened on ({error.strerror}); change {where}"
        raise ConfigError(msg) from None
    # Connections inherit it; without it each answer waits 40 ms for the client's acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
