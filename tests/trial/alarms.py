"""Alerts of the trial bus that nothing gives cause for."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.trial.bus import TrialBus

_WITH_CAUSE = frozenset({"refusals"})
"""The trial's writer makes rows that its contract refuses."""


def false_alarms(bus: TrialBus, seconds: float) -> list[dict[str, Any]]:
    """Look for so long; return the alerts that fired, whether over or not, as soon as there are some."""
    url = bus.settings.endpoints().api + "/api/alerts?limit=1000"
    until = time.monotonic() + seconds
    while True:
        answer = httpx.get(url, trust_env=False, timeout=60)
        answer.raise_for_status()
        found = [one for one in answer.json()["alerts"] if one["kind"] not in _WITH_CAUSE]
        if found or time.monotonic() > until:
            return found
        time.sleep(1)
