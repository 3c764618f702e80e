"""What every process of the bus looks at before it works on a Kafka, so that a wrong setting stops it.

An insecure setting stops the process with what was seen, what is wanted and what mends it, unless
`EXCHANGE_KAFKA_ACCEPT_RISKS` names the check: then it is told in the log at each start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from exchange import log
from exchange.doctor import kafka
from exchange.doctor.finding import Finding, Level
from exchange.errors import ConfigError
from exchange.settings import Settings
from exchange.tls import handshake

_log = log.get(__name__)


def check_certificate(settings: Settings) -> None:
    """Return when Kafka's servers are believed, or speak no TLS as is wanted, or are away.

    Raises: ConfigError saying why one is not believed.
    """
    endpoints = settings.endpoints()
    if settings.kafka_protocol(endpoints) == "SASL_SSL":
        handshake.check_servers(endpoints.kafka, settings.kafka_authority(endpoints))


def check_denies(settings: Settings, client: Mapping[str, Any]) -> None:
    """Return when Kafka refuses a user what no rule gives it. client: its librdkafka properties.

    Raises: ConfigError when it does not refuse; TransientError when it does not answer.
    """
    if kafka.is_open(client):
        refuse([kafka.open_by_default(str(client["sasl.username"]))], settings)


def check_cluster(settings: Settings, principals: Iterable[str]) -> None:
    """Look at the whole cluster as its administrator; principals: users of the bus with a password.

    Raises: ConfigError with all that is insecure; PartError, TransientError when Kafka does not answer.
    """
    refuse(kafka.examine(settings, principals), settings)


def refuse(findings: Iterable[Finding], settings: Settings) -> None:
    """Raise ConfigError with the errors among findings, a line each; those that are accepted are logged."""
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    accepted = settings.accepted_risks
    for finding in errors:
        if finding.check in accepted:
            _log.warning("kafka_risk_accepted", check=finding.check, seen=finding.seen)
    left = [finding for finding in errors if finding.check not in accepted]
    if left:
        lines = "\n".join(f"  {one.check}: {one.seen}. Mend: {one.mend}" for one in left)
        names = ",".join(sorted({finding.check for finding in left}))
        msg = (
            f"Kafka is not set up safely:\n{lines}\n"
            f"`exchange doctor --kafka` says why. Who takes the risk sets EXCHANGE_KAFKA_ACCEPT_RISKS={names}"
        )
        raise ConfigError(msg)
