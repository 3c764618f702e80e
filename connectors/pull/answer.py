"""A page as an HTTP response, sent as fast as its reader takes it, for so long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from connectors.pull.page import Page
from connectors.pull.question import NDJSON
from exchange import log
from exchange.subscriber.plain import json_text

_SEND_S: Final = 60.0
_CHUNK_BYTES: Final = 65_536

_log = log.get(__name__)


def body(page: Page, cursor: str, media: str) -> bytes:
    """Return the text of a page: one object, or a record a line and behind them one with the cursor.

    Whoever reads lines knows by the last one that nothing is missing.
    """
    rest = json_text(
        {"next": cursor, "more": page.more, "lag_records": page.lag_records, "lag_s": page.lag_s}
    )
    if media == NDJSON:
        return "".join(f"{line}\n" for line in (*page.records, rest)).encode()
    return f'{{"records":[{",".join(page.records)}],{rest[1:]}'.encode()


class Answer(Response):
    """Sends its body piece by piece, and leaves a reader that is too slow; calls `done` whatever happens."""

    def __init__(self, content: bytes, media: str, done: Callable[[], None]) -> None:
        super().__init__(content, 200, {"Cache-Control": "no-store"}, media)
        self._done = done

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send."""
        content = memoryview(self.body)
        try:
            async with asyncio.timeout(_SEND_S):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                for first in range(0, len(content), _CHUNK_BYTES):
                    piece = bytes(content[first : first + _CHUNK_BYTES])
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            _log.warning("reader_too_slow", bytes=len(content), timeout_s=_SEND_S)
        finally:
            self._done()
