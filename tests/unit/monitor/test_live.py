"""The stream of overviews: one for all viewers, and never more waiting than the newest."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from exchange.identity.caller import Sight
from monitor.api import live
from monitor.api.app import build
from monitor.api.live import Frame, Live, packed
from monitor.api.models import PartHealth
from monitor.figures import Figures
from monitor.overview import Overview
from monitor.registry.store import Store
from monitor.service import listen
from tests.unit.monitor.test_api import EmptyClickHouse, Unwell, get

PATIENCE_S = 60


def overview(at_ms: int = 1) -> Overview:
    return Overview(
        at_ms=at_ms,
        parts={"accounts": PartHealth(ok=True, text="ok")},
        workers=(),
        silent=(),
        plan_version=None,
        routes_window_s=300,
        totals=None,
        routes=None,
        lanes=(),
        lanes_left_out=0,
        balance=None,
    )


def counted() -> tuple[Callable[[], Overview], list[int]]:
    """Return what makes overviews, numbered by their time, and the list of those it made."""
    numbers, made = itertools.count(1), list[int]()

    def make() -> Overview:
        made.append(next(numbers))
        return overview(made[-1])

    return make, made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.01)


def number_of(frame: Frame) -> int:
    """Return which overview a frame holds; 0 for none."""
    _, data, after = frame.plain.partition(b"data: ")
    return int(json.loads(after)["at_ms"]) if data else 0


async def take(frames: AsyncIterator[Frame], wanted: int) -> int:
    """Read until a frame of that number or a later one, and return its number."""
    async for frame in frames:
        if number_of(frame) >= wanted:
            return number_of(frame)
    raise AssertionError("the stream ended")


def run(scene: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


@pytest.mark.usefixtures("quick")
def test_any_number_of_viewers_gets_the_same_frames_made_once() -> None:
    make, made = counted()

    async def scene() -> None:
        hub = Live(make)
        viewers = [hub.frames() for _ in range(50)]
        await asyncio.gather(*(take(viewer, 5) for viewer in viewers))
        assert hub.viewers == 50
        hub.close()

    run(scene)

    assert made == list(range(1, len(made) + 1))
    assert len(made) < 50


def falls_behind(hub: Live, make: list[int]) -> int:
    """Return how many overviews are newer than the next one of a viewer that slept through twenty."""

    async def scene() -> int:
        slow, quick = hub.frames(), hub.frames()
        await take(slow, 1)
        last = await take(quick, make[-1] + 20)
        seen = await take(slow, 1)
        hub.close()
        return last - seen

    return int(run(scene))


@pytest.mark.usefixtures("quick")
def test_slow_viewer_loses_stale_frames_and_gets_the_newest() -> None:
    make, made = counted()

    assert falls_behind(Live(make), made) <= 0


@pytest.mark.usefixtures("quick")
def test_queue_without_bound_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault planted, so that the test before can be trusted: every frame waits for the slow viewer."""

    class Hoarder(live._Viewer):
        def __init__(self) -> None:
            super().__init__()
            self.queue: asyncio.Queue[Frame | None] = asyncio.Queue()

        def give(self, frame: Frame | None) -> None:
            self.queue.put_nowait(frame)

        async def take(self) -> Frame | None:
            return await self.queue.get()

    monkeypatch.setattr(live, "_Viewer", Hoarder)
    make, made = counted()

    assert falls_behind(Live(make), made) > 0


@pytest.mark.usefixtures("quick")
def test_nothing_is_made_while_nobody_looks() -> None:
    make, made = counted()

    async def scene() -> int:
        hub = Live(make)
        viewer = hub.frames()
        await take(viewer, 1)
        await viewer.aclose()  # type: ignore[attr-defined]
        feeding = hub._feeding
        assert feeding is not None
        await feeding
        before = len(made)
        await take(hub.frames(), before + 1)
        hub.close()
        return before

    assert run(scene) < len(made)


@pytest.mark.usefixtures("quick")
def test_failure_to_make_a_frame_does_not_end_the_stream() -> None:
    make, made = counted()

    def sometimes() -> Overview:
        found = make()
        if len(made) == 2:
            raise RuntimeError("110101199003078515")
        return found

    async def scene() -> None:
        hub = Live(sometimes)
        await take(hub.frames(), 3)
        hub.close()

    run(scene)


@pytest.mark.usefixtures("quick")
def test_old_stream_ends_so_that_rights_are_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STREAM_S", 0.2)
    make, _ = counted()

    async def scene() -> int:
        return len([frame async for frame in Live(make).frames() if number_of(frame)])

    assert run(scene) > 0


def unpacked(parts: list[bytes]) -> bytes:
    """Return what a browser makes of a compressed stream."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    return b"".join(unpacker.decompress(part) for part in parts)


def test_compressed_frames_are_readable_one_by_one_from_any_of_them_on() -> None:
    texts = [f"data: {number} {'x' * 1000}\n\n".encode() for number in range(5)]

    for first in range(5):
        seen = [live._FIRST.packed, *(packed(text) for text in texts[first:])]
        assert unpacked(seen) == live._FIRST.plain + b"".join(texts[first:])


def test_frame_that_ends_the_compressed_stream_is_seen() -> None:
    """The fault planted: a block marked as the last hides those after it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    last = packer.compress(b"one") + packer.flush(zlib.Z_FINISH)

    with pytest.raises(zlib.error, match="incorrect data check"):
        unpacked([live._FIRST.packed, last, packed(b"two")])


class Well(Unwell):
    def glance(self, seen: Sight | None = None) -> Overview:
        return overview()


def test_stream_is_refused_where_too_many_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "VIEWERS", 0)

    answer = get(EmptyClickHouse(), "/api/live")

    assert answer.status_code == 503
    assert "ask for /api/overview" in answer.json()["detail"]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_server_ends_with_streams_open_and_browsers_can_read_them(encoding: str) -> None:
    figures = Figures(EmptyClickHouse(), lambda: 1_800_000_000_000)
    app = build(Well(), figures, Store({}), SecretStr("pass"))
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/live"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)

    with httpx.stream(
        "GET", url, headers={"Accept-Encoding": encoding}, trust_env=False, timeout=PATIENCE_S
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: overview"
        assert json.loads(next(lines).removeprefix("data: "))["at_ms"] == 1
        server.should_exit = True
        app.state.live.close()
        list(lines)
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
