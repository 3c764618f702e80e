"""Kafka users of a topology, and their quotas."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from exchange.apply import access
from exchange.apply.ledger import INTENDED, Ledger, Made
from exchange.apply.steps import Line, Mark, Stage, Survey
from exchange.cluster import Cluster
from exchange.quotas import Quotas, set_client_quotas
from exchange.settings import Settings, kafka_secret
from exchange.topology.model import Topology


class Users:
    """Brings a topology's users in line."""

    def __init__(self, settings: Settings, cluster: Cluster, ledger: Ledger, topology: Topology) -> None:
        self._settings = settings
        self._cluster = cluster
        self._ledger = ledger
        self._topology = topology

    def survey(
        self, seen: Survey, existing: Mapping[str, int], quotas: Quotas, cut_off: Collection[str]
    ) -> None:
        """Look at every user but those that get no login.

        existing: user → iterations of its credential; quotas: of all users; cut_off: whose last grant was
        revoked.
        """
        users = [user for user in access.users(self._topology) if user not in cut_off]
        lines = [self._line(user, exists=user in existing) for user in users]
        for name, entry in sorted(self._topology.subscribers.items()):
            if entry.existing and name in existing:
                lines.append(Line(Mark.UNCHANGED, "user", name))
            elif entry.existing and name not in cut_off:
                seen.problems.append(
                    f"subscriber {name}: Kafka has no SCRAM-SHA-512 user of that name; make it there, or "
                    "take out `existing`, and `exchange apply` makes it"
                )
        missing = set(users) - existing.keys()
        seen.stages.append(Stage(tuple(lines), lambda: self._make(users, missing)))
        self._see_quotas(seen, quotas)

    def mark(self) -> None:
        """Write down by what those are known that were made here, where that is still to be done."""
        declared = access.users(self._topology)
        open_ = [made.name for made in self._ledger.of("user") if made.mark == INTENDED]
        there = self._cluster.scram_iterations() if open_ else {}
        self._ledger.mark("user", {u: str(there[u]) for u in open_ if u in there and u in declared})

    def _make(self, users: Collection[str], missing: set[str]) -> None:
        self._ledger.write(Made("user", user) for user in sorted(missing))
        changed = self._cluster.ensure_scram_users(users)
        there = self._cluster.scram_iterations()
        self._ledger.mark("user", {user: str(there[user]) for user in changed})

    def _line(self, user: str, *, exists: bool) -> Line:
        if not exists:
            return Line(Mark.CREATED, "user", user)
        known = self._settings.secrets.find(kafka_secret(user)) is not None
        return (
            Line(Mark.UNCHANGED, "user", user) if known else Line(Mark.CHANGED, "user", user, "new password")
        )

    def _see_quotas(self, seen: Survey, observed: Quotas) -> None:
        changes: dict[str, dict[str, float | None]] = {}
        lines: list[Line] = []
        for name in sorted(self._topology.subscribers):
            now, wanted = observed.get(name, {}), self._topology.quotas(name)
            if self._topology.subscribers[name].existing:
                now = {quota: value for quota, value in now.items() if quota in wanted}
            names = sorted({*now, *wanted})
            differ = {quota: wanted.get(quota) for quota in names if now.get(quota) != wanted.get(quota)}
            told = [f"{quota} {_told(now.get(quota))} → {_told(value)}" for quota, value in differ.items()]
            if differ:
                mark = Mark.CHANGED if now and wanted else Mark.CREATED if wanted else Mark.REMOVED
                lines.append(Line(mark, "quotas", name, ", ".join(told)))
                changes[name] = differ
            elif wanted:
                lines.append(Line(Mark.UNCHANGED, "quotas", name))
        seen.stages.append(Stage(tuple(lines), lambda: set_client_quotas(self._settings, changes)))


def _told(value: float | None) -> str:
    return "none" if value is None else f"{value:.15g}"
