"""The store of requests and the catalogue: SQLite in the home, or PostgreSQL by EXCHANGE_GOVERNANCE_DSN.

One change at a time: each begins by locking the counter of decisions, so that their numbers have no gap and
are the order in which they happened. A request is written only over the version that was read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import SQLAlchemyError

from exchange.errors import ConfigError, NoRequestError, PartError, StaleError
from exchange.governance.request import Request, State
from exchange.model import Model
from exchange.settings import Settings

DSN_SECRET: Final = "EXCHANGE_GOVERNANCE_DSN"  # noqa: S105 - its name
_FILE: Final = "governance.db"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_WAIT_S: Final = 30
_MIGRATING: Final = threading.Lock()
"""Alembic's scripts find their connection in a global."""
_MIGRATION_LOCK: Final = 0x67_6F_76_65  # PostgreSQL's advisory locks are numbers; any that nobody else uses

_TABLES: Final = sa.MetaData()
_REQUESTS: Final = sa.Table(
    "requests",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("version", sa.Integer),
    sa.Column("state", sa.Text),
    sa.Column("document", sa.Text),
)
_DECISIONS: Final = sa.Table(
    "decisions",
    _TABLES,
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("document", sa.Text),
)
_COUNTERS: Final = sa.Table(
    "counters", _TABLES, sa.Column("name", sa.Text, primary_key=True), sa.Column("last", sa.BigInteger)
)


class Decision(Model):
    """What somebody did to a request, an entry of the catalogue or an objection, or tried to.

    about: what it is about where it is no request, like `entry population.person`; request is 0 then.
    outcome: done, refused, or failed where a part did not answer, so that some of it may be done; state: of
    it afterwards; reason: why refused, returned or revoked; by: who sat at the keyboard without a token, as
    the operating system knows them: an administrator in the actor's name, or the actor.
    """

    sequence: int = 0
    at: str
    actor: str
    event: str
    request: int
    version: int
    outcome: str
    state: str = ""
    subscriber: str = ""
    view: str = ""
    reason: str = ""
    about: str = ""
    by: str = ""


class Change:
    """One transaction of the store, which no other one overlaps."""

    def __init__(self, connection: sa.Connection, by: str = "") -> None:
        self._connection = connection
        self._by = by

    @property
    def connection(self) -> sa.Connection:
        """The connection that it is made on, for the tables of other modules."""
        return self._connection

    def request(self, id_: int) -> Request:
        """Return a request. Raises: NoRequestError when there is none."""
        found = self._connection.scalar(sa.select(_REQUESTS.c.document).where(_REQUESTS.c.id == id_))
        if found is None:
            msg = f"there is no request {id_}; `exchange request list` shows all"
            raise NoRequestError(msg)
        return Request.model_validate_json(found)

    def requests(self, states: Iterable[State] = ()) -> list[Request]:
        """Return the requests in some states, or all, oldest first."""
        query = sa.select(_REQUESTS.c.document).order_by(_REQUESTS.c.id)
        if wanted := [state.value for state in states]:
            query = query.where(_REQUESTS.c.state.in_(wanted))
        return [Request.model_validate_json(document) for document in self._connection.scalars(query)]

    def add(self, request: Request) -> Request:
        """Store a new request and return it with its number."""
        stored = request.model_copy(update={"id": self.next("requests")})
        self._connection.execute(sa.insert(_REQUESTS).values(**_row(stored)))
        return stored

    def replace(self, request: Request) -> None:
        """Store the next version of a request. Raises: StaleError when another one was stored."""
        written = self._connection.execute(
            sa.update(_REQUESTS)
            .where(_REQUESTS.c.id == request.id, _REQUESTS.c.version == request.version - 1)
            .values(**_row(request))
        )
        if written.rowcount != 1:
            msg = f"request {request.id} was changed in the meantime; look at it again"
            raise StaleError(msg)

    def note(self, decision: Decision) -> None:
        """Put a decision in the outbox, behind all before it."""
        numbered = decision.model_copy(update={"sequence": self.next("decisions"), "by": self._by})
        row = {"sequence": numbered.sequence, "document": numbered.model_dump_json()}
        self._connection.execute(sa.insert(_DECISIONS).values(row))

    def decisions(self, after: int, limit: int) -> list[Decision]:
        """Return decisions behind a number, in order."""
        query = (
            sa.select(_DECISIONS.c.document)
            .where(_DECISIONS.c.sequence > after)
            .order_by(_DECISIONS.c.sequence)
            .limit(limit)
        )
        return [Decision.model_validate_json(document) for document in self._connection.scalars(query)]

    def newest_decisions(self, before: int, limit: int) -> list[Decision]:
        """Return decisions before a number, or all (0), the newest first."""
        query = sa.select(_DECISIONS.c.document).order_by(_DECISIONS.c.sequence.desc()).limit(limit)
        if before > 0:
            query = query.where(_DECISIONS.c.sequence < before)
        return [Decision.model_validate_json(document) for document in self._connection.scalars(query)]

    def lock(self) -> None:
        """Wait until no other change is under way, and keep others waiting until the end of this one."""
        counter = _COUNTERS.c.name == "decisions"
        self._connection.execute(sa.update(_COUNTERS).where(counter).values(last=_COUNTERS.c.last))

    def next(self, counter: str) -> int:
        """Return the next number of a counter."""
        query = sa.update(_COUNTERS).where(_COUNTERS.c.name == counter).values(last=_COUNTERS.c.last + 1)
        self._connection.execute(query)
        return int(
            self._connection.scalars(sa.select(_COUNTERS.c.last).where(_COUNTERS.c.name == counter)).one()
        )


class Store:
    """The store, brought to this release's tables when it is opened."""

    def __init__(self, url: str) -> None:
        """`url`: of SQLite (sqlite:///FILE) or PostgreSQL (postgresql://…)."""
        self.by = ""
        """The administrator who acts in others' names; stands in each decision that is noted."""
        self._engine = _engine(url)
        with _MIGRATING, self.connected() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            command.upgrade(config, "head")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the store of an installation."""
        given = settings.secrets.find(DSN_SECRET)
        if given is not None:
            return cls(given.get_secret_value())
        settings.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(f"sqlite:///{settings.root / _FILE}")

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Yield a transaction that is committed at the end, and rolled back on an error.

        Raises: PartError when the database does not answer or refuses.
        """
        with self.connected() as connection:
            change = Change(connection, self.by)
            change.lock()
            yield change

    @contextmanager
    def beside(self) -> Iterator[sa.Connection]:
        """Yield a transaction that waits for no decision and keeps none waiting; for who people are.

        Raises: PartError when the database does not answer or refuses.
        """
        with self.connected() as connection:
            yield connection

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def connected(self, *, lock: bool = False) -> Iterator[sa.Connection]:
        """Yield a transaction on all tables of this database; lock: one that no `change` overlaps.

        Raises: PartError when the database does not answer or refuses.
        """
        try:
            with self._engine.begin() as connection:
                if lock:
                    Change(connection).lock()
                yield connection
        except SQLAlchemyError as error:
            kind = type(getattr(error, "orig", None) or error).__name__
            msg = (
                f"store of requests: the database does not do what is asked ({kind}); nothing was changed. "
                f"See that {DSN_SECRET}, or <home>/{_FILE} without it, can be reached and written"
            )
            raise PartError(msg) from None


def done_to(connection: sa.Connection, request: int) -> list[Decision]:
    """Return what was done to a request, in order; what was refused is not there."""
    named = _DECISIONS.c.document.contains(f'"request":{request},')
    query = sa.select(_DECISIONS.c.document).where(named).order_by(_DECISIONS.c.sequence)
    found = [Decision.model_validate_json(document) for document in connection.scalars(query)]
    return [one for one in found if (one.request, one.outcome) == (request, "done")]


def done_about(connection: sa.Connection, about: str) -> list[Decision]:
    """Return what was done to an objection or an entry, in order; what was refused is not there."""
    return [one for one in _told_of(connection, f'"about":{_json(about)},') if one.outcome == "done"]


def done_below(connection: sa.Connection, event: str, about: str) -> list[Decision]:
    """Return what was done of one kind to whatever begins with `about`, in order."""
    found = _told_of(connection, f'"about":{_json(about)[:-1]}')
    return [one for one in found if (one.event, one.outcome) == (event, "done")]


def _told_of(connection: sa.Connection, part: str) -> list[Decision]:
    """Return the decisions whose document holds a text."""
    named = _DECISIONS.c.document.contains(part, autoescape=True)
    query = sa.select(_DECISIONS.c.document).where(named).order_by(_DECISIONS.c.sequence)
    return [Decision.model_validate_json(document) for document in connection.scalars(query)]


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def exists(settings: Settings) -> bool:
    """Return whether an installation has a store: without one there are no requests."""
    return settings.secrets.find(DSN_SECRET) is not None or (settings.root / _FILE).exists()


def _row(request: Request) -> dict[str, Any]:
    return {
        "id": request.id,
        "version": request.version,
        "state": request.state.value,
        "document": request.model_dump_json(),
    }


def _engine(url: str) -> sa.Engine:
    if url.startswith("sqlite:///"):
        engine = sa.create_engine(url, connect_args={"timeout": _WAIT_S}, hide_parameters=True)
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    scheme, _, rest = url.partition("://")
    if scheme not in ("postgresql", "postgres") or not rest:
        msg = f"{DSN_SECRET}: wanted is a URL that begins with postgresql://"
        raise ConfigError(msg)
    return sa.create_engine(f"postgresql+psycopg://{rest}", hide_parameters=True, pool_pre_ping=True)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # Python would begin transactions late, and only before writes
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
