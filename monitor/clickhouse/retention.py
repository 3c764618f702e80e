"""How long each table keeps its rows; set in the tables whenever the monitor starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from clickhouse_connect.driver.client import Client

from exchange import log

_ROLLUPS: Final = (
    "rollup_sources",
    "rollup_views",
    "rollup_flows",
    "rollup_stages",
    "rollup_refusals",
)

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """Days that rows are kept.

    Counted from when an account was stored, a step began, a position was seen, a record was refused.
    """

    accounts_days: int = 90
    minutes_days: int = 90
    hours_days: int = 730
    days_days: int = 3650
    positions_days: int = 30
    refused_days: int = 90

    def apply(self, client: Client) -> None:
        """Set the tables' TTL where it differs; what is past it goes with a later merge."""
        for table, ttl in self.rules().items():
            made = str(client.command(f"SHOW CREATE TABLE {table}"))
            if _ttl_of(made) != ttl:
                client.command(
                    f"ALTER TABLE {table} MODIFY TTL {ttl}", settings={"materialize_ttl_after_modify": 0}
                )
                _log.info("clickhouse_retention_set", table=table)

    def rules(self) -> dict[str, str]:
        """Return table → TTL expression, as ClickHouse writes it."""
        steps = ((60, self.minutes_days), (3600, self.hours_days), (86400, self.days_days))
        by_step = ", ".join(
            f"toDateTime(start_s) + toIntervalDay({days}) WHERE step_s = {step_s}" for step_s, days in steps
        )
        return {
            "accounts": f"stored_at + toIntervalDay({self.accounts_days})",
            **dict.fromkeys(_ROLLUPS, by_step),
            "group_positions": f"toDateTime(intDiv(at_ms, 1000)) + toIntervalDay({self.positions_days})",
            "quarantine_examples": f"toDateTime(intDiv(at_ms, 1000)) + toIntervalDay({self.refused_days})",
            "topic_ends": f"toDateTime(intDiv(at_ms, 1000)) + toIntervalDay({self.positions_days})",
        }


def _ttl_of(statement: str) -> str | None:
    lines = statement.replace("\\n", "\n").splitlines()
    return next((found[1] for line in lines if (found := re.fullmatch(r"TTL (.+)", line))), None)
