"""The console's pages, as they were built; see monitor/console/ and `make console`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

BUILT: Final = Path(__file__).parents[1] / "console" / "dist"
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    # Names of tables and fields come from departments: nothing in them may ever run.
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def mount(app: FastAPI) -> None:
    """Serve the console at /console/; its data is what the API answers to anyone."""
    app.mount("/console", _Pages(directory=BUILT, html=True))


class _Pages(StaticFiles):
    """Built files, each with the headers that keep the page to itself."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file."""
        answer = await super().get_response(path, scope)
        answer.headers.update(_HEADERS)
        return answer
