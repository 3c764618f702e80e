"""Whether a part answers: each is asked the way its users will ask it, with the password.

A probe returns None when the part answers, else why it doesn't, in a few words without addresses or secrets.
"""

from __future__ import annotations

import socket
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr

from exchange.cluster import ADMIN
from exchange.local.postgres import SUPERUSER
from exchange.settings import POSTGRES_PASSWORD, REDIS_PASSWORD, Settings, kafka_secret
from exchange.tls import handshake

_TIMEOUT_S: Final = 3.0


class Silence(NamedTuple):
    """Why a part doesn't answer; waiting does not help where it refused the password."""

    reason: str
    password_refused: bool = False


def kafka(settings: Settings) -> Silence | None:
    """Log in as admin and ask for the brokers."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient

    refused = _refuses_connections(settings.endpoints().kafka.split(",")[0])
    if refused:  # asked first, since librdkafka tells a closed port only by a timeout
        return refused
    seen: list[KafkaError] = []
    client = AdminClient(settings.kafka_client(ADMIN) | {"log_level": 0, "error_cb": seen.append})
    try:
        client.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as error:
        client.poll(0)
        reasons = {problem.name() for problem in seen} or {error.args[0].name()}
        if "_AUTHENTICATION" in reasons:
            return _refused(kafka_secret(ADMIN))
        return Silence(_tls_reason(settings) or "no answer: " + ", ".join(sorted(reasons)))
    return None


def _tls_reason(settings: Settings) -> str | None:
    """Return what TLS has to do with it that Kafka does not answer; None when nothing."""
    endpoints = settings.endpoints()
    server = endpoints.kafka.split(",")[0]
    if settings.kafka_protocol(endpoints) == "SASL_SSL":
        authority = settings.kafka_authority(endpoints)
        return handshake.refusal(server, handshake.client_context(authority), authority)
    if handshake.speaks_tls(server):
        return "it speaks TLS there; set EXCHANGE_KAFKA_SECURITY_PROTOCOL=SASL_SSL and EXCHANGE_KAFKA_CA_FILE"
    return None


def redis(settings: Settings) -> Silence | None:
    """Log in and ping."""
    import redis as client
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    password = settings.secrets.find(REDIS_PASSWORD)
    connection = client.Redis.from_url(
        settings.endpoints().redis,
        password=_plain(password),
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        connection.ping()
    except client.AuthenticationError:
        return _refused(REDIS_PASSWORD)
    except client.RedisError as error:
        return Silence(type(error).__name__)
    finally:
        connection.close()
    return None


def postgres(settings: Settings) -> Silence | None:
    """Log in as the superuser and select 1."""
    import psycopg

    host, _, port = (settings.endpoints().postgres or "").rpartition(":")
    password = settings.secrets.find(POSTGRES_PASSWORD)
    try:
        with psycopg.connect(
            host=host,
            port=port,
            user=SUPERUSER,
            password=_plain(password),
            dbname="postgres",
            connect_timeout=int(_TIMEOUT_S),
        ) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            return _refused(POSTGRES_PASSWORD)
        return Silence(type(error).__name__)
    return None


def monitor(settings: Settings) -> Silence | None:
    """Ask for /health."""
    import httpx

    return _http(httpx.URL(settings.endpoints().api).join("/health"))


def registry(settings: Settings) -> Silence | None:
    """Ask for the list of subjects."""
    import httpx

    return _http(httpx.URL(settings.endpoints().registry).join("/subjects"))


def clickhouse(settings: Settings) -> Silence | None:
    """Ask an external ClickHouse for /ping; the embedded one lives in the monitor and answers with it."""
    import httpx

    url = settings.endpoints().clickhouse
    return None if url.startswith("chdb:") else _http(httpx.URL(url).join("/ping"))


def _http(url: object) -> Silence | None:
    import httpx

    try:
        answer = httpx.get(str(url), timeout=_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        return Silence(type(error).__name__)
    return None if answer.status_code == httpx.codes.OK else Silence(f"HTTP status {answer.status_code}")


def _refuses_connections(address: str) -> Silence | None:
    split = urlsplit(f"//{address}")
    try:
        with socket.create_connection((split.hostname or "", split.port or 9092), timeout=_TIMEOUT_S):
            return None
    except OSError as error:
        return Silence(f"no connection ({type(error).__name__})")


def _refused(secret: str) -> Silence:
    return Silence(f"it refuses the password that the secret {secret} holds", password_refused=True)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
