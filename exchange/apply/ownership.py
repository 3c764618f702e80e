"""What in Kafka is the bus's to take away: access and users that it gave, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from exchange.apply import access
from exchange.cluster import ADMIN, Acl
from exchange.settings import Secrets, kafka_secret
from exchange.topology.model import Topology

_BUS_NAMES: Final = ("raw.", "share.", "quarantine.", "_exchange.")
_OWN_USERS: Final = re.compile(r"(connector|deliver|redrive|steward)-.*|worker|monitor|pull")


def is_bus_user(user: str) -> bool:
    """Tell whether a Kafka user is one of the bus itself, by its name."""
    return user == ADMIN or bool(_OWN_USERS.fullmatch(user))


class Ownership:
    """Tells the bus's own users and rules from those of others, by the topology and the secrets here."""

    def __init__(self, topology: Topology, secrets: Secrets) -> None:
        self._declared = access.principals(topology)
        self._secrets = secrets

    def is_ours(self, acl: Acl, observed: Iterable[Acl]) -> bool:
        """Tell whether a rule is the bus's to remove.

        All rules of the bus's own users and of declared subscribers are. A subscriber that the topology no
        longer declares is known by its secret here or by the rule for its own groups; of its rules only those
        on the bus's names are removed, because the user may have been somebody else's before.
        """
        who = acl.principal
        if who in self._declared or _OWN_USERS.fullmatch(who):
            return True
        own_groups = Acl(who, "group", f"{who}.", "prefixed", "read")
        if not (self.is_vanished_user(who) or (who != ADMIN and own_groups in observed)):
            return False
        return acl == own_groups or (acl.resource_type == "topic" and acl.name.startswith(_BUS_NAMES))

    def is_vanished_user(self, user: str) -> bool:
        """Tell whether a Kafka user was made by us for something that is no longer declared."""
        if user == ADMIN or kafka_secret(user) in map(kafka_secret, (*self._declared, ADMIN)):
            return False
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", user):
            return False
        return bool(_OWN_USERS.fullmatch(user)) or self._secrets.find(kafka_secret(user)) is not None
