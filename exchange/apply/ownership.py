"""Which access in Kafka is the bus's to take away: what it gave, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from exchange.apply import access
from exchange.apply.ledger import Ledger
from exchange.cluster import ADMIN, Acl
from exchange.topology.model import Topology

_BUS_NAMES: Final = ("raw.", "share.", "quarantine.", "_exchange.")
_OWN_USERS: Final = re.compile(r"(connector|deliver|redrive|steward)-.*|worker|monitor|pull")


def is_of_bus(user: str) -> bool:
    """Tell whether a user is one of the bus's own, by its name."""
    return user == ADMIN or _OWN_USERS.fullmatch(user) is not None


class Ownership:
    """Tells the bus's own rules from those of others, by the topology and by what apply has made."""

    def __init__(self, topology: Topology, ledger: Ledger, users: Mapping[str, int]) -> None:
        """users: Kafka user → iterations of its credential."""
        self._of_bus = frozenset(access.users(topology))
        self._declared = frozenset(access.principals(topology))
        self._made = {
            made.name for made in ledger.of("user") if made.mark == str(users.get(made.name, made.mark))
        }

    def is_ours(self, acl: Acl, observed: Iterable[Acl]) -> bool:
        """Tell whether a rule is the bus's to remove.

        All rules of declared users are, unless these were there before the bus, and all of users that apply
        made. Of others that the bus knows - by the names it gives to its own users, or by the rule for a
        subscriber's own groups - only rules on the bus's names are: the user may be somebody else's.
        """
        who = acl.principal
        if who == ADMIN:
            return False
        if who in self._of_bus or (who not in self._declared and who in self._made):
            return True
        own_groups = Acl(who, "group", f"{who}.", "prefixed", "read")
        known = who in self._declared or own_groups in observed or is_of_bus(who)
        return known and ((acl == own_groups and who not in self._declared) or _is_on_the_bus(acl))


def reaches_the_bus(acl: Acl) -> bool:
    """Tell whether a rule on names of all kinds lets its user read topics of the bus as well."""
    if acl.principal == ADMIN or acl.resource_type != "topic" or acl.operation not in ("read", "all"):
        return False
    if acl.pattern == "literal":
        return acl.name == "*"
    return any(name.startswith(acl.name) for name in _BUS_NAMES if name != acl.name)


def _is_on_the_bus(acl: Acl) -> bool:
    return acl.resource_type == "topic" and acl.name.startswith(_BUS_NAMES)
