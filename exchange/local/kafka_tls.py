"""TLS of the embedded Kafka: its listener's properties, and a new certificate without a restart.

Kafka reads key, certificate and authority from PEM files. A broker is its own client (transaction markers),
so it is given the authority too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from exchange.cluster import Cluster
from exchange.errors import PartError
from exchange.settings import Settings
from exchange.tls.files import TlsFiles

HEAP: Final = ("-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError")
JVM: Final = (*HEAP, "-XX:+UseSerialGC")
"""With the optimising compiler, which alone has AES-GCM in the processor's own instructions."""
_NODE: Final = "1"
_KEYSTORE: Final = "listener.name.client.ssl.keystore.location"
_TIMEOUT_S: Final = 30.0
_SECURED: Final = "CLIENT:SASL_SSL"


def listener(settings: Settings) -> dict[str, str]:
    """Return the properties that make the CLIENT listener speak TLS; none where TLS is not wanted.

    Raises: ConfigError when the certificate has ended, does not fit its key, or no client could believe it.
    """
    files = TlsFiles(settings.root)
    if settings.kafka_security_protocol == "SASL_SSL":
        files.ensure_kafka()
    if not files.is_wanted or settings.kafka_security_protocol == "SASL_PLAINTEXT":
        return {}
    files.check_kafka()
    return {
        "listener.name.client.ssl.keystore.type": "PEM",
        _KEYSTORE: str(files.kafka),
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.location": str(files.ca),
        "ssl.enabled.protocols": "TLSv1.3,TLSv1.2",
        "ssl.endpoint.identification.algorithm": "https",
    }


def in_force(root: Path) -> Path | None:
    """Return the authority of a Kafka that was started with TLS, None for one that was started without."""
    try:
        started_with = (root / "kafka" / "server.properties").read_text()
    except OSError:
        return None
    return TlsFiles(root).ca if _SECURED in started_with else None


def reload_certificate(settings: Settings) -> None:
    """Have the running Kafka show the certificate that now is in its file; connections that exist go on.

    Raises: ConfigError when the certificate is not fit; PartError when Kafka refuses it or does not answer.
    """
    files = TlsFiles(settings.root)
    files.check_kafka()
    entry = ConfigEntry(_KEYSTORE, str(files.kafka), incremental_operation=AlterConfigOpType.SET)
    broker = ConfigResource(ResourceType.BROKER, _NODE, incremental_configs=[entry])
    admin = Cluster(settings).client
    answers = admin.incremental_alter_configs([broker], request_timeout=_TIMEOUT_S)
    try:
        answers[broker].result(timeout=_TIMEOUT_S + 5)
    except (KafkaException, TimeoutError) as error:
        why = error.args[0].name() if isinstance(error, KafkaException) else "no answer"
        msg = (
            f"Kafka: the new certificate is not taken ({why}); `exchange down` and `exchange up` bring it in"
        )
        raise PartError(msg) from None
