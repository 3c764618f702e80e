"""The HTTP side of push: takes requests in, and answers each once its records are committed.

One request's way:
1. the key says whose it is (401, 403), the path which resource (403), the headers what it holds (400, 415);
2. room is reserved, then the body is read (413, 429);
3. an idempotency key that was committed is answered without storing again; one under way is waited for;
4. the body becomes rows, all of it or nothing (400, 422);
5. the submission waits for the source, which puts many into one transaction; then 202, else 503.

Steps run on the server's event loop, in a thread of its own; `take`, `settle` and `fail` are called by the
source, in the connector's thread.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from connectors.http import problem
from connectors.http.keys import ApiKeys
from connectors.http.listen import listen
from connectors.http.login import key_owner, one_header
from connectors.http.problem import Problem
from connectors.receipts import Digests, Receipt, Receipts
from connectors.rowrecord import Row, RowRecords
from connectors.sources.http import openapi, request
from connectors.sources.http.recent import Recent
from exchange.plan import PlannedSystem

MOST_BODY_BYTES: Final = 1_048_576
"""Of one request."""
MOST_HELD_BYTES: Final = 64 * 1_048_576
"""Of all requests under way together; parsed they take some ten times as much."""
_BODY_S: Final = 30.0
_COMMIT_S: Final = 60.0
_LONGEST_KEY: Final = 255
_NOT_REACHED: Final = "Kafka is not reached yet, or away"
_AGAIN: Final = "send it again with the same Idempotency-Key"
_KEY: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


@dataclass(eq=False, slots=True)
class Submission:
    """One request that waits to be stored."""

    records: RowRecords
    digest: bytes
    fingerprint: bytes
    rows: list[Row]
    at_ms: int
    outcome: asyncio.Future[Receipt]
    round: int = 0


class Door:
    """Serves one system's resources from construction until `close`."""

    def __init__(
        self,
        system: PlannedSystem,
        resources: Mapping[str, RowRecords],
        keys: ApiKeys,
        digests: Digests,
        recent: Recent,
    ) -> None:
        """Start to serve. resources: by name.

        Raises: ConfigError when the address cannot be listened on.
        """
        self._system = system.name
        self._resources = resources
        self._keys = keys
        self._digests = digests
        self._recent = recent
        self._receipts: Receipts | None = None
        self._why_shut = _NOT_REACHED
        self._round = 0
        self._under_way: dict[bytes, Submission] = {}
        self._held_bytes = 0
        self._waiting: deque[Submission] = deque()
        self._arrived = threading.Condition()
        self._document = openapi.document(resources)
        config = uvicorn.Config(
            self._app(), log_config=None, access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        listening = listen(system.listen, "push", "`listen` in topology.yaml")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._serve, args=(listening,), name="push", daemon=True)
        self._thread.start()

    # -- for the source

    def open(self, receipts: Receipts, history: str) -> None:
        """Take requests in from now on, but those with a receipt. history: id that Kafka's position has."""
        self._recent.follow(history)
        with self._arrived:
            self._round += 1
            self._receipts, self._why_shut = receipts, _NOT_REACHED

    def shut(self, why: str) -> None:
        """Take nothing in until `open`, and say why to whoever comes."""
        self.fail()
        self._why_shut = why

    def take(self, timeout_s: float, most_rows: int) -> list[Submission]:
        """Return what waits, oldest first, about so many rows of it; wait for the first."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting, timeout_s)
            taken: list[Submission] = []
            rows = 0
            while self._waiting and rows < most_rows:
                taken.append(self._waiting.popleft())
                rows += len(taken[-1].rows)
            return taken

    @property
    def more(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def settle(self, stored: list[tuple[Submission, Receipt]]) -> None:
        """Answer what is committed."""
        receipts, loop = self._receipts, self._loop
        if receipts is None or loop is None:
            return
        for submission, receipt in stored:
            receipts.add(submission.digest, receipt)
        loop.call_soon_threadsafe(self._answer, stored)
        self._recent.keep([(submission.digest, receipt) for submission, receipt in stored])

    def fail(self) -> None:
        """Take no more in, and answer all that waits with 503: what became of it the next round finds out."""
        with self._arrived:
            self._receipts = None
            self._waiting.clear()
            ended = self._round
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._give_up, ended)

    def close(self) -> None:
        """Stop serving."""
        self.fail()
        self._server.should_exit = True
        self._thread.join()

    # -- on the event loop

    def _serve(self, listening: Any) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[listening])

        asyncio.run(serve())

    def _app(self) -> FastAPI:
        app = FastAPI(title="Push", openapi_url=None, docs_url=None, redoc_url=None)
        problem.install(app, _AGAIN)
        app.add_api_route("/ingest/{resource}", self._ingest, methods=["POST"], response_model=None)
        app.add_api_route("/openapi.json", self._show_document, methods=["GET"], response_model=None)
        app.add_api_route("/health", self._health, methods=["GET"], response_model=None)
        return app

    async def _health(self) -> JSONResponse:
        if self._receipts is None:
            raise _try_later(503, self._why_shut)
        return JSONResponse({"status": "ok"})

    async def _show_document(self, asked: Request) -> JSONResponse:
        self._authenticate(asked)
        return JSONResponse(self._document)

    async def _ingest(self, resource: str, asked: Request) -> JSONResponse:
        records = self._allowed(resource, asked)
        media = request.media_type(one_header(asked, "content-type"))
        if (one_header(asked, "content-encoding") or "identity").lower() != "identity":
            raise Problem(415, "a body without Content-Encoding is wanted: nothing is decompressed here")
        key = _idempotency_key(one_header(asked, "idempotency-key"))
        reserved = self._reserve(one_header(asked, "content-length"))
        try:
            body = await _read(asked)
            digest = self._digests.of(resource.encode(), key.encode())
            fingerprint = self._digests.of(media.encode(), body)
            return await self._store(records, digest, fingerprint, body, media)
        finally:
            self._held_bytes -= reserved

    async def _store(
        self, records: RowRecords, digest: bytes, fingerprint: bytes, body: bytes, media: str
    ) -> JSONResponse:
        if found := await self._known(digest, fingerprint):
            return found
        now_ms = time.time_ns() // 1_000_000
        rows = await run_in_threadpool(request.rows, body, media, records, now_ms)
        outcome: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        submission = Submission(records, digest, fingerprint, rows, now_ms, outcome)
        if self._put(submission):
            return _stored(await _outcome(submission), again=False)
        if found := await self._known(digest, fingerprint):
            return found
        raise _try_later(503, f"{self._why_shut}; nothing was stored")

    def _put(self, submission: Submission) -> bool:
        """Let a submission wait to be stored, unless the door is shut or its like came first.

        Whether that is so is looked at here once more, as other requests ran while this one became rows.
        """
        with self._arrived:
            receipts = self._receipts
            if receipts is None or submission.digest in self._under_way or receipts.find(submission.digest):
                return False
            submission.round = self._round
            self._under_way[submission.digest] = submission
            self._waiting.append(submission)
            self._arrived.notify()
            return True

    async def _known(self, digest: bytes, fingerprint: bytes) -> JSONResponse | None:
        """Return the answer to a request that is stored, or being stored, already; None for a new one."""
        if (submission := self._under_way.get(digest)) is not None:
            _check_alike(submission.fingerprint, fingerprint)
            return _stored(await _outcome(submission), again=True)
        receipts = self._receipts
        if receipts is not None:
            receipt = receipts.find(digest)
        else:
            receipt = await run_in_threadpool(self._recent.find, digest)
        if receipt is None:
            return None
        _check_alike(receipt.fingerprint, fingerprint)
        return _stored(receipt, again=True)

    def _answer(self, stored: list[tuple[Submission, Receipt]]) -> None:
        for submission, receipt in stored:
            self._under_way.pop(submission.digest, None)
            if not submission.outcome.done():
                submission.outcome.set_result(receipt)

    def _give_up(self, ended: int) -> None:
        """Answer what was let in up to a round that has ended; a later one may have begun."""
        given_up = [submission for submission in self._under_way.values() if submission.round <= ended]
        for submission in given_up:
            del self._under_way[submission.digest]
            if not submission.outcome.done():
                submission.outcome.set_exception(
                    _try_later(503, "Kafka did not confirm; it may be stored or not")
                )
                submission.outcome.exception()  # marked as seen: its sender may be gone

    # -- one request

    def _authenticate(self, asked: Request) -> str:
        owner = key_owner(asked, self._keys, _AGAIN)
        if owner != self._system:
            raise Problem(403, "this key is another system's; it may not push here")
        return owner

    def _allowed(self, resource: str, asked: Request) -> RowRecords:
        """Return how a resource is written; of another system's it isn't told whether there is one."""
        self._authenticate(asked)
        if resource not in self._resources:
            raise Problem(403, "this key may not push to such a resource; /openapi.json lists those it may")
        return self._resources[resource]

    def _reserve(self, length: str | None) -> int:
        size = (
            int(length) if length is not None and length.isascii() and length.isdigit() else MOST_BODY_BYTES
        )
        if size > MOST_BODY_BYTES:
            raise _too_large()
        if self._held_bytes + size > MOST_HELD_BYTES:
            raise _try_later(429, f"{MOST_HELD_BYTES} bytes are under way already")
        self._held_bytes += size
        return size


def _idempotency_key(key: str | None) -> str:
    """Return the key. Source: IETF draft-ietf-httpapi-idempotency-key-header, which lets one be required."""
    if key is None or len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise Problem(
            400,
            f"header Idempotency-Key is wanted: 1 to {_LONGEST_KEY} printable ASCII characters, another for "
            "each request, the same when a request is sent again",
        )
    return key


async def _read(asked: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in asked.stream():
                body += chunk
                if len(body) > MOST_BODY_BYTES:
                    raise _too_large()
    except ClientDisconnect:
        raise Problem(400, "the connection ended before the body did") from None
    except TimeoutError:
        raise Problem(408, f"the body did not come within {_BODY_S:.0f} s") from None
    return bytes(body)


def _try_later(status: int, detail: str) -> Problem:
    return problem.try_later(status, detail, _AGAIN)


def _too_large() -> Problem:
    return Problem(
        413, f"a body of at most {MOST_BODY_BYTES} bytes is wanted; split it into several requests"
    )


def _check_alike(stored: bytes, sent: bytes) -> None:
    if stored != sent:
        raise Problem(422, "this Idempotency-Key was used for another body; a new request takes a new key")


async def _outcome(submission: Submission) -> Receipt:
    """Wait for the commit; shielded, as several requests may wait for one submission."""
    try:
        async with asyncio.timeout(_COMMIT_S):
            return await asyncio.shield(submission.outcome)
    except TimeoutError:
        raise _try_later(503, f"no commit within {_COMMIT_S:.0f} s; it may be stored or not") from None


def _stored(receipt: Receipt, *, again: bool) -> JSONResponse:
    headers = {"Idempotent-Replayed": "true"} if again else {}
    return JSONResponse({"stored": receipt.records, "commit": receipt.commit}, 202, headers)
