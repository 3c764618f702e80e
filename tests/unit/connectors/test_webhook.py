"""Webhooks on a real receiver in this process, without Kafka: signatures, answers, TLS, words of errors."""

from __future__ import annotations

import datetime as dt
import email.utils
import ipaddress
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.sink import DeliveredView, GoneError
from connectors.sinks.webhook.post import Receiver
from connectors.sinks.webhook.signing import SigningKey, make_key, read_keys, signature_header
from connectors.sinks.webhook.sink import WebhookSink
from exchange.change import Op, Position, RecordHeader
from exchange.errors import ConfigError, SinkError, TransientError
from exchange.plan import PlannedDelivery
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received
from tests.conformance.webhook_receiver import WebhookReceiver
from tests.unit.exchange.topologies import changed, load

BODY = b'{"canary": "110101199003078515"}'


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


@pytest.fixture
def there(secrets: Secrets) -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver(make_key(secrets, "KEYS", "hmac", only=True))
    yield receiver
    receiver.close()


def delivery(url: str, **more: Any) -> PlannedDelivery:
    given = {"signature": "hmac", "keys_env": "KEYS", "batch_records": 3} | more
    return PlannedDelivery(subscriber="tax", kind="webhook", url=url, views=("a.b.c",), **given)


def post(there: WebhookReceiver, secrets: Secrets, **more: Any) -> None:
    sender = Receiver(delivery(there.url, **more), secrets)
    try:
        sender.post("msg_1", BODY)
    finally:
        sender.close()


def test_a_signature_is_that_of_the_standards_own_example(secrets: Secrets) -> None:
    """Source: the vector in the tests of github.com/standard-webhooks/standard-webhooks."""
    secrets.put("KEYS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    keys = read_keys(secrets, "KEYS", "hmac")
    signed = signature_header(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("signature", ["hmac", "ed25519"])
def test_while_keys_change_a_receiver_with_either_verifies(
    there: WebhookReceiver, secrets: Secrets, signature: str
) -> None:
    first = make_key(secrets, "CHANGED", signature, only=True)
    second = make_key(secrets, "CHANGED", signature, only=False)
    for there.key in (first, second):
        post(there, secrets, signature=signature, keys_env="CHANGED")
    assert [len(one.signatures) for one in there.posted] == [2, 2]
    make_key(secrets, "CHANGED", signature, only=False)
    there.key = first
    with pytest.raises(SinkError, match="401"):
        post(there, secrets, signature=signature, keys_env="CHANGED")


def test_the_receiver_of_these_tests_finds_what_was_altered(there: WebhookReceiver) -> None:
    """Control: it is the judge of signatures here."""
    key = SigningKey("hmac", b"k" * 32)
    there.key = key.for_the_receiver()
    now = int(time.time())
    signed = [signature_header([key], "msg_1", now, BODY)]
    other = [signature_header([SigningKey("hmac", b"o" * 32)], "msg_1", now, BODY)]
    old = [signature_header([key], "msg_1", now - 900, BODY)]

    assert there.verifies("msg_1", str(now), signed, BODY)
    assert not there.verifies("msg_2", str(now), signed, BODY)
    assert not there.verifies("msg_1", str(now), signed, BODY + b" ")
    assert not there.verifies("msg_1", str(now - 1), signed, BODY)
    assert not there.verifies("msg_1", str(now), other, BODY)
    assert not there.verifies("msg_1", str(now - 900), old, BODY)


@pytest.mark.parametrize("content", ["whsec_AAAA", "abc", "whsk_" + "A" * 43 + "=", "whsec_é"])
def test_a_secret_that_holds_no_keys_is_refused_without_being_told(secrets: Secrets, content: str) -> None:
    secrets.put("KEYS", content)

    with pytest.raises(ConfigError, match="one or two keys") as refused:
        read_keys(secrets, "KEYS", "hmac")
    assert content not in str(refused.value)
    assert "AAAA" not in repr(SigningKey("hmac", b"\0" * 32))


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (400, SinkError, "refuses the request with 400"),
        (401, SinkError, "401"),
        (413, SinkError, "413"),
        (302, SinkError, "redirects are not followed"),
        (308, SinkError, "redirects are not followed"),
        (410, GoneError, "wants nothing more"),
        (408, TransientError, "sent again"),
        (429, TransientError, "sent again"),
        (500, TransientError, "sent again"),
        (503, TransientError, "sent again"),
    ],
)
def test_each_answer_has_its_meaning_and_no_value_in_it(
    there: WebhookReceiver, secrets: Secrets, status: int, error: type[Exception], told: str
) -> None:
    elsewhere = WebhookReceiver(there.key)
    there.answer = lambda: (status, {"Location": elsewhere.url})
    try:
        with pytest.raises(error, match=told) as refused:
            post(there, secrets)
        assert "110101" not in str(refused.value)
        assert elsewhere.posted == []
    finally:
        elsewhere.close()


def test_no_answer_is_waited_out_and_a_success_of_any_kind_taken(
    there: WebhookReceiver, secrets: Secrets
) -> None:
    there.answer = lambda: None
    with pytest.raises(TransientError, match="no answer"):
        post(there, secrets)
    there.answer = lambda: (204, {})
    post(there, secrets)
    there.close()
    with pytest.raises(TransientError, match="no answer"):
        post(there, secrets)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 1, 1),
        ("", 1, 1),
        ("soon", 1, 1),
        ("999999999", 3600, 3600),
        ("-5", 1, 1),
        ("a date in half an hour", 1500, 1801),
    ],
)
def test_retry_after_is_heeded_within_bounds(
    there: WebhookReceiver, secrets: Secrets, text: str, low: float, high: float
) -> None:
    if text.startswith("a date"):
        text = email.utils.format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(minutes=30))
    there.answer = lambda: (503, {"Retry-After": text})

    with pytest.raises(TransientError) as refused:
        post(there, secrets)
    assert low <= refused.value.retry_after_s <= high


def test_a_certificate_is_verified(there: WebhookReceiver, secrets: Secrets, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    there._server.socket = context.wrap_socket(there._server.socket, server_side=True)
    url = there.url.replace("http:", "https:")

    def send(ca_file: str, url: str) -> None:
        sender = Receiver(delivery(url, ca_file=ca_file), secrets)
        try:
            sender.post("msg_1", BODY)
        finally:
            sender.close()

    send(str(cert), url)
    assert there.ids() == ["msg_1"]
    with pytest.raises(TransientError, match="ConnectError"):
        send("", url)
    with pytest.raises(TransientError, match="ConnectError"):
        send(str(cert), url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ConfigError, match="wanted is a CA"):
        send(str(tmp_path / "none"), url)
    assert there.ids() == ["msg_1"]


def certificate(place: Path) -> tuple[Path, Path]:
    """Return files of a certificate for 127.0.0.1 alone, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = place / "cert.pem", place / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


VIEW = DeliveredView("a.b.c", "a.b", "share.a.b.c", 2, ("id",), ())


def record(partition: int, offset: int, *, tombstone: bool = False, problem: str = "") -> Received:
    header = RecordHeader(Position(partition, offset, 0), Op.UPDATE, 1000, tombstone=tombstone)
    value = None if tombstone else {"before": None, "after": {"id": offset}}
    return Received("share.a.b.c", partition, offset, header, {"id": offset}, value, 0, problem)


def test_a_batch_is_cut_by_partition_in_order_and_its_ids_follow_from_its_records(
    there: WebhookReceiver, secrets: Secrets
) -> None:
    records = [record(n % 2, n, tombstone=n == 4, problem="x" if n == 7 else "") for n in range(10)]
    batch = Batch(records, {0: Place(9), 1: Place(10)})
    parked = []
    for _ in range(2):
        sink = WebhookSink(delivery(there.url), VIEW, secrets)
        sink.open()
        parked.append(sink.write(batch))
        sink.close()
    offsets = [[one["offset"] for one in posted.data["records"]] for posted in there.posted]
    ids = there.ids()

    assert offsets[:4] == [[0, 2, 6], [8], [1, 3, 5], [7, 9]]
    assert ids[:4] == ids[4:]
    assert len(set(ids)) == 4
    assert [posted.body for posted in there.posted[:4]] == [posted.body for posted in there.posted[4:]]
    assert parked == [{(1, 7)}, {(1, 7)}]


def test_a_request_is_no_larger_than_a_receiver_may_expect(there: WebhookReceiver, secrets: Secrets) -> None:
    large = [record(0, offset) for offset in range(3)]
    for one in large:
        assert one.value is not None
        one.value["after"]["text"] = "字" * 200_000
    sink = WebhookSink(delivery(there.url), VIEW, secrets)
    sink.open()
    sink.write(Batch(large, {0: Place(3)}))
    sink.close()

    assert [len(one.data["records"]) for one in there.posted] == [2, 1]


ENTRY = """\
  hooked:
    department: police
    label: {{zh: 甲, en: A}}
    delivery: {{kind: webhook, url: "{}", keys_env: HOOK_KEYS}}
"""


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/hook",
        "https://user:password@receiver.example/",
        "ftp://receiver.example/",
        "https://receiver.example/#a",
        "https:// receiver.example/",
    ],
)
def test_an_address_that_would_show_records_or_passwords_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="a URL like https"):
        load(changed(("subscribers:\n", "subscribers:\n" + ENTRY.format(url))))


def test_a_webhook_can_be_declared_once_for_a_url() -> None:
    entry = ENTRY.format("https://receiver.example:8443/hook?for=tax")
    assert load(changed(("subscribers:\n", "subscribers:\n" + entry)))
    twice = "subscribers:\n" + entry + entry.replace("hooked", "other").replace("HOOK_", "OTHER_")

    with pytest.raises(ConfigError, match="url is that of subscriber 'hooked' too"):
        load(changed(("subscribers:\n", twice)))
