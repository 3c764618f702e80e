"""A look at a Kafka server's certificate before any client connects: one clear reason instead of retries.

Kafka's client tries for ever and tells of a certificate only in its log; here the server is asked once, and
verified as the client will do it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from exchange.errors import ConfigError

_TIMEOUT_S: Final = 10.0
# X509_verify_cert's codes. Source: OpenSSL, x509_vfy.h.
_NOT_YET: Final = 9
_EXPIRED: Final = 10
_UNKNOWN_ISSUER: Final = frozenset({2, 18, 19, 20, 21})
_OTHER_HOST: Final = frozenset({62, 64})
_TOO_OLD: Final = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 7, -1)
"""Length, API key, version, correlation id, no client id. Source: Kafka protocol guide, request header 1."""
_IN_CLEAR: Final = (
    "it does not speak TLS there; name its SASL_SSL listener, or set "
    "EXCHANGE_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT where the network is your own"
)


def check_servers(servers: str, ca_file: Path | None) -> None:
    """Ask each of the bootstrap servers for its certificate; who does not answer is left to the client.

    Raises: ConfigError saying why a server is not believed.
    """
    context = client_context(ca_file)
    for server in servers.split(","):
        reason = refusal(server.strip(), context, ca_file)
        if reason is not None:
            msg = f"Kafka at {server.strip()}: {reason}"
            raise ConfigError(msg)


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what verifies a server: TLS 1.2 or newer, its host name, and its authority.

    ca_file: the only authority that counts; None: those that this machine trusts.

    Raises: ConfigError when the file holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        msg = f"{ca_file}: cannot be read as an authority in PEM ({type(error).__name__})"
        raise ConfigError(msg) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Newer Pythons refuse more than Kafka's client does, whose verdict this is to foretell.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def refusal(server: str, context: ssl.SSLContext, ca_file: Path | None) -> str | None:
    """Return why a server is not believed; None when it is, or does not answer at all."""
    split = urlsplit(f"//{server}")
    host, port = split.hostname or "", split.port or 9092
    try:
        raw = socket.create_connection((host, port), timeout=_TIMEOUT_S)
    except OSError:
        return None
    with contextlib.closing(raw):
        try:
            context.wrap_socket(raw, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            return _told(error, host, ca_file)
        except OSError as error:
            if getattr(error, "reason", None) in _TOO_OLD:
                return "it takes TLS older than 1.2 only; set ssl.enabled.protocols=TLSv1.3,TLSv1.2 there"
            # A Kafka without TLS hangs up, as does one that is ending: only the first is refused for good.
            return _IN_CLEAR if _answers_in_clear(host, port) else None
    return None


def _answers_in_clear(host: str, port: int) -> bool:
    """Whether a server answers Kafka's first question without TLS."""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as raw:
            raw.sendall(_API_VERSIONS)
            return raw.recv(8, socket.MSG_WAITALL)[4:] == _API_VERSIONS[8:12]
    except OSError:
        return False


def shown_certificate(server: str, context: ssl.SSLContext) -> bytes:
    """Return the certificate in DER that a server shows to a new connection.

    Raises: OSError when it does not answer, or is not believed.
    """
    split = urlsplit(f"//{server}")
    host = split.hostname or ""
    with (
        socket.create_connection((host, split.port or 9092), timeout=_TIMEOUT_S) as raw,
        context.wrap_socket(raw, server_hostname=host) as connection,
    ):
        return connection.getpeercert(binary_form=True) or b""


def speaks_tls(server: str) -> bool:
    """Whether a server answers in TLS, whoever it is; nothing is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    split = urlsplit(f"//{server}")
    try:
        with socket.create_connection((split.hostname or "", split.port or 9092), timeout=_TIMEOUT_S) as raw:
            context.wrap_socket(raw).close()
    except OSError:
        return False
    return True


def _told(error: ssl.SSLCertVerificationError, host: str, ca_file: Path | None) -> str:
    believed = str(ca_file) if ca_file is not None else "this machine's authorities"
    if error.verify_code == _EXPIRED:
        return "its certificate (or its authority's) has ended; renew it (`exchange ca renew` for our own)"
    if error.verify_code == _NOT_YET:
        return "its certificate is not in force yet; look at the clocks of both machines"
    if error.verify_code in _OTHER_HOST:
        return (
            f"its certificate is for other hosts than {host}; use a name that stands in it, or issue one for "
            f"{host} (`exchange ca issue --host`)"
        )
    if error.verify_code in _UNKNOWN_ISSUER:
        return (
            f"its certificate is not issued by {believed}; set EXCHANGE_KAFKA_CA_FILE to the authority that "
            "issued it. If you did not expect this, somebody else may answer in its place"
        )
    return f"its certificate is refused ({error.verify_message})"
