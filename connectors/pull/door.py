"""The HTTP side of pull.

One request's way:
1. the key says which subscriber asks (401), the parameters what for (400, 406), the cursor from where (400);
2. a place among the requests under way is taken (429), until the answer is sent;
3. the page is read from Kafka as that subscriber, in a thread of its own (403, 410, 503);
4. its account is written to Kafka (503), then the answer goes out as fast as it is taken.

Markers of corrections are asked for alike; they are no records, and have no account.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from connectors.http import problem
from connectors.http.keys import ApiKeys
from connectors.http.login import key_owner
from connectors.http.problem import Problem, try_later
from connectors.pull import openapi
from connectors.pull.accounts import Accounts
from connectors.pull.answer import Answer, body
from connectors.pull.corrections import CorrectionPages, Reader
from connectors.pull.cursor import CursorCodec
from connectors.pull.page import Page, Puller, denied
from connectors.pull.pool import Pool
from connectors.pull.question import VIEW, WITHOUT_WAIT, Question, question
from connectors.pull.taking import AGAIN, Start, Wish
from connectors.pull.tally import Tally
from exchange import log
from exchange.corrections import Placed
from exchange.errors import ExchangeError
from exchange.plan import PublishedPlan
from exchange.revocations import key_of
from exchange.settings import Secrets

MOST_OF_ONE: Final = 8
"""Requests of one subscriber at a time: it never takes all there are."""
MOST_AT_A_TIME: Final = 64
"""Requests, waiting ones too; each may hold some 20 MiB while its page is made."""

_log = log.get(__name__)


class Door:
    """Answers requests; `app` is what an HTTP server serves."""

    def __init__(
        self,
        secrets: Secrets,
        pool: Pool,
        cursors: CursorCodec,
        pages: CorrectionPages,
        accounts: Accounts,
    ) -> None:
        self.tally = Tally()
        self.revoked: frozenset[str] = frozenset()
        """Grants that do not hold, as exchange/revocations.py names them."""
        self.corrections: tuple[Placed, ...] = ()
        """Markers of all resources, in the order of their topic."""
        self.app = self._app()
        self._secrets = secrets
        self._pool = pool
        self._cursors = cursors
        self._pages = pages
        self._accounts = accounts
        self._plan: PublishedPlan | None = None
        self._keys = ApiKeys(secrets, {})
        self._threads = ThreadPoolExecutor(MOST_AT_A_TIME, thread_name_prefix="pull")
        self._under_way: Counter[str] = Counter()
        self._stopping = False

    def follow(self, plan: PublishedPlan) -> None:
        """Let the subscribers of a plan in, and nobody else."""
        self._keys = ApiKeys(self._secrets, {pull.subscriber: pull.keys_env for pull in plan.pulls})
        self._plan = plan

    def stop(self) -> None:
        """End the waits: they are answered with what there is."""
        self._stopping = True

    def close(self) -> None:
        """Let go of the connections, once nothing is served any more."""
        self._threads.shutdown()
        self._pool.close()

    def _app(self) -> FastAPI:
        app = FastAPI(title="Pull", openapi_url=None, docs_url=None, redoc_url=None)
        problem.install(app, AGAIN)
        app.add_api_route("/pull/{view}", self._pull, methods=["GET"], response_model=None)
        app.add_api_route(
            "/pull/{view}/corrections", self._show_corrections, methods=["GET"], response_model=None
        )
        app.add_api_route("/openapi.json", self._show_document, methods=["GET"], response_model=None)
        app.add_api_route("/health", self._health, methods=["GET"], response_model=None)
        return app

    async def _health(self) -> JSONResponse:
        self._planned()
        return JSONResponse({"status": "ok"})

    async def _show_document(self, asked: Request) -> JSONResponse:
        plan, subscriber = self._planned(), key_owner(asked, self._keys, AGAIN)
        leave = self._enter(subscriber)
        try:
            readable = await self._in_thread(self._views, subscriber)
        finally:
            leave()
        return JSONResponse(openapi.document(openapi.views(plan, readable)))

    async def _pull(self, view: str, asked: Request) -> Answer:
        plan, subscriber = self._planned(), key_owner(asked, self._keys, AGAIN)
        wanted = question(asked)
        self._expect_granted(subscriber, view)
        wish = Wish(view, self._after(wanted, subscriber, view), wanted.most, wanted.wait_s)
        leave, began = self._enter(subscriber), time.monotonic()
        try:
            page = await self._in_thread(self._page, subscriber, wish, plan.version)
            content = body(page, self._cursors.encode(page.next, subscriber, view), wanted.media)
        except BaseException as error:
            leave()
            self._note_refusal(subscriber, view, error)
            raise
        self._note(subscriber, view, page, len(content), began)
        return Answer(content, wanted.media, leave)

    async def _show_corrections(self, view: str, asked: Request) -> Answer:
        self._planned()
        subscriber, wanted = key_owner(asked, self._keys, AGAIN), question(asked, WITHOUT_WAIT)
        self._expect_granted(subscriber, view)
        leave = self._enter(subscriber)
        try:
            if view not in await self._in_thread(self._views, subscriber):
                raise denied()
            content = self._pages.body(self.corrections, Reader(subscriber, view), wanted)
        except BaseException as error:
            leave()
            self._note_refusal(subscriber, view, error)
            raise
        _log.info("corrections_pulled", subscriber=subscriber, view=view, bytes=len(content))
        return Answer(content, wanted.media, leave)

    def _expect_granted(self, subscriber: str, view: str) -> None:
        """Raise Problem 403 for what need not be asked of Kafka: no name of a view, or a revoked grant."""
        if VIEW.fullmatch(view) is None:
            raise Problem(403, "no view has such a name; /openapi.json lists those that this key may read")
        if key_of(subscriber, view) in self.revoked:
            raise Problem(403, "the grant of this view was revoked; who shares the data decides on a new one")

    def _after(self, wanted: Question, subscriber: str, view: str) -> Start:
        if wanted.after == "earliest":
            return "earliest"
        if wanted.after == "latest":
            return "latest"
        try:
            return self._cursors.decode(wanted.after, subscriber, view)
        except ValueError:
            raise Problem(
                400,
                "`after` is no cursor that this view gave to this subscriber; send back `next` of the answer "
                "before as it is, or leave `after` out to begin at the first record there is",
            ) from None

    def _planned(self) -> PublishedPlan:
        if self._plan is None:
            raise try_later(503, "Kafka is not reached yet, so that nobody's key is known", AGAIN)
        return self._plan

    def _enter(self, subscriber: str) -> Callable[[], None]:
        """Count a request in; return what counts it out."""
        if self._under_way[subscriber] >= MOST_OF_ONE:
            raise try_later(429, f"{MOST_OF_ONE} requests of this subscriber are under way already", AGAIN)
        if self._under_way.total() >= MOST_AT_A_TIME:
            raise try_later(429, f"{MOST_AT_A_TIME} requests are under way already", AGAIN)
        self._under_way[subscriber] += 1

        def leave() -> None:
            self._under_way[subscriber] -= 1

        return leave

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _page(self, subscriber: str, wish: Wish, plan_version: int) -> Page:
        with self._connection(subscriber) as puller:
            page = puller.page(wish, lambda: self._stopping)
        self._accounts.keep(subscriber, wish.view, plan_version, page)
        return page

    def _views(self, subscriber: str) -> frozenset[str]:
        with self._connection(subscriber) as puller:
            return puller.views()

    @contextmanager
    def _connection(self, subscriber: str) -> Iterator[Puller]:
        try:
            with self._pool.lent(subscriber) as puller:
                yield puller
        except ExchangeError as error:
            _log.error("pull_not_possible", subscriber=subscriber, exc_info=error)
            raise try_later(503, "the bus lacks what it needs to read as this subscriber", AGAIN) from None

    def _note(self, subscriber: str, view: str, page: Page, size: int, began: float) -> None:
        self.tally.served(subscriber, view, page)
        _log.info(
            "pulled", subscriber=subscriber, view=view, records=len(page.records), bytes=size,
            lag_records=page.lag_records, took_ms=round((time.monotonic() - began) * 1000),
        )  # fmt: skip

    def _note_refusal(self, subscriber: str, view: str, error: BaseException) -> None:
        self.tally.refused += 1
        status = error.status if isinstance(error, Problem) else 500
        _log.warning("pull_refused", subscriber=subscriber, view=view, status=status)
