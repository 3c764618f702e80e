"""What was pulled since the process began, for its heartbeat: counts, and how far behind readers are."""

from __future__ import annotations

from typing import Any

from connectors.pull.page import Page


class Tally:
    """Counts over all requests; changed on the server's event loop alone."""

    def __init__(self) -> None:
        self.requests = 0
        self.refused = 0
        self.records = 0
        self._readers: dict[str, dict[str, Any]] = {}

    def served(self, subscriber: str, view: str, page: Page) -> None:
        """Count an answer. One entry is kept for each subscriber and view that Kafka lets it read."""
        self.requests += 1
        self.records += len(page.records)
        name = f"{subscriber} {view}"
        before = self._readers.get(name, {"records": 0})
        self._readers[name] = {
            "records": before["records"] + len(page.records),
            "lag_records": page.lag_records,
            "lag_s": page.lag_s,
        }

    def figures(self) -> dict[str, Any]:
        """Return the figures of a heartbeat."""
        return {
            "requests": self.requests,
            "refused": self.refused,
            "records": self.records,
            "readers": dict(self._readers),
        }
