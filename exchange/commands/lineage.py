"""`exchange lineage`: the plan in force as OpenLineage events."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from exchange.counting import counted
from exchange.errors import ConfigError, PlanError


def export(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write; default: stdout.")] = None,
    url: Annotated[
        str,
        typer.Option("--url", help="Send to this OpenLineage address instead, like https://marquez:5000."),
    ] = "",
) -> None:
    """Tell where each view comes from, field by field with its mask: OpenLineage events, one JSON a line.

    They are those of the plan in force, read from Kafka. A key goes along where the secret
    EXCHANGE_OPENLINEAGE_API_KEY is set. The same plan gives the same runs: sending twice changes nothing.

    Examples:
      exchange lineage export -o lineage.ndjson
      exchange lineage export --url https://marquez.example
    """
    from exchange.apply.publish import read_last
    from exchange.cluster import ADMIN
    from exchange.lineage.events import events
    from exchange.lineage.send import send
    from exchange.settings import Settings

    if url and not url.startswith(("http://", "https://")):
        msg = "--url: wanted is an address that begins with http:// or https://"
        raise ConfigError(msg)
    settings = Settings()
    plan = read_last(settings.kafka_client(ADMIN)).plan
    if plan is None:
        msg = "no plan of this release is in force; `exchange apply` publishes one"
        raise PlanError(msg)
    found = list(events(plan, settings.endpoints().kafka, dt.datetime.now(dt.UTC)))
    if url:
        send(settings, url, found)
    else:
        _write(out, "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in found))
    sys.stderr.write(f"{counted(len(found), 'event')} of plan {plan.version}\n")


def _write(out: Path | None, text: str) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror})"
        raise ConfigError(msg) from None
