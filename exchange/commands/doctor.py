"""`exchange doctor`: is a source fit to be captured, Kafka set up safely, and what is sealed on its disks."""

from __future__ import annotations

import json
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exchange.errors import ConfigError

if TYPE_CHECKING:
    from exchange.doctor.finding import Finding

_FINDINGS: Final = 2


def doctor(
    system: Annotated[
        str | None, typer.Argument(help="System to examine, as topology.yaml names it.")
    ] = None,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Examine Kafka's settings in the place of a system.")
    ] = False,
    sealing: Annotated[
        bool, typer.Option("--sealing", help="Examine what of the raw topics is sealed, and the keys here.")
    ] = False,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="<schema>.<table> that no resource is declared for yet; may be repeated."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Examine a source: what is in the way of its capture, what may harm it, why, and what mends it.

    Only looks; the statements are for the department's own administrator. Needs no Kafka. With --kafka it is
    Kafka that is examined: settings by which records leak or get lost; the other commands refuse to start on
    those that are errors here.

    With --sealing: which sensitive fields lie in clear on Kafka's disks, and whether the keys of this machine
    open what is sealed. It looks at all records that workers have not processed, and at samples of the
    others; no key is shown.

    Exit codes: 0 nothing to mend, 1 the examination itself failed, 2 there are errors or warnings.

    Examples:
      exchange doctor population
      exchange doctor population --table public.household --json
      exchange doctor --kafka
      exchange doctor --sealing
    """
    if [system is not None, kafka, sealing].count(True) != 1:
        msg = "name one system, or say --kafka or --sealing"
        raise ConfigError(msg)
    if system is not None:
        _tell(system, "fit to be captured", _of_system(system, tuple(table or ())), as_json=as_json)
    elif kafka:
        _tell("kafka", "set up safely", _of_kafka(), as_json=as_json)
    else:
        _tell("sealing", "nothing sensitive in clear, and all opens here", _of_sealing(), as_json=as_json)


def _of_kafka() -> list[Finding]:
    from exchange.apply import access
    from exchange.doctor.kafka import examine
    from exchange.selfcheck import check_certificate
    from exchange.settings import Settings, kafka_secret

    settings = Settings()
    check_certificate(settings)
    asking = (access.MONITOR, access.WORKER)
    known = [name for name in asking if settings.secrets.find(kafka_secret(name)) is not None]
    return list(examine(settings, known[:1]))


def _of_sealing() -> list[Finding]:
    from exchange import topology
    from exchange.apply import access
    from exchange.cluster import ADMIN
    from exchange.doctor.sealing import examine
    from exchange.files.contracts import load_contracts
    from exchange.selfcheck import check_certificate
    from exchange.settings import Settings, kafka_secret

    settings = Settings()
    contracts = load_contracts(settings.contracts)
    declared = topology.read(settings.topology, contracts, topology.today()).topology
    check_certificate(settings)
    has_worker = settings.secrets.find(kafka_secret(access.WORKER)) is not None
    client = settings.kafka_client(access.WORKER if has_worker else ADMIN)

    def tell(line: str) -> None:
        sys.stderr.write(line + "\n")

    return list(examine(declared, contracts, settings.secrets, client, access.STREAM_GROUP, tell))


def _of_system(system: str, tables: tuple[str, ...]) -> list[Finding]:
    from exchange import topology
    from exchange.doctor import EXAMINERS
    from exchange.doctor.finding import Patient
    from exchange.files.contracts import load_contracts
    from exchange.settings import Settings
    from exchange.suggest import did_you_mean

    settings = Settings()
    contracts = load_contracts(settings.contracts)
    declared = topology.read(settings.topology, contracts, topology.today()).topology
    if system not in declared.systems:
        msg = f"{settings.topology}: no system is called {did_you_mean(system, declared.systems)}"
        raise ConfigError(msg)
    examine = EXAMINERS.get(declared.systems[system].kind)
    if examine is None:
        msg = f"{system}: sources of kind {declared.systems[system].kind} cannot be examined"
        raise ConfigError(msg)
    return list(examine(Patient(system, declared, contracts, tables), settings.secrets))


def _tell(examined: str, verdict: str, findings: list[Finding], *, as_json: bool) -> None:
    from exchange.doctor.finding import Level

    found = sorted(findings, key=lambda finding: list(Level).index(finding.level))
    to_mend = [finding for finding in found if finding.level is not Level.NOTE]
    if as_json:
        document = {"system": examined, "ok": not to_mend, "findings": [asdict(finding) for finding in found]}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(map(_told, found)))
        sys.stdout.write(f"{examined}: {len(to_mend)} to mend\n" if to_mend else f"{examined}: {verdict}\n")
    if to_mend:
        raise typer.Exit(_FINDINGS)


def _told(finding: Finding) -> str:
    head = f"{finding.level:<8} {finding.check}: {finding.seen}\n"
    why = f"why: {finding.why}\n" if finding.why else ""
    mend = f"mend: {finding.mend}\n" if finding.mend else ""
    return head + textwrap.indent(why + mend, " " * 9)
