"""Who calls the API: users, sessions and tokens of the store, roles of the topology as its files are now."""

from __future__ import annotations

import datetime as dt
import hmac
import secrets as random_secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from exchange import log
from exchange.contract import Contract
from exchange.errors import ConfigError, ExchangeError, LoginError
from exchange.files.contracts import load_contracts
from exchange.governance.desired import merged
from exchange.governance.request import State
from exchange.governance.store import Store, exists
from exchange.identity.accounts import Accounts
from exchange.identity.attempts import Attempts
from exchange.identity.caller import (
    MACHINE,
    Caller,
    Known,
    Sight,
    caller_of_token,
    expect_roles,
    roles_of,
    sight,
)
from exchange.settings import MACHINE_TOKEN, REDIS_PASSWORD, Settings
from exchange.topology.file import read, today
from exchange.topology.model import Topology

_CACHE_S: Final = 1.0
_REDIS_TIMEOUT_S: Final = 2.0

_log = log.get(__name__)

Signature = tuple[tuple[str, int, int], ...]


class Declared:
    """Topology and contracts, read again when a file has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._signature: Signature = ()
        self._good: tuple[Topology, Mapping[str, Contract]] | None = None
        self._problem: str | None = None

    def current(self) -> tuple[Topology, Mapping[str, Contract]]:
        """Return what the files say now. Raises: ConfigError when they are wrong."""
        with self._lock:
            self._refresh()
            if self._problem is None and self._good is not None:
                return self._good
            raise ConfigError(self._problem or "the topology was not read")

    def known(self) -> Topology:
        """Return the last topology that was right, so that a slip of the pen shuts nobody out.

        Raises: ConfigError when there was none since the start.
        """
        with self._lock:
            self._refresh()
            if self._good is not None:
                return self._good[0]
            raise ConfigError(self._problem or "the topology was not read")

    def _refresh(self) -> None:
        signature = _signature(self._settings)
        if signature == self._signature and (self._good or self._problem):
            return
        try:
            contracts = load_contracts(self._settings.contracts)
            topology = read(self._settings.topology, contracts, today()).topology
        except ExchangeError as error:
            self._problem = str(error)
        else:
            self._good, self._problem = (topology, contracts), None
        self._signature = signature


class Identity:
    """Tells who calls. Every method raises an ExchangeError on doubt: nobody is let in by a failure."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.declared = Declared(settings)
        self.redis = _redis(settings)
        self.attempts = Attempts(self.redis)
        self._machine = _machine_token(settings)
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._granted: tuple[float, Topology] | None = None

    def is_open(self) -> bool:
        """Return whether nobody has to log in yet: there is no user, no token, and no provider."""
        if self.settings.oidc_issuer is not None:
            return False
        return not exists(self.settings) or not self.accounts().any()

    def accounts(self) -> Accounts:
        """Return what the store knows of who may come in."""
        return Accounts(self.store(), now)

    def store(self) -> Store:
        """Return the store, opened once. Raises: PartError when it does not answer."""
        with self._lock:
            if self._store is None:
                self._store = Store.of(self.settings)
            return self._store

    def of_token(self, token: str) -> Caller:
        """Return whose token it is. Raises: LoginError when it is not valid, or nothing is theirs."""
        if hmac.compare_digest(token.encode(), self._machine.encode()):
            return Caller(MACHINE, {"operations": ()})
        if not exists(self.settings):
            msg = "the token is not valid"
            raise LoginError(msg)
        return _with_roles(caller_of_token(self.declared.known(), self.accounts().token(token)))

    def of_session(self, id_: str) -> Caller | None:
        """Return whose session it is, None when it is over. Raises: LoginError when nothing is theirs."""
        if not exists(self.settings):
            return None
        known = self.accounts().session(id_)
        return None if known is None else _with_roles(self.caller(known))

    def caller(self, known: Known) -> Caller:
        """Return somebody with the roles that the topology gives them now."""
        return Caller(known.name, roles_of(self.declared.known(), known.name, known.groups))

    def with_grants(self) -> Topology:
        """Return the topology with the grants that were approved, as of a second ago at most."""
        topology = self.declared.known()
        if not exists(self.settings):
            return topology
        with self._lock:
            kept = self._granted
        if kept is not None and time.monotonic() - kept[0] < _CACHE_S:
            return kept[1]
        with self.store().change() as change:
            granted = merged(topology, change.requests([State.GRANTED]))
        with self._lock:
            self._granted = (time.monotonic(), granted)
        return granted

    def sight(self, caller: Caller | None) -> Sight | None:
        """Return what a caller sees; None: everything."""
        return None if caller is None or caller.sees_all else sight(self.with_grants(), caller)

    def close(self) -> None:
        """Close its connections."""
        self.redis.close()
        if self._store is not None:
            self._store.close()


def now() -> dt.datetime:
    """Return the time."""
    return dt.datetime.now().astimezone()


def _machine_token(settings: Settings) -> str:
    """Return the machine's token, made where there is none; nobody's where it cannot be kept."""
    try:
        return settings.secrets.ensure(MACHINE_TOKEN).get_secret_value()
    except ConfigError as error:
        _log.warning("no_machine_token", state=str(error))
        return random_secrets.token_urlsafe(32)


def _with_roles(caller: Caller) -> Caller:
    if caller.name != MACHINE:
        expect_roles(caller)
    return caller


def _signature(settings: Settings) -> Signature:
    files = [settings.topology, *sorted(settings.contracts.rglob("*.avsc"))]
    return tuple(_seen(file) for file in files)


def _seen(file: Path) -> tuple[str, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return (str(file), -1, -1)
    return (str(file), stat.st_mtime_ns, stat.st_size)


def _redis(settings: Settings) -> redis.Redis:
    password = settings.secrets.find(REDIS_PASSWORD)
    return redis.Redis.from_url(
        settings.endpoints().redis,
        password=None if password is None else password.get_secret_value(),
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
