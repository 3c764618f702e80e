"""Kafka's users as subscribers: whom the bus serves already, and those of others with what they have."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from exchange.adopt.found import DEPARTMENT, Draft, Found, to_be_named
from exchange.adopt.plan import UNKNOWN, delivery
from exchange.apply.access import describe
from exchange.apply.ownership import is_of_bus
from exchange.cluster import ADMIN, Acl
from exchange.topology.model import PrincipalName

_SHARE = "share."
_NAME: TypeAdapter[str] = TypeAdapter(PrincipalName)


def adopt_users(found: Found, draft: Draft) -> None:
    """Add every user that is not the bus's own as a subscriber, and its access to views as grants.

    One whose password is not here was made by others: it is declared as `existing`.
    """
    deliveries = {one.subscriber: one for one in found.plan.deliveries} if found.plan else {}
    pulls = {one.subscriber: one.keys_env for one in found.plan.pulls} if found.plan else {}
    for user in sorted({*found.users, *deliveries, *pulls} - {ADMIN}):
        if is_of_bus(user):
            if user not in found.known:
                draft.outside.append(
                    f"user {user}: the bus needs one of this name too, and apply would set its password"
                )
            continue
        if not _is_name(user):
            draft.outside.append(f"user {user}: a subscriber's name has lower-case letters, digits, _ and -")
            continue
        entry: dict[str, Any] = {"department": DEPARTMENT, "label": to_be_named(user)}
        if user in found.users - found.known:
            entry["existing"] = True
        if user in deliveries:
            entry["delivery"] = delivery(deliveries[user])
        if user in found.quotas:
            entry["quotas"] = _quotas(user, found, draft)
        if user in pulls:
            entry["pull_keys_env"] = pulls[user]
        draft.departments.setdefault(DEPARTMENT, {"label": to_be_named(DEPARTMENT)})
        draft.subscribers[user] = entry
        _adopt_access(user, found, draft)


def _is_name(user: str) -> bool:
    try:
        return bool(_NAME.validate_python(user))
    except ValidationError:
        return False


def _quotas(user: str, found: Found, draft: Draft) -> dict[str, float]:
    names = ("consumer_byte_rate", "producer_byte_rate", "request_percentage")
    known: dict[str, float] = {}
    for name, value in sorted(found.quotas[user].items()):
        if name in names and value > 0 and (name == "request_percentage" or value == int(value)):
            known[name] = value if name == "request_percentage" else int(value)
        else:
            draft.outside.append(f"user {user}: its quota {name} stays as it is")
    return known


def _adopt_access(user: str, found: Found, draft: Draft) -> None:
    own_groups = Acl(user, "group", f"{user}.", "prefixed", "read")
    for acl in sorted(acl for acl in found.acls if acl.principal == user and acl != own_groups):
        view = acl.name.removeprefix(_SHARE)
        reads = (acl.resource_type, acl.pattern, acl.operation) == ("topic", "literal", "read")
        if reads and acl.name.startswith(_SHARE) and view in draft.views:
            draft.grants.append(
                {"subscriber": user, "view": view, "purpose": UNKNOWN, "legal_basis": UNKNOWN}
            )
        else:
            draft.outside.append(f"user {user}: {describe(acl)}")
