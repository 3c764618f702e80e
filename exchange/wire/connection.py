"""A connection to one broker: TLS, login, and requests whose answers come in their order."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, Final, Self

from confluent_kafka import KafkaError, KafkaException
from scramp import ScramClient, ScramException

from exchange.tls.handshake import client_context
from exchange.wire.messages import (
    API_VERSIONS,
    FEATURES,
    FINALIZED_FEATURES,
    NO_TAGS,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    SPOKEN,
    Kind,
)

_SIZE: Final = Struct(">i")
_LONGEST_ANSWER_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_SEND_S: Final = 10.0
"""After so long without room for a request the broker counts as gone."""
_SECURE: Final = frozenset({"SSL", "SASL_SSL"})
_WITH_LOGIN: Final = frozenset({"SASL_PLAINTEXT", "SASL_SSL"})
_SCRAM: Final = frozenset({"SCRAM-SHA-256", "SCRAM-SHA-512"})
_UNDERSTOOD: Final = frozenset(
    {"security.protocol", "sasl.mechanism", "sasl.username", "sasl.password", "ssl.ca.location"}
)
_RENEWED_AFTER: Final = 0.5
"""Share of a login's life after which a connection is made anew: Kafka ends one that outlives its login."""
_IDLE_S: Final = 60.0
"""A connection that was idle for longer may have been ended by the broker, or by something between."""
_TRANSACTION_VERSION: Final = "transaction.version"
_AN_EPOCH_EACH: Final = 2
"""The version from which on each transaction has an epoch of its own."""


class NotSpokenError(Exception):
    """The broker, or the login it wants, is beyond this client: librdkafka has to do."""


@dataclass(frozen=True, slots=True)
class Login:
    """How to connect and as whom. Source: librdkafka, CONFIGURATION.md, for the properties' meaning."""

    protocol: str
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    @classmethod
    def of(cls, client: Mapping[str, Any]) -> Self:
        """Read librdkafka's properties. Raises: NotSpokenError naming one that is not understood here."""
        for name in client:
            if name.startswith(("sasl.", "ssl.", "security.")) and name not in _UNDERSTOOD:
                raise NotSpokenError(name)
        ca_file = client.get("ssl.ca.location")
        login = cls(
            client.get("security.protocol", "PLAINTEXT").upper(),
            client.get("sasl.mechanism", ""),
            client.get("sasl.username", ""),
            client.get("sasl.password", ""),
            Path(ca_file) if ca_file is not None else None,
        )
        if login.protocol in _WITH_LOGIN and login.mechanism not in _SCRAM:
            raise NotSpokenError(login.mechanism)
        return login


class Connection:
    """One connection, for one thread at a time; `close` may be called from any.

    Whatever goes wrong on the way is a KafkaException: a retriable `_TIMED_OUT` of `receive` when the answer
    may still come, and can be waited for again; `_TRANSPORT` when the connection is lost.
    """

    def __init__(self, address: tuple[str, int], login: Login, client_id: str, timeout_s: float) -> None:
        """Connect and log in.

        Raises: KafkaException; NotSpokenError when the broker is too old, or of a transaction.version
            before 2; ConfigError when the authority's file holds no certificate.
        """
        self.used_s = self._born_s = time.monotonic()
        self._life_s = float("inf")
        self._client_id = client_id
        self._asked: deque[tuple[int, Kind]] = deque()
        self._number = 0
        self._received = bytearray()
        self._socket = _connected(address, login, timeout_s)
        deadline_s = self._born_s + timeout_s
        try:
            self._find_versions(deadline_s)
            if login.protocol in _WITH_LOGIN:
                self._log_in(login, deadline_s)
        except BaseException:
            self.close()
            raise

    @property
    def is_stale(self) -> bool:
        """Whether it had better be made anew before it is used again; nothing may be under way."""
        now = time.monotonic()
        return now - self.used_s > _IDLE_S or now - self._born_s > self._life_s * _RENEWED_AFTER

    @property
    def waiting(self) -> int:
        """How many answers are still to come."""
        return len(self._asked)

    def ask(self, kind: Kind, fields: tuple[Any, ...], deadline_s: float) -> tuple[Any, ...]:
        """Send a request and return the fields of its answer; no other answer may be outstanding.

        An answer that is late is given up, and the connection with it.
        """
        self.send(kind, fields)
        try:
            return self.receive(deadline_s)
        except KafkaException as error:
            self.close()
            raise failed(error.args[0].code()) from None

    def send(self, kind: Kind, fields: tuple[Any, ...]) -> None:
        """Send a request; its answer is for `receive`, in turn."""
        self._number += 1
        frame = kind.encode(self._number, self._client_id, fields)
        try:
            self._socket.settimeout(_SEND_S)
            self._socket.sendall(_SIZE.pack(len(frame)) + frame)
        except OSError:  # part of it may be on its way: nothing else can follow
            self.close()
            raise _lost() from None
        self._asked.append((self._number, kind))
        self.used_s = time.monotonic()

    def receive(self, deadline_s: float) -> tuple[Any, ...]:
        """Return the fields of the next answer."""
        frame = self._frame(deadline_s)
        number, kind = self._asked.popleft()
        try:
            answered, fields = kind.decode(frame)
        except (ValueError, StructError):
            self.close()
            raise _lost() from None
        if answered != number:
            self.close()
            raise _lost()
        self.used_s = time.monotonic()
        return fields

    def close(self) -> None:
        """End it; who waits for an answer is told that the connection is lost."""
        with suppress(OSError):  # it may not be connected any more
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _frame(self, deadline_s: float) -> bytes:
        """Return the next answer's bytes; what came of it before the deadline is kept for the next call."""
        received = self._received
        self._have(_SIZE.size, deadline_s)
        [size] = _SIZE.unpack_from(received)
        if not 0 < size <= _LONGEST_ANSWER_BYTES:
            self.close()
            raise _lost()
        end = _SIZE.size + size
        self._have(end, deadline_s)
        frame = bytes(received[_SIZE.size : end])
        del received[:end]
        return frame

    def _have(self, size_bytes: int, deadline_s: float) -> None:
        while len(self._received) < size_bytes:
            self._received += self._more(deadline_s)

    def _more(self, deadline_s: float) -> bytes:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise timed_out()
        try:
            self._socket.settimeout(left_s)
            found = self._socket.recv(_CHUNK_BYTES)
        except TimeoutError:
            raise timed_out() from None
        except (OSError, ValueError):
            raise _lost() from None
        if not found:
            self.close()
            raise _lost()
        return found

    def _find_versions(self, deadline_s: float) -> None:
        code, apis, _, tags = self.ask(API_VERSIONS, ("exchange", "1", NO_TAGS), deadline_s)
        if code:
            raise NotSpokenError(API_VERSIONS.name)
        spoken = {key: (least, most) for key, least, most, _ in apis}
        for kind in SPOKEN:
            least, most = spoken.get(kind.key, (0, -1))
            if not least <= kind.version <= most:
                msg = f"{kind.name} version {kind.version}"
                raise NotSpokenError(msg)
        features = FEATURES.decode(BytesIO(tags.get(FINALIZED_FEATURES, b"\x01"))) or ()
        levels = {name: level for name, level, _, _ in features}
        if levels.get(_TRANSACTION_VERSION, 0) < _AN_EPOCH_EACH:
            msg = f"{_TRANSACTION_VERSION} {_AN_EPOCH_EACH}"
            raise NotSpokenError(msg)

    def _log_in(self, login: Login, deadline_s: float) -> None:
        [code] = self.ask(SASL_HANDSHAKE, (login.mechanism,), deadline_s)
        if code:
            raise NotSpokenError(login.mechanism)
        scram = ScramClient([login.mechanism], login.user, login.password)
        try:
            scram.set_server_first(self._authenticate(scram.get_client_first(), deadline_s))
            scram.set_server_final(self._authenticate(scram.get_client_final(), deadline_s))
        except ScramException:
            raise failed(KafkaError._AUTHENTICATION) from None  # noqa: SLF001 - librdkafka's own code

    def _authenticate(self, text: str, deadline_s: float) -> str:
        code, _, answer, life_ms, _ = self.ask(SASL_AUTHENTICATE, (text.encode(), NO_TAGS), deadline_s)
        if code:
            raise failed(code)
        if life_ms > 0:
            self._life_s = life_ms / 1000
        return (answer or b"").decode(errors="replace")


def failed(code: int, *, fatal: bool = False, retriable: bool = False) -> KafkaException:
    """Return an error of Kafka as confluent_kafka would raise it, by its name alone."""
    return KafkaException(KafkaError(code, None, fatal=fatal, retriable=retriable))


def timed_out() -> KafkaException:
    """Return that an answer did not come in time, and may still come."""
    return failed(KafkaError._TIMED_OUT, retriable=True)  # noqa: SLF001 - librdkafka's own code


def _lost() -> KafkaException:
    return failed(KafkaError._TRANSPORT)  # noqa: SLF001 - librdkafka's own code


def _connected(address: tuple[str, int], login: Login, timeout_s: float) -> socket.socket:
    context = client_context(login.ca_file) if login.protocol in _SECURE else None
    try:
        plain = socket.create_connection(address, timeout_s)
    except OSError:
        raise _lost() from None
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if context is None else context.wrap_socket(plain, server_hostname=address[0])
    except OSError:
        plain.close()
        raise _lost() from None
