"""`/api/catalogue/export` and `import`: the catalogue as files, as its commands write and read them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from exchange.catalogue import formats
from exchange.catalogue.authority import seen
from exchange.catalogue.desk import CatalogueDesk
from exchange.catalogue.exchanged import Judged, Row
from exchange.counting import counted
from exchange.errors import ConfigError
from exchange.identity.caller import Caller, acting
from exchange.model import Model
from monitor.api import problem
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.api.requests import OnlineDesk
from monitor.identity import now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem} for code in (401, 403, 404, 408, 409, 413)
}
_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "odcs": "application/zip",
    "dcat": "application/ld+json",
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {kind.partition(";")[0]: _BINARY for kind in _TYPES.values()}
        | {_TYPES["dcat"]: {"schema": {"type": "object"}}}
    }
}
_BODY: Final = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_BODY_S: Final = 60.0
_MOST_TOLD: Final = 100


class ExportParams(Model):
    """Query parameters of /api/catalogue/export."""

    format: Literal["csv", "xlsx", "odcs", "dcat"] = Field(
        default="csv", description="odcs: a ZIP file with one contract a resource; dcat: what is published."
    )
    resource: Annotated[tuple[str, ...], Field(max_length=1000)] = Field(
        default=(), description="Only these; all when not given."
    )


class ImportParams(Model):
    """Query parameters of /api/catalogue/import; the file itself is the body."""

    name: str = Field(
        pattern=r"^[^/\\\x00-\x1f\x7f]{1,200}$",
        description="Of the file; its suffix says what it is: .csv, .xlsx, .jsonld, .yaml, .zip of .yaml.",
    )
    dry_run: bool = Field(description="Say what it would do; write nothing.")


class ImportedRow(Model):
    """What a row does, or would do."""

    where: str = Field(description="File and line, row or part.")
    resource: str
    new: bool = Field(description="There was no entry.")
    changed: tuple[str, ...] = Field(description="Columns that it changes.")
    refused: tuple[str, ...] = Field(description="Why it is refused; then no row of the file is written.")


class Imported(Model):
    """What became of a file."""

    written: bool
    refused: int = Field(description="Rows that are refused.")
    rows: tuple[ImportedRow, ...]


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Give the catalogue out and take it in, as the caller may."""

    @app.get("/api/catalogue/export", tags=["catalogue"], response_class=Response, responses=_ERRORS | _FILES)
    def export(given: Annotated[ExportParams, Query()], asked: Request) -> Response:
        """Write the catalogue as the caller sees it: what is in force, and drafts of whoever may see them."""
        suffix, made = formats.WRITERS[given.format]
        caller = caller_of(asked)
        topology, contracts = online.identity.declared.current()
        shelf = CatalogueDesk(online.identity.store(), topology, contracts).shelf()
        if unknown := sorted(set(given.resource) - {sheet.name for sheet in shelf}):
            msg = f"{len(unknown)} of the resources are not declared; /api/catalogue has those that are"
            raise Refused(404, msg)
        shown = [
            seen(sheet, topology, caller)
            for sheet in shelf
            if not given.resource or sheet.name in given.resource
        ]
        headers = {
            "Content-Disposition": f'attachment; filename="catalogue{suffix}"',
            "Cache-Control": "no-store",
        }
        return Response(made(shown), headers=headers, media_type=_TYPES[given.format])

    @app.post(
        "/api/catalogue/import",
        tags=["catalogue"],
        response_model=Imported,
        responses=_ERRORS,
        openapi_extra=_BODY,
    )
    async def take_in(given: Annotated[ImportParams, Query()], asked: Request) -> Any:
        """Take entries in as drafts: all rows of a file or, where one is refused, none."""
        caller = caller_of(asked)
        content = await _read(asked)
        return await run_in_threadpool(_taken_in, online, caller, given, content)


async def _read(asked: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in asked.stream():
                body += chunk
                if len(body) > formats.MOST_BYTES:
                    most = f"{formats.MOST_BYTES // 1_048_576} MiB"
                    raise Refused(413, f"a file of at most {most} is wanted; import it in several")
    except ClientDisconnect:
        raise Refused(400, "the connection ended before the file did") from None
    except TimeoutError:
        raise Refused(408, f"the file did not come within {_BODY_S:.0f} s") from None
    return bytes(body)


def _taken_in(online: OnlineDesk, caller: Caller, given: ImportParams, content: bytes) -> Any:
    rows = _rows(given.name, content)
    topology, contracts = online.identity.declared.current()
    desk = CatalogueDesk(online.identity.store(), acting(topology, caller), contracts)
    if given.dry_run:
        judged = desk.take_in(caller.name, rows, now(), dry_run=True)
    else:
        with online.relayed():
            judged = desk.take_in(caller.name, rows, now())
    refused = [f"{one.row.where}: {reason}" for one in judged for reason in one.refused]
    if refused and not given.dry_run:
        bad = sum(bool(one.refused) for one in judged)
        detail = f"{bad} of {counted(len(judged), 'row')} refused; nothing was taken in. First: {refused[0]}"
        return problem.answer(409, detail, tuple(refused[:_MOST_TOLD]))
    return Imported(
        written=not given.dry_run,
        refused=sum(bool(one.refused) for one in judged),
        rows=tuple(map(_row, judged)),
    )


def _rows(name: str, content: bytes) -> list[Row]:
    """Return what a file says. Raises: Refused where it cannot be read."""
    try:
        return formats.parse(name, content)
    except ConfigError as error:
        raise Refused(400, str(error)) from None


def _row(one: Judged) -> ImportedRow:
    return ImportedRow(
        where=one.row.where,
        resource=one.row.resource,
        new=one.is_new and not one.refused,
        changed=one.changed,
        refused=one.refused,
    )
