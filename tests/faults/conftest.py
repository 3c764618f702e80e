"""One trial bus for each module of fault tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.trial.bus import TrialBus, trial_bus


@pytest.fixture(scope="module")
def bus() -> Iterator[TrialBus]:
    with trial_bus() as running:
        yield running
