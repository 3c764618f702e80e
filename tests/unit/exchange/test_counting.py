from __future__ import annotations

import pytest

from exchange.counting import counted


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 changes"), (1, "1 change"), (2, "2 changes"), (1000, "1,000 changes")],
)
def test_one_is_singular_and_all_else_plural(count: int, told: str) -> None:
    assert counted(count, "change") == told
