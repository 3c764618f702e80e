"""A moment's figures for the rules of alerts, from those that the monitor has cached for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from exchange.errors import ConfigError, TransientError
from exchange.local import kafka_tls
from exchange.tls.files import TlsFiles
from monitor.alerts.judge import refused_share
from monitor.alerts.seen import Seen
from monitor.figures import Figures
from monitor.glance import BALANCE_MINUTES, WINDOW_S

_LONG_WINDOW_S: Final = 3600


def certificates(root: Path) -> dict[str, int] | None:
    """Return until when the own Kafka's certificate holds, milliseconds; None if it is unreadable."""
    if kafka_tls.in_force(root) is None:
        return {}
    try:
        found = TlsFiles(root).kafka_described()
    except ConfigError:
        return None
    return {} if found is None else {"kafka": int(found.not_after.timestamp() * 1000)}


def with_figures(seen: Seen, figures: Figures) -> Seen:
    """Return the moment with its figures; they stay unknown where they are of before, or do not come."""
    if not (seen.parts["accounts"].ok and seen.parts["subscribers"].ok):
        return seen
    try:
        return replace(
            seen,
            groups=figures.groups(),
            routes=figures.routes(WINDOW_S).routes,
            balance=figures.balance(BALANCE_MINUTES),
            long_refused=lambda: refused_share(figures.routes(_LONG_WINDOW_S).routes),
        )
    except TransientError:
        return seen
