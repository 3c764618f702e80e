"""`exchange up` and `exchange down`: which parts there are, in what order they start, what else they need.

Kafka, Redis and PostgreSQL start together; then Kafka gets the bus's own topics and the monitor's user; then
the monitor starts (registry, API, ClickHouse). A part whose address comes from a setting belongs to somebody
else: it is only asked whether it answers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exchange import selfcheck
from exchange.apply import access
from exchange.cluster import BUS_TOPICS, Cluster
from exchange.errors import ConfigError, ExchangeError, PartError
from exchange.local import kafka, kafka_tls, postgres, probe, process, redis
from exchange.local.home import Home, Progress, is_free
from exchange.local.probe import Silence
from exchange.local.process import Running
from exchange.model import Model
from exchange.settings import REGISTRY_PASSWORD, Endpoints, Settings
from exchange.tls.files import TlsFiles

ALL_PARTS: Final = ("kafka", "redis", "postgres", "monitor")
OWN_COMMAND: Final = (sys.executable, "-m", "exchange.cli")
_READY_S: Final = 180.0  # a broker on two very busy cores has needed 35 s
_EXTERNAL_READY_S: Final = 10.0
_REFUSED_S: Final = 20.0
"""A refused password may still turn out right: a starting broker knows its users a little late."""
_START_TRIES: Final = 3
_TELL_EVERY_S: Final = 2.0
_POLL_S: Final = 0.1


@dataclass(frozen=True)
class Part:
    """One part: what starts it, what asks it, and the setting that says it runs elsewhere."""

    name: str
    title: str
    launch: Callable[[Home, Settings, Progress], Running]
    probe: Callable[[Settings], Silence | None]
    ports: tuple[str, ...]
    setting: str | None = None

    def external(self, settings: Settings) -> bool:
        """Say whether the part belongs to somebody else."""
        return self.setting is not None and getattr(settings, self.setting) is not None


class PartStatus(Model):
    """One part, as `exchange status` shows it."""

    part: str
    state: str
    address: str | None
    pid: int | None
    reason: str | None
    certificate_days_left: int | None = None


def _launch_kafka(home: Home, settings: Settings, progress: Progress) -> Running:
    ports = home.state().ports
    return kafka.start(home, settings, ports["kafka"], ports["kafka-controller"], progress)


def _launch_redis(home: Home, settings: Settings, _progress: Progress) -> Running:
    return redis.start(home, settings, home.state().ports["redis"])


def _launch_postgres(home: Home, settings: Settings, progress: Progress) -> Running:
    return postgres.start(home, settings, home.state().ports["postgres"], progress)


def _launch_monitor(home: Home, settings: Settings, _progress: Progress) -> Running:
    settings.secrets.ensure(REGISTRY_PASSWORD)
    port = str(home.state().ports["monitor"])
    return _launch_own(home, settings, "monitor", ["monitor", "--port", port])


PARTS: Final = (
    Part("kafka", "Kafka", _launch_kafka, probe.kafka, ("kafka", "kafka-controller"), "kafka_bootstrap"),
    Part("redis", "Redis", _launch_redis, probe.redis, ("redis",), "redis_url"),
    Part("postgres", "PostgreSQL", _launch_postgres, probe.postgres, ("postgres",)),
    Part("monitor", "monitor", _launch_monitor, probe.monitor, ("monitor",), "api_url"),
)


def up(
    settings: Settings, progress: Progress = lambda _: None, parts: Collection[str] = ALL_PARTS
) -> Endpoints:
    """Start what doesn't run yet of these parts, and return the addresses when all answer.

    Raises:
        ConfigError: the home cannot be written, or a secret is missing.
        PartError: a part doesn't start or answer; the text names it, says why and ends with its log.
    """
    home = Home(settings.root)
    home.make()
    with home.locked(progress):
        wanted = [part for part in PARTS if part.name in parts]
        for part in PARTS:
            _choose_ports(part, home, settings)
        _publish(home, settings)
        base = [part for part in wanted if part.name != "monitor"]
        _refuse_other_protocol(home, settings)
        fresh = {part.name for part in base if _launch(part, home, settings, progress)}
        _publish(home, settings)  # again: a Kafka that was started just now may speak TLS
        for part in base:
            _await(part, home, settings, progress, fresh=part.name in fresh)
        if "kafka" in parts:
            _prepare_kafka(settings)
        for part in wanted[len(base) :]:
            _await(part, home, settings, progress, fresh=_launch(part, home, settings, progress))
        _check_other(settings, progress)
    return settings.endpoints()


def down(settings: Settings, progress: Progress = lambda _: None) -> list[str]:
    """Stop everything that run.json names and still runs; return what was stopped, in order.

    Connectors and workers go first, then the monitor, then the parts they stand on.

    Raises: PartError when a process belongs to another user or doesn't end.
    """
    home = Home(settings.root)
    if not (home.root / "run.json").exists():
        return []
    stopped = []
    with home.locked(progress):
        names = home.state().parts
        order = ("monitor", "redis", "postgres", "kafka")
        for name in sorted(names, key=lambda part: order.index(part) if part in order else -1):
            if home.running(name) is not None:
                progress(f"{name}: stopping")
                stopped.append(name)
            _strike_out(home, name)
        settings.endpoints_file.unlink(missing_ok=True)
    return stopped


def status(settings: Settings) -> list[PartStatus]:
    """Return how each part is just now, and each connector or worker that runs in the background."""
    home = Home(settings.root)
    others = [name for name in home.state().parts if name not in ALL_PARTS]
    return [_part_status(part, home, settings) for part in PARTS] + [
        _own_status(name, home) for name in sorted(others)
    ]


def spawn(settings: Settings, part: str, args: Sequence[str]) -> int:
    """Start `exchange <args>` in the background under a name of its own, and return its pid.

    Its log is `<home>/logs/<part>.log`; `down` stops it.

    Raises: PartError when something of that name runs already.
    """
    home = Home(settings.root)
    home.make()
    with home.locked(lambda _: None):
        present = home.running(part)
        if present is not None:
            msg = f"{part}: runs already, as process {present.pid}; stop it with `exchange down`"
            raise PartError(msg)
        running = _launch_own(home, settings, part, args)
        home.remember(part, running)
    return running.pid


def stop(settings: Settings, part: str) -> None:
    """Stop one background part and strike it out; nothing happens if it doesn't run.

    Raises: PartError when it belongs to another user or doesn't end.
    """
    home = Home(settings.root)
    if not (home.root / "run.json").exists():
        return
    with home.locked(lambda _: None):
        _strike_out(home, part)


def _strike_out(home: Home, name: str) -> None:
    """Stop a process that run.json names. It's struck out first: a supervisor takes that for our wish."""
    running = home.running(name)
    home.forget(name)
    if running is None:
        return
    try:
        process.stop(running)
    except PartError:
        home.remember(name, running)
        raise


def _launch_own(home: Home, settings: Settings, part: str, args: Sequence[str]) -> Running:
    given = settings.model_dump(mode="json", exclude_unset=True) | {"home": str(home.root)}
    ours = {f"EXCHANGE_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return process.start([*OWN_COMMAND, *args], home.log(part), environment=os.environ | ours)


def _choose_ports(part: Part, home: Home, settings: Settings) -> None:
    if not part.external(settings) and home.running(part.name) is None:
        for name in part.ports:
            home.port(name)


def _publish(home: Home, settings: Settings) -> None:
    """Write endpoints.json for the parts that run here."""
    ports = home.state().ports
    addresses = {"clickhouse": f"chdb:{home.root / 'clickhouse'}"}
    if "kafka" in ports:
        addresses["kafka"] = f"127.0.0.1:{ports['kafka']}"
        if (authority := kafka_tls.in_force(home.root)) is not None:
            addresses["kafka_ca"] = str(authority)
    if "redis" in ports:
        addresses["redis"] = f"redis://127.0.0.1:{ports['redis']}/0"
    if "postgres" in ports:
        addresses["postgres"] = f"127.0.0.1:{ports['postgres']}"
    if "monitor" in ports:
        addresses["api"] = addresses["registry"] = f"http://127.0.0.1:{ports['monitor']}"
    home.write(Path(settings.endpoints_file).name, json.dumps(addresses, indent=1) + "\n")


def _refuse_other_protocol(home: Home, settings: Settings) -> None:
    """Raise ConfigError when Kafka runs already, with TLS where none is wanted or the other way round."""
    wanted = settings.kafka_security_protocol
    if wanted is None or settings.kafka_bootstrap is not None or home.running("kafka") is None:
        return
    speaks = "SASL_SSL" if kafka_tls.in_force(home.root) is not None else "SASL_PLAINTEXT"
    if speaks != wanted:
        msg = f"Kafka: runs already, with {speaks} where {wanted} is wanted; run `exchange down` first"
        raise ConfigError(msg)


def _launch(part: Part, home: Home, settings: Settings, progress: Progress) -> bool:
    """Start a part unless it runs already or elsewhere; return whether it was started."""
    if part.external(settings) or home.running(part.name) is not None:
        return False
    progress(f"{part.title}: starting")
    try:
        home.remember(part.name, part.launch(home, settings, progress))
    except OSError as error:
        where = f"{part.title}: cannot be set up: {error.filename or home.root}"
        msg = f"{where}: {error.strerror}; free space or mend its mode"
        raise PartError(msg) from None
    return True


def _await(part: Part, home: Home, settings: Settings, progress: Progress, *, fresh: bool) -> None:
    """Return when a part answers; a `fresh` one, started just now, is stopped again if it doesn't.

    It is started again when its process turned out to be dying as we came, and when somebody else took its
    port between our look and our start.
    """
    for left in reversed(range(_START_TRIES)):
        try:
            return _ask_until_answered(part, home, settings, progress)
        except PartError:
            alive = home.running(part.name) is not None
            if fresh:
                _strike_out(home, part.name)  # so that the next `up` begins afresh
            hopeless = part.external(settings) or alive or (fresh and not _port_lost(part, home))
            if hopeless or not left:
                raise
        _choose_ports(part, home, settings)
        _publish(home, settings)
        fresh = _launch(part, home, settings, progress)
    return None


def _port_lost(part: Part, home: Home) -> bool:
    """Whether somebody else took a port; by now it may be free again, so the log is asked too."""
    ports = home.state().ports
    is_taken = not all(is_free(ports[name]) for name in part.ports if name in ports)
    return is_taken or "Address already in use" in process.tail(home.log(part.name))


def _ask_until_answered(part: Part, home: Home, settings: Settings, progress: Progress) -> None:
    external = part.external(settings)
    limit = _EXTERNAL_READY_S if external else _READY_S
    began = time.monotonic()
    told = refused_since = began
    while (silence := _ask(part, home, settings)) is not None:
        now = time.monotonic()
        if not external and home.running(part.name) is None:
            raise _failure(part, home, "ended instead of answering")
        if not silence.password_refused:
            refused_since = now
        if now - began > limit or now - refused_since > _REFUSED_S:
            where = "" if not external else f" (address given by EXCHANGE_{str(part.setting).upper()})"
            raise _failure(part, home, f"does not answer{where} after {now - began:.0f} s: {silence.reason}")
        if now - told > _TELL_EVERY_S:
            progress(f"{part.title}: waiting for its first answer, {now - began:.0f} s")
            told = now
        time.sleep(_POLL_S)
    if time.monotonic() - began > _TELL_EVERY_S:
        progress(f"{part.title}: answers")


def _ask(part: Part, home: Home, settings: Settings) -> Silence | None:
    """Ask a part; what somebody else's process says on a port that was to be ours doesn't count."""
    if not part.external(settings):
        running = home.running(part.name)
        if running is None or not process.listens(running, home.state().ports[part.ports[0]]):
            return Silence("it does not listen on its port")
    return part.probe(settings)


def _failure(part: Part, home: Home, what: str) -> PartError:
    known = home.state().parts.get(part.name)
    if known is None:
        return PartError(f"{part.title}: {what}")
    return PartError(f"{part.title}: {what}\nEnd of {known.log}:\n{process.tail(known.log)}")


def _prepare_kafka(settings: Settings) -> None:
    """Make the bus's own topics, the monitor's user and its access; then look whether Kafka is safe.

    Raises: ConfigError when Kafka is not set up safely.
    """
    selfcheck.check_certificate(settings)
    cluster = Cluster(settings)
    cluster.ensure_topics(BUS_TOPICS)
    cluster.ensure_scram_user(access.MONITOR)
    cluster.ensure_acls(access.monitor_rules())
    selfcheck.check_cluster(settings, [access.MONITOR])


def _check_other(settings: Settings, progress: Progress) -> None:
    """Ask the external parts that no start stands for: registry and ClickHouse."""
    for title, setting, ask in (
        ("schema registry", "registry_url", probe.registry),
        ("ClickHouse", "clickhouse_url", probe.clickhouse),
    ):
        if getattr(settings, setting) is None:
            continue
        silence = ask(settings)
        if silence is not None:
            msg = f"{title}: does not answer (address given by EXCHANGE_{setting.upper()}): {silence.reason}"
            raise PartError(msg)
        progress(f"{title}: answers")


def _part_status(part: Part, home: Home, settings: Settings) -> PartStatus:
    external = part.external(settings)
    running = home.running(part.name)
    if running is None and not external:
        return PartStatus(part=part.name, state="stopped", address=None, pid=None, reason=None)
    try:
        silence = _ask(part, home, settings)
        reason = silence.reason if silence is not None else None
        address = _address(part, settings.endpoints())
    except ExchangeError as error:
        reason, address = str(error), None
    return PartStatus(
        part=part.name,
        state="not answering" if reason else "external" if external else "running",
        address=address,
        pid=running.pid if running is not None else None,
        reason=reason,
        certificate_days_left=_days_left(settings) if part.name == "kafka" and not external else None,
    )


def _days_left(settings: Settings) -> int | None:
    """Return the days that Kafka's certificate has; None without one, and where it cannot be read."""
    with suppress(ConfigError):
        return TlsFiles(settings.root).kafka_days_left() if kafka_tls.in_force(settings.root) else None
    return None


def _own_status(name: str, home: Home) -> PartStatus:
    running = home.running(name)
    return PartStatus(
        part=name,
        state="running" if running is not None else "ended",
        address=None,
        pid=running.pid if running is not None else None,
        reason=None,
    )


def _address(part: Part, endpoints: Endpoints) -> str | None:
    address: str | None = getattr(endpoints, "api" if part.name == "monitor" else part.name)
    return address
