"""The version under which the registry has the values of a resource's raw topic."""

from __future__ import annotations

from exchange.catalogue.sheet import Sheet
from exchange.registry import Registry
from exchange.settings import Settings


def registered_version(settings: Settings, sheet: Sheet) -> int | None:
    """Return it; None where nothing was captured yet. Raises: as `Registry`."""
    with Registry(settings.endpoints().registry) as registry:
        found = registry.latest(sheet.values_subject)
    return found[1] if found else None
