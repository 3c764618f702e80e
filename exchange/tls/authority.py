"""X.509: an authority of one's own and the certificates that it issues. Plain values, no files.

Keys are ECDSA on P-256, unencrypted PKCS #8 in PEM, which Kafka and librdkafka read without a keytool.
Source: RFC 5280; CA/Browser Forum, Baseline Requirements 7.1.2.7 for the extensions of a server.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from exchange.errors import ConfigError

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 397
_BACKDATED: Final = dt.timedelta(minutes=5)
"""A certificate is valid from a little before: the clocks of its readers are off by some seconds."""


class Pair(NamedTuple):
    """A certificate and its private key, each in PEM."""

    certificate: bytes
    key: bytes


class Described(NamedTuple):
    """What a certificate says of itself."""

    subject: str
    issuer: str
    hosts: tuple[str, ...]
    not_before: dt.datetime
    not_after: dt.datetime
    sha256: str
    is_authority: bool

    def days_left(self, now: dt.datetime) -> int:
        """Return the whole days until it ends; negative once it has ended."""
        return (self.not_after - now).days


def make_authority(name: str, now: dt.datetime, days: int = AUTHORITY_DAYS) -> Pair:
    """Return a new authority, which may issue no other authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _common_name(name)
    made = (
        _begun(subject, subject, key, now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM), _pem(key))


def issue(authority: Pair, hosts: Sequence[str], now: dt.datetime, days: int = SERVER_DAYS) -> Pair:
    """Return a server's certificate for hosts (names or IP addresses; the first is its common name).

    It never outlives its authority.

    Raises: ConfigError when there is no host, one is none, or the authority cannot sign.
    """
    if not hosts:
        msg = "a certificate is for at least one host; none was given"
        raise ConfigError(msg)
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    issuer, signing = read_certificate(authority.certificate, "authority"), _signing_key(authority.key)
    if signing.public_key() != issuer.public_key():
        msg = "authority: its key does not belong to its certificate"
        raise ConfigError(msg)
    left = (issuer.not_valid_after_utc - now).days
    if left < 1:
        msg = f"authority: it ended on {issuer.not_valid_after_utc:%Y-%m-%d}; make a new one"
        raise ConfigError(msg)
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        _begun(_common_name(hosts[0][:64]), issuer.subject, key, now, min(days, left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
        .sign(signing, hashes.SHA256())
    )
    return Pair(made.public_bytes(serialization.Encoding.PEM), _pem(key))


def describe(pem: bytes, what: str) -> Described:
    """Return what the first certificate of a PEM text says of itself. what: how an error's text begins.

    Raises: ConfigError when there is none in it.
    """
    found = read_certificate(pem, what)
    return Described(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        hosts=_hosts(found),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        sha256=found.fingerprint(hashes.SHA256()).hex(),
        is_authority=_is_authority(found),
    )


def check_pair(pair: Pair, authority: bytes, what: str, now: dt.datetime) -> None:
    """Raise ConfigError unless a pair belongs together, is in force and was issued by the authority."""
    certificate, issuer = read_certificate(pair.certificate, what), read_certificate(authority, "authority")
    if _read_key(pair.key, what).public_key() != certificate.public_key():
        msg = f"{what}: the key does not belong to the certificate"
        raise ConfigError(msg)
    check_dates(pair.certificate, what, now)
    check_dates(authority, "authority", now)
    try:
        _last_of_chain(pair.certificate, what).verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        msg = (
            f"{what}: not issued by the authority ({issuer.subject.rfc4514_string()}) that clients are given"
        )
        raise ConfigError(msg) from None


def check_dates(pem: bytes, what: str, now: dt.datetime) -> None:
    """Raise ConfigError when a certificate has ended or has not begun."""
    found = read_certificate(pem, what)
    if now >= found.not_valid_after_utc:
        msg = f"{what}: the certificate ended on {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it"
        raise ConfigError(msg)
    if now < found.not_valid_before_utc:
        msg = (
            f"{what}: the certificate begins on {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; "
            "wait until then, or set this machine's clock right"
        )
        raise ConfigError(msg)


def read_certificate(pem: bytes, what: str) -> x509.Certificate:
    """Return the first certificate of a PEM text.

    Raises: ConfigError when there is none in it.
    """
    return _chain(pem, what)[0]


def _last_of_chain(pem: bytes, what: str) -> x509.Certificate:
    return _chain(pem, what)[-1]


def _chain(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        msg = f"{what}: wanted is a certificate in PEM"
        raise ConfigError(msg) from None


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _common_name(name: str) -> x509.Name:
    try:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError:
        msg = "the name of an authority: wanted are 1 to 64 characters"
        raise ConfigError(msg) from None


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        if host.strip("*.") and " " not in host and ":" not in host and "/" not in host:
            return x509.DNSName(host.encode("idna").decode() if not host.isascii() else host)
    except UnicodeError:
        pass
    msg = f"{host!r} is no host; wanted is a name like kafka-1.example.org, or an IP address, without a port"
    raise ConfigError(msg)


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _signing_key(pem: bytes) -> CertificateIssuerPrivateKeyTypes:
    found = _read_key(pem, "authority")
    if isinstance(found, ec.EllipticCurvePrivateKey):
        return found
    msg = "authority: wanted is a key on an elliptic curve, as `exchange ca init` makes it"
    raise ConfigError(msg)


def _read_key(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    try:
        return serialization.load_pem_private_key(pem, password=None)  # type: ignore[return-value]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        msg = f"{what}: wanted is a private key in PEM (PKCS #8), without a passphrase"
        raise ConfigError(msg) from None


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
