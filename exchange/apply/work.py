"""`exchange apply`: make Kafka, the registry and the sources look as the topology says.

1. look at everything, change nothing: each object is to be created, changed, removed, or right as it is;
2. take away access that the topology no longer gives - even if something else is wrong;
3. stop if anything else is wrong, with every problem;
4. topics, users and their quotas, access, masking key, schemas, publications, plan, in this order;
5. delete what it once made and the topology no longer has, as far as that is allowed by name.

Every step may be repeated: after a crash the next run does what is left, and a run after a complete one does
nothing. Only the bus's own users and names are touched.
"""

from __future__ import annotations

import datetime as dt
import secrets as random_secrets
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from exchange import selfcheck, tracing
from exchange.apply import access, binlog, debezium, publish, schemas, sealing, source
from exchange.apply.exposure import view_changes
from exchange.apply.ledger import BY_CONNECTOR, INTENDED, Ledger, Made
from exchange.apply.leftovers import Leftovers
from exchange.apply.observed import look
from exchange.apply.ownership import Ownership, reaches_the_bus
from exchange.apply.proposed import running_views
from exchange.apply.revoked import cut_off, in_force, problem_of_lost, told, without_revoked
from exchange.apply.steps import Applied, Line, Mark, Stage, Survey
from exchange.apply.topics import Topics
from exchange.apply.users import Users
from exchange.cluster import ADMIN, Acl, Cluster
from exchange.contract import Contract
from exchange.errors import ConfigError, ExchangeError, PlanError
from exchange.keys import ViewKeys, read_key
from exchange.plan import REVOCATIONS_TOPIC, PublishedPlan
from exchange.plan_build import build_plan
from exchange.revocations import Revocation, read_revocations
from exchange.settings import Settings, kafka_secret
from exchange.topology.model import Topology

MASK_KEY: Final = "EXCHANGE_MASK_KEY"

_VIEW_TOPICS: Final = "share."


def apply(
    settings: Settings,
    topology: Topology,
    contracts: Mapping[str, Contract],
    report: Callable[[Line, float], object] = lambda _line, _took_s: None,
    confirm: Callable[[Survey], bool] = lambda _survey: True,
    allow_delete: Callable[[Line], bool] = lambda _line: False,
) -> Applied | None:
    """Carry out a valid topology; `report` gets each object once it is as wanted, and how long that took.

    Objects of one kind are changed together: each is reported with the time of all.

    `confirm` is asked before anything is changed; None is returned when it says no. Then `allow_delete` is
    asked of each object that the topology no longer has.

    Raises: ConfigError with every problem at once; access that was withdrawn stays withdrawn.
    """
    work = Work(settings, topology, contracts)
    seen = work.survey()
    if seen.changes and not confirm(seen):
        return None
    deletes = (
        [] if seen.problems else [stage for stage in seen.deletes if all(map(allow_delete, stage.lines))]
    )
    if not seen.problems:
        work.mark()
    for stage in seen.withdrawals if seen.problems else [*seen.withdrawals, *seen.stages, *deletes]:
        began_s = time.monotonic()
        if stage.changes:
            with tracing.span("apply stage", kind=stage.lines[0].kind if stage.lines else ""):
                stage.run()
        took_s = time.monotonic() - began_s
        for line in stage.lines:
            report(line, took_s)
    if seen.problems:
        raise ConfigError("\n".join(seen.problems))
    deleted = tuple(line for stage in deletes for line in stage.lines)
    kept = tuple(line for line in seen.undeclared if line not in deleted)
    return Applied(work.plan_version, (*seen.lines, *deleted), tuple(seen.notes), kept)


class Work:
    """One application of a topology."""

    def __init__(self, settings: Settings, topology: Topology, contracts: Mapping[str, Contract]) -> None:
        self.plan_version = 0
        self._settings = settings
        self._declared = topology
        self._topology = topology
        self._contracts = contracts
        self._today = dt.datetime.now().astimezone().date()
        self._revoked: dict[str, Revocation] = {}
        self._cluster = Cluster(settings)
        self._ledger = Ledger(settings.kafka_client(ADMIN))
        self._topics = Topics(self._cluster, self._ledger, topology)
        self._users = Users(settings, self._cluster, self._ledger, topology)
        self._schemas = schemas.Schemas(settings, self._ledger)

    def survey(self) -> Survey:
        """Look at every part; problems are gathered, not raised, so that all are told at once.

        Raises: ExchangeError when Kafka or the registry does not answer.
        """
        seen = Survey()
        databases = source.wanted(self._topology, self._contracts)
        parts = self._topics, self._schemas
        now = look(self._settings, self._cluster, self._ledger, parts, databases)
        self._see_kafka(seen, now.users)
        self._see_revoked(seen, now.topics, now.last_plan.plan)
        granted = access.rules(self._topology, self._today)
        self._see_access(seen, granted, now.acls, now.users)
        self._topics.survey(seen, now.topics, now.configs)
        cut = cut_off(self._topology, self._revoked, self._today)
        self._see_cut_off(seen, cut & now.users.keys())
        self._users.survey(seen, now.users, now.quotas, cut)
        self._see_rules(seen, granted, now.acls)
        self._see_mask_key(seen, planned=now.last_plan.version > 0)
        sealing.survey(seen, self._settings.secrets, self._topology, now.last_plan.plan)
        seen.notes += sealing.in_clear(self._topology, self._contracts)
        steward_keys = self._steward_keys(seen)
        wanted = schemas.wanted(self._topology, self._contracts)
        schemas_known = self._schemas.survey(seen, wanted, now.registered)
        self._see_sources(seen, now.publications)
        leftovers = Leftovers(self._settings, self._cluster, self._ledger, self._topology)
        leftovers.survey(seen, now.topics, now.users, now.quotas)
        if not seen.problems:
            self._see_plan(seen, steward_keys, now.last_plan, schemas_known=schemas_known)
            seen.views = view_changes(
                running_views(now.last_plan.plan), self._topology.views, _readers(now.acls), _readers(granted)
            )
        return seen

    def _see_kafka(self, seen: Survey, users: Mapping[str, object]) -> None:
        """Look whether Kafka itself is safe; a user of the bus tries that, where one is there already."""
        known = (
            name
            for name in (access.MONITOR, access.WORKER)
            if name in users and self._settings.secrets.find(kafka_secret(name)) is not None
        )
        try:
            selfcheck.check_cluster(self._settings, islice(known, 1))
        except ConfigError as error:
            seen.problems.append(str(error))

    def mark(self) -> None:
        """Write down by what those objects are known that an apply made which broke off just then."""
        self._topics.mark()
        self._users.mark()
        self._schemas.mark()
        for wish in source.wanted(self._topology, self._contracts):
            if any(made.mark == INTENDED for made in self._in_database(wish)):
                self._mark_publication(wish)

    def _see_revoked(self, seen: Survey, topics: Mapping[str, int], last: PublishedPlan | None) -> None:
        """Take out the grants that do not hold; what was revoked and cannot be read stops everything."""
        try:
            known = self._revocations() if REVOCATIONS_TOPIC in topics else {}
        except ExchangeError as error:
            seen.problems.append(f"nobody can tell what was revoked, so no access is given: {error}")
            return
        if lost := problem_of_lost(known, last.revoked if last is not None else ()):
            seen.problems.append(lost)
        self._revoked = in_force(known)
        self._topology = without_revoked(self._declared, self._revoked)
        seen.notes += told(self._declared, self._revoked)

    def _revocations(self) -> dict[str, Revocation]:
        return read_revocations(self._settings.kafka_client(ADMIN))

    def _see_access(
        self, seen: Survey, wanted: frozenset[Acl], observed: frozenset[Acl], users: Mapping[str, int]
    ) -> None:
        """Access that the topology gives no more."""
        ownership = Ownership(self._topology, self._ledger, users)
        unwanted = sorted(acl for acl in observed - wanted if ownership.is_ours(acl, observed))
        lines = _access_lines(Mark.REMOVED, unwanted)
        seen.withdrawals.append(Stage(lines, lambda: self._cluster.remove_acls(unwanted)))
        for acl in sorted(observed - set(unwanted) - wanted):
            if reaches_the_bus(acl):
                said = (
                    f"user {acl.principal}: {access.describe(acl)}: this shows it topics of the bus, unmasked"
                )
                declared = acl.principal in self._topology.subscribers
                (seen.problems if declared else seen.notes).append(f"{said}; give it a narrower rule")

    def _see_cut_off(self, seen: Survey, logins: Iterable[str]) -> None:
        """Take away logins whose last grant was revoked, but for those that were there before the bus."""
        users = sorted(user for user in logins if not self._topology.subscribers[user].existing)
        lines = tuple(Line(Mark.REMOVED, "user", user) for user in users)
        seen.withdrawals.append(Stage(lines, lambda: self._remove_users(users)))

    def _remove_users(self, users: Iterable[str]) -> None:
        for user in users:
            self._cluster.remove_scram_user(user)

    def _see_rules(self, seen: Survey, wanted: frozenset[Acl], observed: frozenset[Acl]) -> None:
        lines = _access_lines(Mark.UNCHANGED, wanted & observed) + _access_lines(
            Mark.CREATED, wanted - observed
        )
        seen.stages.append(Stage(lines, lambda: self._give(wanted)))

    def _give(self, wanted: frozenset[Acl]) -> None:
        """Give access, but not what was revoked since the survey; what is revoked meanwhile goes again."""
        self._cluster.ensure_acls(wanted & self._allowed())
        self._cluster.remove_acls(wanted - self._allowed())

    def _allowed(self) -> frozenset[Acl]:
        """Return the rules of all grants that hold at this moment."""
        revoked = in_force(self._revocations())
        return access.rules(without_revoked(self._declared, revoked), self._today)

    def _see_mask_key(self, seen: Survey, *, planned: bool) -> None:
        secret = self._settings.secrets.find(MASK_KEY)
        if secret is not None:
            try:
                ViewKeys.from_hex(secret.get_secret_value())
            except ExchangeError as error:
                seen.problems.append(str(error))
            seen.stages.append(Stage((Line(Mark.UNCHANGED, "secret", MASK_KEY),), lambda: None))
            return
        if planned:
            seen.problems.append(
                f"secret {MASK_KEY} is missing, but a plan is in force: restore it (environment variable or "
                f"<home>/secrets/{MASK_KEY}). A new one would change every token that subscribers hold"
            )
        lines = (Line(Mark.CREATED, "secret", MASK_KEY),)
        make = random_secrets.token_hex(32)
        seen.stages.append(Stage(lines, lambda: self._settings.secrets.put(MASK_KEY, make)))

    def _steward_keys(self, seen: Survey) -> dict[str, str]:
        keys: dict[str, str] = {}
        for department in self._topology.source_departments():
            try:
                keys[department] = read_steward_key(self._settings.root / "keys", department)
            except ConfigError as error:
                seen.problems.append(str(error))
        return keys

    def _see_sources(self, seen: Survey, publications: Iterable[source.Publication | ExchangeError]) -> None:
        secrets = self._settings.secrets
        for planned in publications:
            if isinstance(planned, ExchangeError):
                seen.problems.append(str(planned))
                continue
            run = partial(self._make_publication, planned)
            seen.stages.append(Stage((_publication_line(planned),), run))
        for log_wish in binlog.wanted(self._topology, self._contracts):
            try:
                binlog.check(log_wish, secrets)
            except ExchangeError as error:
                seen.problems.append(str(error))
                continue
            line = Line(Mark.UNCHANGED, "source", log_wish.system)
            seen.stages.append(Stage((line,), lambda: None))
        for topics_wish in debezium.wanted(self._topology):
            try:
                debezium.check(topics_wish, self._settings)
            except ExchangeError as error:
                seen.problems.append(str(error))
                continue
            line = Line(Mark.UNCHANGED, "source", topics_wish.system)
            seen.stages.append(Stage((line,), lambda: None))

    def _make_publication(self, planned: source.Publication) -> None:
        wish = planned.wanted
        if planned.before is None:
            self._ledger.write(self._entries(wish))
        source.carry_out(planned, self._settings.secrets)
        self._mark_publication(wish)

    def _entries(self, wish: source.Wanted, mark: str = INTENDED, slot_mark: str = INTENDED) -> list[Made]:
        slot = self._topology.slot(wish.system)
        return [
            Made("publication", wish.publication, mark, wish.system, wish.connection_env),
            Made("slot", slot, slot_mark, wish.system, wish.connection_env),
        ]

    def _in_database(self, wish: source.Wanted) -> list[Made]:
        found = (self._ledger.find(one.kind, one.name, one.system) for one in self._entries(wish))
        return [made for made in found if made is not None]

    def _mark_publication(self, wish: source.Wanted) -> None:
        if self._in_database(wish) and (mark := source.mark(wish, self._settings.secrets)):
            self._ledger.write(self._entries(wish, mark, BY_CONNECTOR))

    def _see_plan(
        self, seen: Survey, steward_keys: Mapping[str, str], last: publish.LastPlan, *, schemas_known: bool
    ) -> None:
        self.plan_version = last.version
        if schemas_known and last.plan == self._plan(steward_keys, last.version or 1):
            line = Line(Mark.UNCHANGED, "plan", f"version {last.version}")
            seen.stages.append(Stage((line,), lambda: None))
            return
        version = last.version + 1
        detail = f"version {last.version} → {version}" if last.version else ""
        mark = Mark.CHANGED if last.version else Mark.CREATED
        name = "in force" if last.version else f"version {version}"
        seen.stages.append(
            Stage((Line(mark, "plan", name, detail),), lambda: self._publish(steward_keys, version))
        )

    def _plan(self, steward_keys: Mapping[str, str], version: int) -> PublishedPlan:
        return build_plan(
            self._topology,
            self._contracts,
            steward_keys,
            self._schemas.ids,
            version,
            self._today,
            tuple(self._revoked),
        )

    def _last_plan(self) -> publish.LastPlan:
        return publish.read_last(self._settings.kafka_client(ADMIN))

    def _publish(self, steward_keys: Mapping[str, str], version: int) -> None:
        """Publish, unless somebody else did since the survey.

        Raises: PlanError when the version in force is no longer the one that was looked at.
        """
        if self._last_plan().version != version - 1:
            msg = "another `exchange apply` published a plan in the meantime; run this one again"
            raise PlanError(msg)
        publish.publish(self._settings.kafka_client(ADMIN), self._plan(steward_keys, version))
        self.plan_version = version


def read_steward_key(directory: Path, department: str) -> str:
    """Return a department's public key, base64.

    Raises: ConfigError when there is none or it is not one.
    """
    file = directory / f"{department}.pub"
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        msg = (
            f"department {department}: no steward key {file}; refused records could not be sealed. "
            f"Make a pair with `exchange keys create {department}`, or put the steward's public key there"
        )
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"department {department}: steward key {file} cannot be read ({type(error).__name__})"
        raise ConfigError(msg) from None
    read_key(text, str(file))
    return text


def _access_lines(mark: Mark, acls: Iterable[Acl]) -> tuple[Line, ...]:
    """Return one line a principal."""
    by_principal = groupby(sorted(acls), key=lambda acl: acl.principal)
    return tuple(
        Line(mark, "access", principal, ", ".join(access.describe(acl) for acl in group))
        for principal, group in by_principal
    )


def _readers(acls: Iterable[Acl]) -> dict[str, frozenset[str]]:
    """Return who may read each view's topic."""
    readers: dict[str, set[str]] = {}
    for acl in acls:
        if (acl.resource_type, acl.pattern, acl.operation) == ("topic", "literal", "read"):
            readers.setdefault(acl.name, set()).add(acl.principal)
    views = {name: who for name, who in readers.items() if name.startswith(_VIEW_TOPICS)}
    return {name.removeprefix(_VIEW_TOPICS): frozenset(who) for name, who in views.items()}


def _publication_line(planned: source.Publication) -> Line:
    name = f"{planned.wanted.publication} in system {planned.wanted.system}"
    if not planned.statement:
        return Line(Mark.UNCHANGED, "publication", name)
    if planned.before is None:
        return Line(Mark.CREATED, "publication", name, ", ".join(planned.after))
    detail = f"{', '.join(planned.before)} → {', '.join(planned.after)}"
    return Line(Mark.CHANGED, "publication", name, detail)
