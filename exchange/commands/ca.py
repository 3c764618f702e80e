"""`exchange ca`: an authority of one's own for TLS in Kafka, and the certificates that it issues."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exchange.counting import counted
from exchange.errors import ConfigError

if TYPE_CHECKING:
    from exchange.tls.authority import Described

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def init(
    name: Annotated[str, typer.Option("--name", help="The authority's common name.")] = "exchange bus",
    days: Annotated[int, typer.Option("--days", min=1, max=36500, help="How long it is in force.")] = 3650,
    as_json: AsJson = False,
) -> None:
    """Make an authority: <home>/tls/ca.pem, which every client is given, and ca.key, which nobody is.

    An authority that exists is never overwritten. Who has one already needs none of this: its certificate
    goes to <home>/tls/ca.pem, Kafka's key and certificate in one file to <home>/tls/kafka.pem (mode 0600).

    Examples:
      exchange ca init
      exchange ca init --name "Exchange bus of the city" --days 1825
    """
    from exchange.settings import Settings
    from exchange.tls.files import TlsFiles

    files = TlsFiles(Settings().root)
    _tell(_document(files.init(name, days), files.ca), as_json=as_json)
    sys.stderr.write(f"Keep {files.ca_key} to yourself; it may lie elsewhere while nothing is issued.\n")


def issue(
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host", help="Name or IP address of the server; may be repeated. Default: this machine."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File for key and certificate; default <home>/tls/kafka.pem, the embedded Kafka's."
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=36500, help="How long it is in force.")] = 397,
    as_json: AsJson = False,
) -> None:
    """Issue a server's certificate. The file holds key and certificate in PEM, as Kafka reads them.

    With one in <home>/tls/kafka.pem `exchange up` starts Kafka with TLS. What exists is not overwritten;
    `exchange ca renew` does that.

    Examples:
      exchange ca issue
      exchange ca issue --host kafka-1.example.org --host 10.0.0.7 --out kafka-1.pem
    """
    from exchange.settings import Settings
    from exchange.tls.files import LOCAL_HOSTS, TlsFiles

    files = TlsFiles(Settings().root)
    file = out or files.kafka
    if file.exists():
        msg = f"{file}: exists already; take another name, or `exchange ca renew` for the embedded Kafka's"
        raise ConfigError(msg)
    _tell(_document(files.issue(host or list(LOCAL_HOSTS), days, file), file), as_json=as_json)


def renew(
    given: Annotated[
        bool, typer.Option("--given", help="Issue nothing: take what was put to <home>/tls/kafka.pem.")
    ] = False,
    days: Annotated[int, typer.Option("--days", min=1, max=36500, help="How long it is in force.")] = 397,
    as_json: AsJson = False,
) -> None:
    """Give the embedded Kafka a new key and certificate for the same hosts, without a restart.

    Connections that exist go on; new ones see the new certificate. Where Kafka does not run, its next start
    takes it.

    Examples:
      exchange ca renew
      exchange ca renew --days 90 --json
      exchange ca renew --given
    """
    from exchange.local import kafka_tls
    from exchange.local.home import Home
    from exchange.settings import Settings
    from exchange.tls.files import TlsFiles

    settings = Settings()
    files = TlsFiles(settings.root)
    before = files.kafka_described()
    if before is None:
        msg = f"{files.kafka}: there is no certificate to renew; `exchange ca issue` makes the first one"
        raise ConfigError(msg)
    if given:
        files.check_kafka()
    found = before if given else files.issue(list(before.hosts), days, files.kafka)
    running = Home(settings.root).running("kafka") is not None and kafka_tls.in_force(settings.root)
    if running:
        kafka_tls.reload_certificate(settings)
    _tell(_document(found, files.kafka) | {"taken_by_running_kafka": bool(running)}, as_json=as_json)


def show(as_json: AsJson = False) -> None:
    """Show the authority and the embedded Kafka's certificate: for whom, by whom, until when.

    The exit code is 2 when one has ended, or there is none.

    Examples:
      exchange ca show
      exchange ca show --json
    """
    from exchange.settings import Settings
    from exchange.tls import authority
    from exchange.tls.files import TlsFiles

    files = TlsFiles(Settings().root)
    found: dict[str, Any] = {"ca": None, "kafka": None}
    if files.ca.exists():
        found["ca"] = _document(authority.describe(files.ca.read_bytes(), str(files.ca)), files.ca)
    if (kafka := files.kafka_described()) is not None:
        found["kafka"] = _document(kafka, files.kafka)
    if as_json:
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        for name, document in found.items():
            sys.stdout.write(_text(document) if document else f"{name}: none here\n")
    if any(document is None or document["days_left"] < 0 for document in found.values()):
        raise typer.Exit(2)


def _document(found: Described, file: Path) -> dict[str, Any]:
    import datetime as dt

    return {
        "file": str(file),
        "subject": found.subject,
        "issuer": found.issuer,
        "hosts": list(found.hosts),
        "not_before": found.not_before.isoformat(),
        "not_after": found.not_after.isoformat(),
        "days_left": found.days_left(dt.datetime.now(dt.UTC)),
        "sha256": found.sha256,
    }


def _tell(document: dict[str, Any], *, as_json: bool) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n" if as_json else _text(document))


def _text(document: dict[str, Any]) -> str:
    hosts = f" for {', '.join(document['hosts'])}" if document["hosts"] else ""
    left = document["days_left"]
    until = f"until {document['not_after'][:10]} ({counted(left, 'day') if left >= 0 else 'ENDED'})"
    return (
        f"{document['file']}\n  {document['subject']}{hosts}, issued by {document['issuer']}, {until}\n"
        f"  sha256 {document['sha256']}\n"
    )
