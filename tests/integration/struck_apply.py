"""`exchange apply` in a process that kills itself (SIGKILL) at a call by which it changes something.

Arguments: topology file, number of the call (from 1) before which it dies. Exit code 0: there were fewer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from exchange import topology
from exchange.apply import leftovers, publish, source, users
from exchange.apply.ledger import Ledger
from exchange.apply.work import apply
from exchange.cluster import Cluster
from exchange.files.contracts import load_contracts
from exchange.registry import Registry
from exchange.settings import Secrets, Settings

CALLS: tuple[tuple[Any, str], ...] = (
    (Cluster, "_create"),
    (Cluster, "_mend"),
    (Cluster, "ensure_scram_users"),
    (Cluster, "ensure_acls"),
    (Cluster, "remove_acls"),
    (Cluster, "delete_topic"),
    (Cluster, "remove_scram_user"),
    (Ledger, "_write"),
    (Registry, "register"),
    (Registry, "set_compatibility"),
    (Registry, "delete_subject"),
    (Secrets, "put"),
    (leftovers, "set_client_quotas"),
    (publish, "publish"),
    (source, "carry_out"),
    (source, "drop"),
    (users, "set_client_quotas"),
)


def main(file: Path, at: int) -> None:
    """Apply, and delete all that may be deleted."""
    calls = count(1)
    for owner, name in CALLS:
        setattr(owner, name, struck(getattr(owner, name), calls, at))
    settings = Settings()
    contracts = load_contracts(settings.contracts)
    declared = topology.load(file, contracts)
    apply(settings, declared, contracts, allow_delete=lambda _line: True)


def struck(call: Callable[..., Any], calls: count[int], at: int) -> Callable[..., Any]:
    """Return the call, with the process's end before it when its turn comes."""

    def counted(*given: Any, **named: Any) -> Any:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*given, **named)

    return counted


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
