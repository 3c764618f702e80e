"""TLS of the embedded Kafka: its listener's properties, and a new certificate without a restart.

Kafka reads key, certificate and authority from PEM files. A broker is its own client (transaction markers),
so it is given the authority too.
"""

from __future__ import annotations

import hashlib
import time
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
from exchange.tls import handshake
from exchange.tls.files import TlsFiles

HEAP: Final = ("-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError")
JVM: Final = (*HEAP, "-XX:+UseSerialGC")
"""With the optimising compiler, which alone has AES-GCM in the processor's own instructions."""
_NODE: Final = "1"
_KEYSTORE: Final = "listener.name.client.ssl.keystore.location"
_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_IN_A_ROW: Final = 12
"""Several times the network threads, which are three."""
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
    """Return when the running Kafka shows the certificate that now is in its file; old connections go on.

    Raises: ConfigError when the certificate is not fit; PartError when Kafka does not take it.
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
        raise _not_taken(why) from None
    _await_shown(settings.endpoints().kafka, files)


def _await_shown(server: str, files: TlsFiles) -> None:
    """Return when new connections are shown the certificate: the controller's word comes a moment before.

    Kafka's network threads take it one after another, and new connections go to them in turn.
    """
    wanted = files.kafka_sha256()
    context = handshake.client_context(files.ca)
    deadline = time.monotonic() + _TIMEOUT_S
    in_a_row = 0
    while in_a_row < _IN_A_ROW:
        try:
            shown = handshake.shown_certificate(server, context)
        except OSError as error:
            raise _not_taken(type(error).__name__) from None
        in_a_row = in_a_row + 1 if hashlib.sha256(shown).hexdigest() == wanted else 0
        if time.monotonic() > deadline:
            why = f"the old one is still shown after {_TIMEOUT_S:.0f} s"
            raise _not_taken(why)
        if not in_a_row:
            time.sleep(_POLL_S)


def _not_taken(why: str) -> PartError:
    return PartError(
        f"Kafka: the new certificate is not taken ({why}); `exchange down` and `exchange up` bring it in"
    )
