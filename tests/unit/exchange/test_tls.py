"""Certificates: what an authority issues is believed by a client, and what is wrong with one is said."""

from __future__ import annotations

import datetime as dt
import ssl
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from socket import create_server

import pytest

from exchange.errors import ConfigError
from exchange.settings import Settings
from exchange.tls import authority, handshake
from exchange.tls.authority import Pair
from exchange.tls.files import TlsFiles, read_private, split, write_private

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@contextmanager
def serving(pair: Pair, folder: Path) -> Iterator[str]:
    """A TLS server on 127.0.0.1 that shows a certificate and hangs up."""
    file = folder / "server.pem"
    write_private(file, pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, suppress(OSError):
                    context.wrap_socket(client, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(2)
    thread.join()


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture
def ours(tmp_path: Path) -> tuple[Pair, Path]:
    made = authority.make_authority("ours", now())
    write_private(tmp_path / "ca.pem", made.certificate)
    return made, tmp_path / "ca.pem"


def test_what_the_authority_issued_for_a_host_is_believed(ours: tuple[Pair, Path], tmp_path: Path) -> None:
    pair = authority.issue(ours[0], ["127.0.0.1"], now())
    with serving(pair, tmp_path) as server:
        handshake.check_servers(server, ours[1])
        assert handshake.speaks_tls(server)


@pytest.mark.parametrize(
    ("hosts", "issuer", "days", "told"),
    [
        (["127.0.0.1"], "others", 30, "not issued by .*ca.pem; set EXCHANGE_KAFKA_CA_FILE"),
        (["kafka.example.org"], "ours", 30, "for other hosts than 127.0.0.1"),
        (["127.0.0.1"], "ours", -1, "has ended; renew it"),
    ],
)
def test_a_certificate_that_is_not_believed_is_refused_with_one_reason(
    ours: tuple[Pair, Path], tmp_path: Path, hosts: list[str], issuer: str, days: int, told: str
) -> None:
    at = now() - dt.timedelta(days=9) if days < 0 else now()
    issuing = ours[0] if issuer == "ours" else authority.make_authority("others", at)
    pair = authority.issue(issuing, hosts, at, abs(days))
    with serving(pair, tmp_path) as server, pytest.raises(ConfigError, match=told) as raised:
        handshake.check_servers(server, ours[1])
    assert server in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("in_clear", [True, False])
def test_a_kafka_without_tls_is_told_and_one_that_hangs_up_is_left_to_the_client(in_clear: bool) -> None:
    with create_server(("127.0.0.1", 0)) as listening:
        server = f"127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            for _ in range(2):
                client, _ = listening.accept()
                with client, suppress(OSError):
                    asked = client.recv(64)
                    if in_clear and len(asked) == 14:
                        client.sendall(b"\0\0\0\4" + asked[8:12])

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ConfigError, match="does not speak TLS") if in_clear else nullcontext():
            handshake.check_servers(server, None)
        thread.join()
    handshake.check_servers(server, None)  # nobody is there


def test_an_issued_certificate_never_outlives_its_authority() -> None:
    ca = authority.make_authority("short", NOW, days=10)
    found = authority.describe(authority.issue(ca, ["a.example"], NOW, 397).certificate, "test")
    assert found.days_left(NOW) == 10
    assert found.hosts == ("a.example",)
    assert not found.is_authority
    with pytest.raises(ConfigError, match="it ended on"):
        authority.issue(ca, ["a.example"], NOW + dt.timedelta(days=11))


def test_a_pair_is_refused_that_does_not_belong_together_or_to_the_authority() -> None:
    ca, other = authority.make_authority("ca", NOW), authority.make_authority("other", NOW)
    one, two = (authority.issue(ca, ["h"], NOW) for _ in range(2))
    authority.check_pair(one, ca.certificate, "kafka.pem", NOW)
    for pair, issuer, at, told in (
        (Pair(one.certificate, two.key), ca, NOW, "key does not belong"),
        (one, other, NOW, "not issued by the authority"),
        (one, ca, NOW + dt.timedelta(days=400), "the certificate ended on 2027-04-02"),
        (one, ca, NOW - dt.timedelta(days=1), "clock"),
        (Pair(one.certificate, b"nonsense"), ca, NOW, "wanted is a private key in PEM"),
        (Pair(b"nonsense", one.key), ca, NOW, "wanted is a certificate in PEM"),
    ):
        with pytest.raises(ConfigError, match=told):
            authority.check_pair(pair, issuer.certificate, "kafka.pem", at)


@pytest.mark.parametrize("host", ["a b", "kafka:9093", "", "https://kafka"])
def test_what_is_no_host_gets_no_certificate(host: str) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        authority.issue(authority.make_authority("ca", NOW), [host], NOW)


def test_files_with_keys_are_for_their_owner_alone_and_an_authority_is_never_overwritten(
    tmp_path: Path,
) -> None:
    files = TlsFiles(tmp_path)
    files.ensure_kafka()
    before = files.kafka.read_bytes()
    files.ensure_kafka()
    assert files.kafka.read_bytes() == before
    files.check_kafka()
    assert {stat.filemode(file.stat().st_mode) for file in files.ca.parent.iterdir()} == {"-rw-------"}
    with pytest.raises(ConfigError, match="there is an authority already"):
        files.init("again")
    files.kafka.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        files.check_kafka()
    files.ca_key.unlink()
    with pytest.raises(ConfigError, match="authority's key is not here"):
        files.issue(["h"], 30, tmp_path / "h.pem")


def test_key_and_certificate_of_one_file_are_told_apart_in_either_order() -> None:
    pair = authority.issue(authority.make_authority("ca", NOW), ["h"], NOW)
    for content in (pair.key + pair.certificate, pair.certificate + pair.key):
        found = split(content, "t")
        assert b"PRIVATE KEY" in found.key
        assert authority.describe(found.certificate, "t").hosts == ("h",)


def test_a_file_with_a_key_is_read_from_its_owner_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_private(tmp_path / "absent")


@pytest.mark.parametrize(
    ("bootstrap", "given", "protocol"),
    [
        ("kafka.example.org:9093", None, "SASL_SSL"),
        ("127.0.0.1:9092,kafka.example.org:9093", None, "SASL_SSL"),
        ("127.0.0.1:9092,localhost:9093,[::1]:9094", None, "SASL_PLAINTEXT"),
        ("kafka.example.org:9093", "SASL_PLAINTEXT", "SASL_PLAINTEXT"),
        ("127.0.0.1:9092", "SASL_SSL", "SASL_SSL"),
    ],
)
def test_a_kafka_elsewhere_is_spoken_to_by_tls_unless_a_setting_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bootstrap: str, given: str | None, protocol: str
) -> None:
    monkeypatch.setenv("EXCHANGE_KAFKA_PASSWORD_ADMIN", "p")
    other = {f"{part}_url": "http://h" for part in ("registry", "api", "clickhouse")}
    settings = Settings.model_validate(
        {"home": tmp_path, "kafka_bootstrap": bootstrap, "kafka_security_protocol": given}
        | other
        | {"redis_url": "redis://h"}
    )
    assert settings.kafka_client("admin")["security.protocol"] == protocol
