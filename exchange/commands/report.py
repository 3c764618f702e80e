"""`exchange report`: the monthly assessment of sharing."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from exchange.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from exchange.governance.request import Request
    from exchange.settings import Settings

_TIMEOUT_S: Final = 60.0
_KINDS: Final = (".json", ".xlsx", ".html")


def report(
    month: Annotated[str, typer.Option("--month", help="Like 2026-11, UTC; default: the last one.")] = "",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="FILE.xlsx, FILE.html or FILE.json; default: JSON.")
    ] = None,
) -> None:
    """Assess a month by department: what it gave and got, quality, timeliness, overdue requests.

    Figures come from the monitor, names from topology.yaml, overdue requests from their store as it is now.
    The page prints; no file holds a value of any record.

    Examples:
      exchange report --month 2026-11 -o 2026-11.xlsx
      exchange report -o sharing.html
      exchange report --month 2026-11
    """
    from exchange.commands.topology import load
    from exchange.governance.desired import with_approved
    from exchange.report.assess import assess, overdue
    from exchange.settings import Settings

    if out is not None and out.suffix not in _KINDS:
        msg = f"-o {out.name}: wanted is a name that ends with {', '.join(_KINDS)}"
        raise ConfigError(msg)
    settings, now = Settings(), dt.datetime.now().astimezone()
    topology = with_approved(settings, load(settings, settings.topology)[0].topology)
    found = _quality(settings, _month(month, now))
    assessment = assess(found, topology, overdue(_requests(settings), topology, now), now)
    if out is None:
        sys.stdout.write(assessment.model_dump_json(indent=2) + "\n")
        return
    try:
        out.write_bytes(_content(out.suffix, assessment))
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror})"
        raise ConfigError(msg) from None
    sys.stderr.write(f"{out}\n")


def _content(suffix: str, assessment: Any) -> bytes:
    if suffix == ".xlsx":
        from exchange.report.excel import workbook

        return workbook(assessment)
    if suffix == ".html":
        from exchange.report.render import html

        return html(assessment).encode()
    return (str(assessment.model_dump_json(indent=2)) + "\n").encode()


def _month(given: str, now: dt.datetime) -> str:
    if not given:
        return (now.astimezone(dt.UTC).replace(day=1) - dt.timedelta(days=1)).strftime("%Y-%m")
    if not re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", given, re.ASCII):
        msg = f"--month {given[:20]}: wanted is a month like 2026-11"
        raise ConfigError(msg)
    return given


def _quality(settings: Settings, month: str) -> dict[str, Any]:
    import httpx

    from exchange.settings import machine_headers

    url = httpx.URL(settings.endpoints().api).join(f"/api/quality?month={month}")
    try:
        answer = httpx.get(url, headers=machine_headers(settings), timeout=_TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        msg = f"monitor: no figures of {month} ({type(error).__name__}); see that it runs: `exchange status`"
        raise TransientError(msg) from None


def _requests(settings: Settings) -> list[Request]:
    from exchange.governance.store import Store, exists

    if not exists(settings):
        return []
    with Store.of(settings) as store, store.change() as change:
        return change.requests()
