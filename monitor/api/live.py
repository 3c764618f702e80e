"""`/api/live`: the overview as server-sent events, made and encoded once a second for all viewers.

A viewer that reads slowly misses the frames in between and gets the newest: what waits for it is one frame.
Frames are made while somebody looks, and not otherwise. A compressed stream is one gzip member that
never ends: a header for each viewer, then blocks that need nothing of those before, which all viewers share.
Sources: WHATWG HTML, 9.2 Server-sent events; RFC 1951, 3.2.4; RFC 1952, 2.3.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from exchange import log
from exchange.errors import TransientError
from exchange.identity.caller import Sight
from monitor.api.models import NoParams
from monitor.overview import Overview

EVERY_S: Final = 1.0
HEARTBEAT_S: Final = 5.0
STREAM_S: Final = 300.0
"""A stream ends then, and who looks is looked at anew: rights may have changed."""
VIEWERS: Final = 300
"""The server takes 500 connections; the others are for requests."""
_FRESH_S: Final = 2.0
_BEGIN: Final = b"retry: 2000\n\n"
_STILL_THERE: Final = b": no news\n\n"
_GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_HEADERS: Final = {
    "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept-Encoding",
}  # fmt: skip

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """One event, as it is and compressed."""

    plain: bytes
    packed: bytes

    @classmethod
    def of(cls, text: bytes) -> Frame:
        """Return the frame of the bytes of a stream."""
        return cls(text, packed(text))


class _Viewer:
    """What waits for one viewer: nothing, or the newest frame."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.frame: Frame | None = None

    def give(self, frame: Frame | None) -> None:
        self.frame = frame
        self.arrived.set()

    async def take(self) -> Frame | None:
        """Return the newest frame, a sign of life when none comes for long, or None at the end."""
        try:
            await asyncio.wait_for(self.arrived.wait(), HEARTBEAT_S)
        except TimeoutError:
            return _HEARTBEAT
        self.arrived.clear()
        return self.frame


class Live:
    """Hands the newest overview to all who look. All but `body` belongs to the server's event loop."""

    def __init__(self, overview: Callable[[], Overview]) -> None:
        self._overview = overview
        self._viewers: set[_Viewer] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._newest: tuple[float, bytes, Frame] | None = None
        self._closed = False
        self._failing = False
        """Whether the last frame could not be made; says it once, not every second."""

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    def body(self) -> bytes:
        """Return the overview as JSON: the newest frame's where it is fresh."""
        newest = self._newest
        if newest is not None and time.monotonic() - newest[0] < EVERY_S:
            return newest[1]
        return self._overview().model_dump_json().encode()

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield frames until the viewer goes, the stream is old or the server ends."""
        viewer, until = _Viewer(), time.monotonic() + STREAM_S
        self._viewers.add(viewer)
        try:
            yield _FIRST
            if self._newest is not None and time.monotonic() - self._newest[0] < _FRESH_S:
                yield self._newest[2]
            if self._feeding is None:
                self._feeding = asyncio.create_task(self._feed())
            while not self._closed and time.monotonic() < until:
                if (frame := await viewer.take()) is None:
                    return
                yield frame
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End every stream, so that the server can."""
        self._closed = True
        for viewer in self._viewers:
            viewer.give(None)

    async def _feed(self) -> None:
        try:
            while self._viewers and not self._closed:
                began = time.monotonic()
                try:
                    body, frame = await run_in_threadpool(self._make)
                except Exception as error:
                    if not self._failing:
                        _log.error("live_frame_failed", exc_info=error)
                    self._failing = True
                else:
                    self._failing = False
                    self._newest = (began, body, frame)
                    for viewer in () if self._closed else tuple(self._viewers):
                        viewer.give(frame)
                await asyncio.sleep(max(0.0, began + EVERY_S - time.monotonic()))
        finally:
            self._feeding = None

    def _make(self) -> tuple[bytes, Frame]:
        body = self._overview().model_dump_json().encode()
        return body, Frame.of(b"event: overview\ndata: " + body + b"\n\n")


def packed(text: bytes) -> bytes:
    """Return deflate blocks of a text, the last not final and ending with a whole byte."""
    packer = zlib.compressobj(level=6, wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)


_FIRST: Final = Frame(_BEGIN, _GZIP_HEADER + packed(_BEGIN))
_HEARTBEAT: Final = Frame.of(_STILL_THERE)


def install(
    app: FastAPI, overview: Callable[[Sight | None], Overview], sight_of: Callable[[Request], Sight | None]
) -> None:
    """Add `/api/live`, which shows all, and `/api/overview`; `app.state.live` ends the streams."""
    live = app.state.live = Live(lambda: overview(None))

    @app.get("/api/overview", tags=["monitor"], response_model=Overview)
    def newest(_asked: Annotated[NoParams, Query()], call: Request) -> Response:
        """Show what the console shows at a glance, or what is the caller's of it."""
        seen = sight_of(call)
        body = live.body() if seen is None else overview(seen).model_dump_json().encode()
        return Response(body, media_type="application/json")

    @app.get(
        "/api/live",
        tags=["monitor"],
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def stream(request: Request, _asked: Annotated[NoParams, Query()]) -> StreamingResponse:
        """Send it every second, as events named `overview` whose data is the answer of /api/overview."""
        if live.viewers >= VIEWERS:
            msg = f"{VIEWERS} streams are open, which is all there may be; ask for /api/overview instead"
            raise TransientError(msg)
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        headers = {**_HEADERS, "Content-Encoding": "gzip"} if zipped else _HEADERS
        return StreamingResponse(_bytes(live, zipped), media_type="text/event-stream", headers=headers)


async def _bytes(live: Live, zipped: bool) -> AsyncIterator[bytes]:
    async for frame in live.frames():
        yield frame.packed if zipped else frame.plain
