"""`exchange watch`: abnormal use of what is granted, told or stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from exchange import log
from exchange.commands.running import on_signal
from exchange.errors import ConfigError, ExchangeError

if TYPE_CHECKING:
    from exchange.topology.model import Topology

_log = log.get(__name__)


class _File:
    """topology.yaml, read again when it was changed; one with problems leaves the last good one in force."""

    def __init__(self, load: Callable[[], Topology], path: Path) -> None:
        self._load = load
        self._path = path
        self._changed_ns = -1
        self._good: Topology | None = None

    def newest(self) -> Topology:
        """Return it. Raises: ExchangeError when the first one has problems."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except OSError:
            changed_ns = -2
        if self._good is None or changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            try:
                self._good = self._load()
            except ExchangeError:
                if self._good is None:
                    raise
                _log.error("watch_keeps_its_rules", file=str(self._path), hint="run `exchange check`")
        return self._good


def watch() -> None:
    """Watch how subscribers use their grants, by the rules of `watch` in topology.yaml, until SIGTERM.

    A rule that holds is an alarm in `exchange status` and the log; with `action: suspend` the grant is taken
    away as by `exchange revoke --suspend`, in the name rule:<name>, until `exchange restore`. Needs Redis and
    the secret of admin. Denials are read from Kafka's log, or the file EXCHANGE_KAFKA_AUTHORIZER_LOG.

    Examples:
      exchange watch
    """
    from exchange.files.contracts import load_contracts
    from exchange.governance.desired import with_approved
    from exchange.selfcheck import check_certificate
    from exchange.settings import Settings
    from exchange.topology import load
    from exchange.watch.service import Watch

    settings = Settings()
    file = _File(lambda: load(settings.topology, load_contracts(settings.contracts)), settings.topology)

    def declared() -> Topology:
        return with_approved(settings, file.newest())

    if not declared().watch:
        msg = f"{settings.topology}: there is no rule under `watch`, so nothing would be seen"
        raise ConfigError(msg)
    check_certificate(settings)
    watching = Watch(settings, declared)
    on_signal(watching.stop)
    watching.run()
