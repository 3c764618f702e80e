"""`exchange apply`: make Kafka, the registry and the sources look as the topology says.

1. look at everything, change nothing: each object is to be created, changed, removed, or right as it is;
2. take away access that the topology no longer gives - even if something else is wrong;
3. stop if anything else is wrong, with every problem;
4. topics, users, access, masking key, schemas, publications, plan, in this order.

Every step may be repeated: after a crash the next run does what is left, and a run after a complete one does
nothing. Only the bus's own users and names are touched.
"""

from __future__ import annotations

import datetime as dt
import secrets as random_secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from exchange.apply import access, binlog, debezium, publish, schemas, source
from exchange.apply.exposure import view_changes
from exchange.apply.ownership import Ownership
from exchange.apply.revoked import cut_off, in_force, problem_of_lost, told, without_revoked
from exchange.apply.steps import Applied, Line, Mark, Stage, Survey
from exchange.cluster import ADMIN, BUS_TOPICS, DAY_MS, Acl, Cluster, TopicSpec, check_partitions
from exchange.contract import Contract
from exchange.counting import counted
from exchange.errors import ConfigError, ExchangeError, PlanError
from exchange.keys import ViewKeys, read_key
from exchange.plan import PLAN_TOPIC, REVOCATIONS_TOPIC, PublishedPlan, raw_topic, view_topic
from exchange.plan_build import build_plan
from exchange.revocations import Revocation, read_revocations
from exchange.settings import Settings, kafka_secret
from exchange.topology.model import Topology
from exchange.view import ViewSpec

MASK_KEY: Final = "EXCHANGE_MASK_KEY"

_DATA_CONFIG: Final = {
    "cleanup.policy": "delete",
    "retention.ms": str(7 * DAY_MS),
    "max.message.bytes": "1048576",
}
_VIEW_TOPICS: Final = "share."
_QUARANTINE_CONFIG: Final = _DATA_CONFIG | {"retention.ms": str(90 * DAY_MS)}


def apply(
    settings: Settings,
    topology: Topology,
    contracts: Mapping[str, Contract],
    report: Callable[[Line, float], object] = lambda _line, _took_s: None,
    confirm: Callable[[Survey], bool] = lambda _survey: True,
) -> Applied | None:
    """Carry out a valid topology; `report` gets each object once it is as wanted, and how long that took.

    Objects of one kind are changed together: each is reported with the time of all.

    `confirm` is asked before anything is changed; None is returned when it says no.

    Raises: ConfigError with every problem at once; access that was withdrawn stays withdrawn.
    """
    work = Work(settings, topology, contracts)
    seen = work.survey()
    if seen.changes and not confirm(seen):
        return None
    for stage in seen.withdrawals if seen.problems else [*seen.withdrawals, *seen.stages]:
        began_s = time.monotonic()
        if stage.changes:
            stage.run()
        took_s = time.monotonic() - began_s
        for line in stage.lines:
            report(line, took_s)
    if seen.problems:
        raise ConfigError("\n".join(seen.problems))
    return Applied(work.plan_version, seen.lines, tuple(seen.notes))


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
        self._schemas = schemas.Schemas(settings)

    def survey(self) -> Survey:
        """Look at every part; problems are gathered, not raised, so that all are told at once.

        Raises: ExchangeError when Kafka or the registry does not answer.
        """
        seen = Survey()
        topics = self._cluster.topics()
        self._see_revoked(seen, topics)
        granted, observed = access.rules(self._topology, self._today), self._cluster.acls()
        self._see_access(seen, granted, observed)
        self._see_topics(seen, topics)
        self._see_users(seen)
        self._see_rules(seen, granted, observed)
        self._see_mask_key(seen, planned=PLAN_TOPIC in topics)
        steward_keys = self._steward_keys(seen)
        schemas_known = self._schemas.survey(seen, schemas.wanted(self._topology, self._contracts))
        self._see_sources(seen)
        if not seen.problems:
            last = self._last_plan() if PLAN_TOPIC in topics else publish.LastPlan(0, None)
            self._see_plan(seen, steward_keys, last, schemas_known=schemas_known)
            seen.views = view_changes(
                _views(last.plan), self._topology.views, _readers(observed), _readers(granted)
            )
        return seen

    def _see_revoked(self, seen: Survey, topics: Mapping[str, int]) -> None:
        """Take out the grants that do not hold; what was revoked and cannot be read stops everything."""
        try:
            known = self._revocations() if REVOCATIONS_TOPIC in topics else {}
            last = self._last_plan().plan if PLAN_TOPIC in topics else None
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

    def _see_access(self, seen: Survey, wanted: frozenset[Acl], observed: frozenset[Acl]) -> None:
        """Access and users that the topology gives no more."""
        ownership = Ownership(self._topology, self._settings.secrets)
        unwanted = sorted(acl for acl in observed - wanted if ownership.is_ours(acl, observed))
        lines = _access_lines(Mark.REMOVED, unwanted)
        seen.withdrawals.append(Stage(lines, lambda: self._cluster.remove_acls(unwanted)))
        gone = cut_off(self._topology, self._revoked, self._today)
        users = sorted(
            user for user in self._cluster.scram_users() if user in gone or ownership.is_vanished_user(user)
        )
        lines = tuple(Line(Mark.REMOVED, "user", user) for user in users)
        seen.withdrawals.append(Stage(lines, lambda: self._remove_users(users)))

    def _remove_users(self, users: Iterable[str]) -> None:
        for user in users:
            self._cluster.remove_scram_user(user)

    def _see_topics(self, seen: Survey, existing: Mapping[str, int]) -> None:
        specs = [*BUS_TOPICS, *data_topics(self._topology)]
        try:
            check_partitions(specs, existing)
        except ConfigError as error:
            seen.problems.append(str(error))
        configs = self._cluster.topic_config(spec.name for spec in specs if spec.name in existing)
        lines = tuple(_topic_line(spec, configs.get(spec.name)) for spec in specs)
        seen.stages.append(Stage(lines, lambda: self._cluster.ensure_topics(specs)))
        wanted = {spec.name for spec in specs}
        for name in sorted(set(existing) - wanted):
            if name.startswith(("raw.", "share.", "quarantine.")):
                seen.notes.append(f"topic {name} is not declared (any more); it is left as it is")
        seen.notes += _histories(self._topology, wanted - set(existing), existing)

    def _see_users(self, seen: Survey) -> None:
        existing = self._cluster.scram_users()
        gone = cut_off(self._topology, self._revoked, self._today)
        users = [user for user in access.principals(self._topology) if user not in gone]
        known = {user for user in users if self._settings.secrets.find(kafka_secret(user)) is not None}
        lines = tuple(_user_line(user, exists=user in existing, known=user in known) for user in users)
        seen.stages.append(Stage(lines, lambda: [self._cluster.ensure_scram_user(user) for user in users]))

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
        if planned and self._last_plan().version:
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

    def _see_sources(self, seen: Survey) -> None:
        secrets = self._settings.secrets
        for wish in source.wanted(self._topology, self._contracts):
            try:
                planned = source.survey(wish, secrets)
            except ExchangeError as error:
                seen.problems.append(str(error))
                continue
            run = _publisher(planned, secrets)
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


def _histories(topology: Topology, missing: set[str], existing: Mapping[str, int]) -> Iterator[str]:
    """Yield how views that are added to running resources get the rows that are there already."""
    for name, resource in topology.resources.items():
        if topology.systems[resource.system].kind != "postgres":
            continue
        beginning = view_topic(name, "")
        for topic in sorted(missing):
            if topic.startswith(beginning) and raw_topic(resource.system, resource.table) in existing:
                yield (
                    f"view {topic.removeprefix('share.')} is new and shows what changes from now on; "
                    f"`exchange snapshot start {resource.system} --table {resource.table} --view "
                    f"{topic.removeprefix(beginning)}` sends it the rows that are there"
                )


def data_topics(topology: Topology) -> list[TopicSpec]:
    """Return the topics of all resources and views, as Kafka shall have them."""
    return [
        TopicSpec(
            topic,
            topology.resources[resource].partitions,
            _QUARANTINE_CONFIG if topic.startswith("quarantine.") else _DATA_CONFIG,
        )
        for topic, resource in sorted(topology.data_topics().items())
    ]


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


def _views(plan: PublishedPlan | None) -> dict[str, ViewSpec]:
    """Return the views of a plan by their full names."""
    resources = plan.resources if plan is not None else ()
    return {f"{resource.name}.{view.name}": view.spec for resource in resources for view in resource.views}


def _readers(acls: Iterable[Acl]) -> dict[str, frozenset[str]]:
    """Return who may read each view's topic."""
    readers: dict[str, set[str]] = {}
    for acl in acls:
        if (acl.resource_type, acl.pattern, acl.operation) == ("topic", "literal", "read"):
            readers.setdefault(acl.name, set()).add(acl.principal)
    views = {name: who for name, who in readers.items() if name.startswith(_VIEW_TOPICS)}
    return {name.removeprefix(_VIEW_TOPICS): frozenset(who) for name, who in views.items()}


def _topic_line(spec: TopicSpec, config: Mapping[str, str] | None) -> Line:
    if config is None:
        return Line(Mark.CREATED, "topic", spec.name, counted(spec.partitions, "partition"))
    changes = [
        f"{key} {config.get(key)} → {value}" for key, value in spec.config.items() if config.get(key) != value
    ]
    return Line(Mark.CHANGED if changes else Mark.UNCHANGED, "topic", spec.name, ", ".join(changes))


def _user_line(user: str, *, exists: bool, known: bool) -> Line:
    if not exists:
        return Line(Mark.CREATED, "user", user)
    return Line(Mark.UNCHANGED, "user", user) if known else Line(Mark.CHANGED, "user", user, "new password")


def _publication_line(planned: source.Publication) -> Line:
    name = f"{planned.wanted.publication} in system {planned.wanted.system}"
    if not planned.statement:
        return Line(Mark.UNCHANGED, "publication", name)
    if planned.before is None:
        return Line(Mark.CREATED, "publication", name, ", ".join(planned.after))
    detail = f"{', '.join(planned.before)} → {', '.join(planned.after)}"
    return Line(Mark.CHANGED, "publication", name, detail)


def _publisher(planned: source.Publication, secrets: Any) -> Callable[[], None]:
    return lambda: source.carry_out(planned, secrets)
