"""A safe Kafka: who is let in by TLS, who is refused, a certificate renewed, settings refused."""

from __future__ import annotations

import base64
import datetime as dt
import json
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from exchange import cli
from exchange.block import Outgoing, WriteBlock
from exchange.cluster import Acl, TopicSpec
from exchange.errors import ConfigError, PartError
from exchange.local import kafka, kafka_tls, probe
from exchange.local.home import Home, any_free
from exchange.local.stack import status, up
from exchange.quotas import client_quotas, set_client_quotas
from exchange.selfcheck import check_certificate, check_cluster
from exchange.settings import KAFKA_RISKS, Settings, kafka_secret
from exchange.subscriber.client_config import client_config, render
from exchange.tls import authority, handshake
from exchange.tls.files import LOCAL_HOSTS, TlsFiles, split, write_private
from exchange.wire import connection
from exchange.wire.transactional import BatchProducer
from tests.stack import Stack, remove, running_stack

SESSION_MS = "8000"


@pytest.fixture(scope="module")
def secured() -> Iterator[Stack]:
    """A Kafka that has a certificate, and therefore speaks TLS without any setting; logins last seconds."""
    home = Path(tempfile.mkdtemp(prefix="exchange-test-"))
    TlsFiles(home).ensure_kafka()
    usual = kafka._properties

    def with_short_sessions(*given: Any) -> str:
        return usual(*given).replace("max.reauth.ms=60000", f"max.reauth.ms={SESSION_MS}")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kafka, "_properties", with_short_sessions)
        with running_stack(["kafka"], home) as running:
            yield running


def server_of(stack: Stack) -> str:
    return stack.settings.endpoints().kafka


def shown(stack: Stack, context: ssl.SSLContext | None = None) -> bytes:
    """Return the certificate that a new connection is shown."""
    with connected(stack, context) as client:
        return client.getpeercert(binary_form=True) or b""


@contextmanager
def connected(stack: Stack, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    host, _, port = server_of(stack).rpartition(":")
    context = context or handshake.client_context(TlsFiles(stack.home).ca)
    with (
        socket.create_connection((host, int(port)), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=host) as client,
    ):
        yield client


def lets_in(client: dict[str, Any], timeout_s: float = 60) -> bool:
    """Whether Kafka and a client with these properties agree to speak with each other."""
    try:
        AdminClient(client | {"log_level": 0}).list_topics(timeout=timeout_s)
    except KafkaException:
        return False
    return True


def test_every_kind_of_client_is_let_in_and_reads_what_was_written(secured: Stack) -> None:
    client = secured.settings.kafka_client("admin")
    assert client["security.protocol"] == "SASL_SSL"
    secured.admin.ensure_topics([TopicSpec("tls", 1)])
    producer = Producer(client | {"transactional.id": "tls", "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce("tls", b"kept")
    producer.commit_transaction(60)
    consumer = Consumer(client | {"group.id": "admin.tls", "auto.offset.reset": "earliest"})
    consumer.subscribe(["tls"])
    record = consumer.poll(60)
    consumer.close()
    assert record is not None
    assert record.value() == b"kept"
    set_client_quotas(secured.settings, {"admin": {"consumer_byte_rate": 1e9}})
    assert client_quotas(secured.settings)["admin"] == {"consumer_byte_rate": 1e9}


def _reading(secured: Stack, principal: str) -> Consumer:
    """Return a client that reads on from the end, as a new login."""
    secured.admin.ensure_scram_user(principal)
    names = {"topic": "sessions", "group": principal}
    secured.admin.ensure_acls([Acl(principal, kind, name, "literal", "read") for kind, name in names.items()])
    own = {"group.id": principal, "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(secured.settings.kafka_client(principal) | own)
    consumer.assign([TopicPartition("sessions", 0, 0)])
    return consumer


def _reads(consumer: Consumer, number: int, timeout_s: float = 60) -> bool:
    """Whether a client comes to read a record; what it is told instead does not count."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        record = consumer.poll(0.2)
        if record is not None and record.error() is None and record.value() == str(number).encode():
            return True
    return False


def test_a_login_that_is_changed_or_taken_away_ends_with_its_session(secured: Stack) -> None:
    secured.admin.ensure_topics([TopicSpec("sessions", 1)])
    producer = Producer(secured.settings.kafka_client("admin"))

    def write(number: int) -> None:
        producer.produce("sessions", str(number).encode(), partition=0)
        assert producer.flush(60) == 0

    readers = {name: _reading(secured, name) for name in ("kept", "changed", "gone")}
    write(0)
    assert all(_reads(reader, 0) for reader in readers.values())
    (secured.home / "secrets" / kafka_secret("changed")).unlink()
    secured.admin.ensure_scram_user("changed")
    secured.admin.remove_scram_user("gone")
    time.sleep(int(SESSION_MS) / 1000 + 1)  # a session has an end and tells nobody
    write(1)
    assert _reads(readers["kept"], 1)
    assert not _reads(readers["changed"], 1, 3)
    assert not _reads(readers["gone"], 1, 3)
    for reader in readers.values():
        reader.close()


def test_transactions_of_our_own_producer_go_on_over_the_life_of_a_login(
    secured: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, connected = "share.lasting.v", 0
    secured.admin.ensure_topics([TopicSpec(topic, 1, {})])
    made = connection.Connection.__init__

    def counted(self: connection.Connection, *given: Any) -> None:
        nonlocal connected
        connected += 1
        made(self, *given)

    monkeypatch.setattr(connection.Connection, "__init__", counted)
    producer = BatchProducer(
        secured.settings.kafka_client("admin")
        | {"transactional.id": "stream-lasting", "transaction.timeout.ms": 30_000}
    )
    producer.init_transactions(20)
    block = WriteBlock()
    block.add(Outgoing(topic, 0, b"k", b"v", None))
    transactions, until = 0, time.monotonic() + 1.2 * int(SESSION_MS) / 1000
    while time.monotonic() < until:
        producer.begin_transaction()
        producer.write(block)
        producer.commit_transaction(20)
        transactions += 1
        time.sleep(0.2)
    producer.purge()
    assert connected > 2, "two connections, the one that is in use made anew within the life of a login"
    consumer = Consumer(
        secured.settings.kafka_client("admin")
        | {"group.id": "lasting", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = consumer.consume(transactions, 20)
    consumer.close()
    assert [message.value() for message in found] == [b"v"] * transactions


def test_what_a_subscriber_is_given_names_the_authority_and_no_key(secured: Stack) -> None:
    config = client_config(secured.settings, "admin", ())
    told = {form: render(config, form) for form in ("librdkafka", "java", "json")}
    ca = str(TlsFiles(secured.home).ca)
    assert f"ssl.ca.location={ca}" in told["librdkafka"]
    assert f"ssl.truststore.location={ca}" in told["java"]
    assert "security.protocol=SASL_SSL" in told["java"]
    assert not [text for text in told.values() if "ca.key" in text or "kafka.pem" in text]


def test_a_client_that_does_not_speak_tls_is_refused_and_told_so(secured: Stack) -> None:
    plain = secured.settings.model_copy(update={"kafka_security_protocol": "SASL_PLAINTEXT"})
    assert not lets_in(plain.kafka_client("admin"), 5)
    silence = probe.kafka(plain)
    assert silence is not None
    assert "it speaks TLS there" in silence.reason
    with pytest.raises(ConfigError, match="with SASL_SSL where SASL_PLAINTEXT is wanted"):
        up(plain, parts=["kafka"])


def _speaking(newest: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_tls_older_than_1_2_is_refused(secured: Stack, tmp_path: Path) -> None:
    assert shown(secured, _speaking(ssl.TLSVersion.TLSv1_2))
    with pytest.raises((ssl.SSLError, OSError)):
        shown(secured, _speaking(ssl.TLSVersion.TLSv1_1))
    # Control: the same client gets on with a server that still takes TLS 1.1.
    lax = _speaking(ssl.TLSVersion.TLSv1_1)
    assert _agreed(lax, TlsFiles(secured.home).kafka) == "TLSv1.1"


def _agreed(client: ssl.SSLContext, certificate: Path) -> str | None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.set_ciphers("ALL:@SECLEVEL=0")
    serving.minimum_version = ssl.TLSVersion.TLSv1
    serving.load_cert_chain(certificate)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with suppress(OSError), serving.wrap_socket(theirs, server_side=True) as made:
            made.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with client.wrap_socket(ours) as made:
        version = made.version()
    thread.join()
    return version


def test_another_authority_is_refused_with_one_clear_reason(secured: Stack, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    write_private(other, authority.make_authority("other", dt.datetime.now(dt.UTC)).certificate)
    misled = secured.settings.model_copy(update={"kafka_ca_file": other})
    client = misled.kafka_client("admin")
    assert not lets_in(client, 5)
    assert lets_in(client | {"enable.ssl.certificate.verification": False})  # control: nothing else refuses
    silence = probe.kafka(misled)
    assert silence is not None
    assert silence.reason.startswith(f"its certificate is not issued by {other}")
    with pytest.raises(PartError, match=r"not issued by .*other\.pem"):
        up(
            misled.model_copy(
                update={"kafka_bootstrap": server_of(secured), "kafka_security_protocol": "SASL_SSL"}
            ),
            parts=["kafka"],
        )


@contextmanager
def forwarded(server: str, host: str) -> Iterator[str]:
    """The same server under another address."""
    target = server.rpartition(":")
    with socket.create_server((host, 0)) as listening:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        def carry(near: socket.socket) -> None:
            with near, socket.create_connection((target[0], int(target[2]))) as far:
                back = threading.Thread(target=pump, args=(far, near))
                back.start()
                pump(near, far)
                back.join()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=carry, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"{host}:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_another_host_with_the_same_certificate_is_refused(secured: Stack) -> None:
    ca = TlsFiles(secured.home).ca
    with forwarded(server_of(secured), "127.0.0.2") as elsewhere:
        client = secured.settings.kafka_client("admin") | {"bootstrap.servers": elsewhere}
        assert not lets_in(client, 5)
        assert lets_in(client | {"ssl.endpoint.identification.algorithm": "none"})  # control
        with pytest.raises(ConfigError, match=r"for other hosts than 127\.0\.0\.2"):
            handshake.check_servers(elsewhere, ca)
    handshake.check_servers(server_of(secured), ca)


_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)
"""Source: Kafka protocol guide, request header 1: size, key, version, correlation id, no client id."""


def _answers(client: ssl.SSLSocket) -> bool:
    client.sendall(_API_VERSIONS)
    return client.recv(8)[4:] == struct.pack(">i", 7)


@pytest.mark.parametrize("days", [90, 91])
def test_a_renewed_certificate_is_shown_to_new_connections_while_old_ones_go_on(
    secured: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], days: int
) -> None:
    pid = Home(secured.home).state().parts["kafka"].pid
    before = shown(secured)
    with connected(secured) as old:
        monkeypatch.setenv("EXCHANGE_HOME", str(secured.home))
        monkeypatch.setattr(sys, "argv", ["exchange", "ca", "renew", "--days", str(days)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        assert sha256(shown(secured)).hexdigest() in capsys.readouterr().out
        assert shown(secured) != before
        assert _answers(old)
    assert Home(secured.home).state().parts["kafka"].pid == pid
    kafka = next(part for part in status(secured.settings) if part.part == "kafka")
    assert kafka.state == "running"
    assert kafka.certificate_days_left in (days - 1, days)


def test_a_certificate_that_was_put_there_is_taken_as_it_is(
    secured: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those do who have an authority of their own, whose key is never here."""
    files = TlsFiles(secured.home)
    files.issue(list(LOCAL_HOSTS), 50, files.kafka)
    hidden = files.ca_key.rename(secured.home / "elsewhere.key")
    try:
        monkeypatch.setenv("EXCHANGE_HOME", str(secured.home))
        monkeypatch.setattr(sys, "argv", ["exchange", "ca", "renew", "--given", "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        hidden.rename(files.ca_key)
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["taken_by_running_kafka"]
    assert told["sha256"] == sha256(shown(secured)).hexdigest()


def test_a_certificate_of_others_is_not_taken_while_kafka_runs(secured: Stack) -> None:
    files = TlsFiles(secured.home)
    kept, before = files.kafka.read_bytes(), shown(secured)
    moment = dt.datetime.now(dt.UTC)
    theirs = authority.issue(authority.make_authority("theirs", moment), ["127.0.0.1"], moment)
    write_private(files.kafka, theirs.key + theirs.certificate)
    try:
        with pytest.raises(ConfigError, match="not issued by the authority"):
            kafka_tls.reload_certificate(secured.settings)
        assert shown(secured) == before
    finally:
        write_private(files.kafka, kept)


def test_kafka_is_not_started_with_a_certificate_that_has_ended(tmp_path: Path) -> None:
    files = TlsFiles(tmp_path)
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=100)
    ca = authority.make_authority("ca", long_ago)
    write_private(files.ca, ca.certificate)
    pair = authority.issue(ca, ["127.0.0.1"], long_ago, 30)
    write_private(files.kafka, pair.key + pair.certificate)
    with pytest.raises(ConfigError, match=r"kafka\.pem: the certificate ended on .*renew it"):
        kafka_tls.listener(Settings(home=tmp_path))


def test_no_private_key_is_anywhere_but_in_its_own_file(secured: Stack) -> None:
    files = TlsFiles(secured.home)
    keys = [split(files.kafka.read_bytes(), "t").key, files.ca_key.read_bytes()]
    secrets = {line for key in keys for line in key.splitlines() if line and not line.startswith(b"-")}
    secrets |= {base64.b64decode(b"".join(key.split(b"-----")[2].split()))[36:68] for key in keys}
    shown_to_others = [
        " ".join(psutil.Process(running.pid).cmdline()).encode()
        for running in Home(secured.home).state().parts.values()
    ]
    written = [file for file in secured.home.rglob("*") if file.is_file() and file.parent != files.ca.parent]
    shown_to_others += [file.read_bytes() for file in written]
    assert written
    assert not [secret for secret in secrets for text in shown_to_others if secret in text]
    # Control: where the keys are, they are found.
    assert all(
        any(secret in file.read_bytes() for file in files.ca.parent.iterdir())
        for secret in secrets
        if len(secret) > 40
    )


# -- what is refused however it is secured


LEAKS = {
    "allow.everyone.if.no.acl.found": "true",
    "auto.create.topics.enable": "true",
    "unclean.leader.election.enable": "true",
}


@pytest.fixture(scope="module")
def insecure() -> Iterator[Settings]:
    """A Kafka with every setting wrong that is looked at, and a listener that is open to all."""
    right, port = kafka._properties, any_free([])

    def wrong(*given: Any) -> str:
        lines = dict(line.split("=", 1) for line in right(*given).splitlines())
        lines["listeners"] += f",OPEN://0.0.0.0:{port}"
        lines["advertised.listeners"] += f",OPEN://127.0.0.1:{port}"
        lines["listener.security.protocol.map"] += ",OPEN:PLAINTEXT"
        return "".join(f"{name}={value}\n" for name, value in (lines | LEAKS).items())

    home = Path(tempfile.mkdtemp(prefix="exchange-test-"))
    settings = Settings(home=home, kafka_accept_risks=",".join(KAFKA_RISKS))
    try:
        Home(home).make()
        Home(home).keep_from_usual_ports()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kafka, "_properties", wrong)
            up(settings, parts=["kafka"])  # accepted, and therefore not refused
        yield settings.model_copy(update={"kafka_accept_risks": "", "kafka_min_insync_replicas": 2})
    finally:
        remove(settings)


SEEN = {
    "open_by_default": "user monitor may look at a topic for which it has no rule",
    "plaintext_listener": "broker 1: listener OPEN speaks PLAINTEXT on 0.0.0.0; wanted is SASL_SSL",
    "auto_create_topics": "broker 1: auto.create.topics.enable=true; wanted is false",
    "unclean_election": "broker 1: unclean.leader.election.enable=true; wanted is false",
    "few_copies": "topic _exchange.plan: 1 replica; wanted are 3",
}


def test_a_kafka_with_unsafe_settings_is_refused_with_each_of_them(insecure: Settings) -> None:
    assert set(SEEN) == set(KAFKA_RISKS)
    with pytest.raises(ConfigError) as refused:
        up(insecure, parts=["kafka"])
    lines = str(refused.value).splitlines()
    for check, seen in SEEN.items():
        assert [line for line in lines if line.startswith(f"  {check}: {seen}") and ". Mend: " in line], check
    assert lines[-1].endswith("EXCHANGE_KAFKA_ACCEPT_RISKS=" + ",".join(sorted(SEEN)))


@pytest.mark.parametrize("check", SEEN)
def test_a_risk_that_is_taken_by_name_leaves_the_others_refused(insecure: Settings, check: str) -> None:
    taken = insecure.model_copy(update={"kafka_accept_risks": check})
    with pytest.raises(ConfigError) as refused:
        check_cluster(taken, ["monitor"])
    assert f"  {check}: " not in str(refused.value)
    assert all(f"  {other}: " in str(refused.value) for other in SEEN if other != check)


def test_a_kafka_without_tls_is_refused_where_tls_is_wanted(insecure: Settings) -> None:
    with pytest.raises(ConfigError, match="it does not speak TLS there; name its SASL_SSL listener"):
        check_certificate(insecure.model_copy(update={"kafka_security_protocol": "SASL_SSL"}))
    check_certificate(insecure)


def test_the_doctor_says_all_of_it_and_nothing_of_a_safe_kafka(
    insecure: Settings, secured: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def examined(settings: Settings, **given: str) -> tuple[int, dict[str, Any]]:
        for name, value in ({"EXCHANGE_HOME": str(settings.root)} | given).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["exchange", "doctor", "--kafka", "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), json.loads(capsys.readouterr().out)

    code, told = examined(secured.settings)
    assert (code, told["ok"]) == (0, True)
    assert [one["check"] for one in told["findings"]] == ["certificate"]
    code, told = examined(insecure, EXCHANGE_KAFKA_MIN_INSYNC_REPLICAS="2")
    assert (code, told["ok"]) == (2, False)
    assert {one["check"] for one in told["findings"]} == set(SEEN)
    assert all(one["why"] and one["mend"] for one in told["findings"])
