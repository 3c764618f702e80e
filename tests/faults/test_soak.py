"""An hour of load without an alarm that nothing gives cause for: `make test-soak`."""

from __future__ import annotations

import os

import httpx
import pytest

from tests.stack import wait_for
from tests.trial.alarms import false_alarms
from tests.trial.bus import trial_bus
from tests.trial.load import load

SECONDS = float(os.environ.get("EXCHANGE_SOAK_S", "30"))


@pytest.mark.slow_faults
@pytest.mark.timeout(SECONDS + 600)
def test_a_long_run_under_load_gives_no_alarm_and_balances() -> None:
    with trial_bus() as bus:
        bus.start()
        with load(bus, seed=1):
            assert false_alarms(bus, SECONDS) == []
        url = bus.settings.endpoints().api + "/api/accounts/balance"

        def settled() -> bool:
            found = httpx.get(url, trust_env=False, timeout=60).json()
            return bool(found["balanced"]) and not found["in_flight"]

        wait_for(settled, "the accounts balance with nothing in flight", 300)
        assert false_alarms(bus, 0) == []
