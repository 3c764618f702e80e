"""Where everything is: settings from the environment, endpoints of the parts, and secrets.

One installation = one home directory (`EXCHANGE_HOME`, default `.exchange`). The embedded parts write the
ports they found to `<home>/endpoints.json`; a setting that names an external part wins over that file.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets as random_secrets
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from exchange.errors import ConfigError
from exchange.files.private import write_private
from exchange.model import Model

REGISTRY_PASSWORD: Final = "EXCHANGE_REGISTRY_PASSWORD"  # noqa: S105 - names of secrets, not secrets
REDIS_PASSWORD: Final = "EXCHANGE_REDIS_PASSWORD"  # noqa: S105
POSTGRES_PASSWORD: Final = "EXCHANGE_POSTGRES_PASSWORD"  # noqa: S105
TOKEN: Final = "EXCHANGE_TOKEN"  # noqa: S105 - of the person in whose name commands run
MACHINE_TOKEN: Final = "EXCHANGE_API_TOKEN"  # noqa: S105 - with which commands of this machine ask the API
METRICS_TOKEN: Final = "EXCHANGE_METRICS_TOKEN"  # noqa: S105
OIDC_SECRET: Final = "EXCHANGE_OIDC_SECRET"  # noqa: S105

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
KAFKA_RISKS: Final = (
    "open_by_default",
    "plaintext_listener",
    "auto_create_topics",
    "unclean_election",
    "few_copies",
)
_ADDRESSES: Final = {
    "registry_url": ("http://", "https://"),
    "api_url": ("http://", "https://"),
    "openlineage_url": ("http://", "https://"),
    "redis_url": ("redis://", "rediss://", "unix://"),
    "clickhouse_url": ("http://", "https://", "chdb:"),
    "oidc_issuer": ("http://127.0.0.1", "http://localhost", "https://"),
    "oidc_public_url": ("http://", "https://"),
}
"""Setting → what its address begins with."""


class Endpoints(Model):
    """Addresses of the parts, as `exchange up` found or was given them."""

    kafka: str = Field(description="Bootstrap servers, host:port[,host:port].")
    kafka_ca: str | None = Field(
        default=None,
        description="The embedded Kafka speaks TLS: the authority in PEM that issued its certificate.",
    )
    registry: str = Field(description="Base URL of the schema registry.")
    api: str = Field(description="Base URL of the monitor's JSON API.")
    redis: str = Field(description="redis:// URL, without password.")
    clickhouse: str = Field(
        description="chdb:<path> for the embedded engine, or http(s)://host:port/database."
    )
    postgres: str | None = Field(
        default=None, description="host:port of the embedded PostgreSQL, if started."
    )


class Settings(BaseSettings):
    """Settings of one installation; every one may come from the environment as EXCHANGE_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="EXCHANGE_", frozen=True, hide_input_in_errors=True)

    home: Path = Field(default=Path(".exchange"), description="State directory of this installation.")
    topology: Path = Field(default=Path("topology.yaml"), description="The bus, declared.")
    contracts: Path = Field(default=Path("avro"), description="Directory of the contracts.")
    kafka_bootstrap: str | None = Field(default=None, description="External Kafka; unset: the embedded one.")
    kafka_security_protocol: Literal["SASL_PLAINTEXT", "SASL_SSL"] | None = Field(
        default=None,
        description="Unset: SASL_SSL, but SASL_PLAINTEXT to an external Kafka on this very machine and to an "
        "embedded one without a certificate.",
    )
    kafka_ca_file: Path | None = Field(
        default=None,
        description="Authority that issued Kafka's certificates, in PEM; unset: those this machine trusts.",
    )
    kafka_min_insync_replicas: int | None = Field(
        default=None,
        ge=1,
        description="Copies that count as written; unset: 2 from three brokers on, else 1.",
    )
    kafka_accept_risks: str = Field(
        default="", description="Checks of `exchange doctor --kafka` that are no reason to stop, with commas."
    )
    kafka_authorizer_log: Path | None = Field(
        default=None, description="Kafka's authorizer log, for `exchange watch`; unset: the embedded Kafka's."
    )
    registry_url: str | None = Field(default=None, description="External registry; unset: the monitor's.")
    redis_url: str | None = Field(default=None, description="External Redis; unset: the embedded one.")
    clickhouse_url: str | None = Field(default=None, description="External ClickHouse; unset: embedded chDB.")
    api_url: str | None = Field(default=None, description="Base URL of a monitor that runs elsewhere.")
    openlineage_url: str | None = Field(
        default=None, description="Where the monitor tells the lineage of each new plan; unset: nowhere."
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_json: bool = Field(default=False, description="One JSON object a line instead of text.")
    retention_accounts_days: int = Field(
        default=90, ge=2, description="Accounts in ClickHouse, from storing."
    )
    retention_minutes_days: int = Field(default=90, ge=2, description="Figures of minutes.")
    retention_hours_days: int = Field(default=730, ge=2, description="Figures of hours.")
    retention_days_days: int = Field(default=3650, ge=31, description="Figures of days.")
    retention_positions_days: int = Field(default=30, ge=2, description="Positions of consumer groups.")
    retention_refused_days: int = Field(
        default=90,
        ge=2,
        description="Examples of refused records, whose topics keep them as long.",
    )
    reconcile_every_s: float = Field(
        default=300, gt=0, description="Seconds between comparisons of the stored accounts with Kafka's."
    )
    session_s: int = Field(
        default=8 * 3600, ge=60, le=7 * 86_400, description="Seconds after which a login at the API is over."
    )
    sweep_every_s: float = Field(
        default=300, gt=0, description="Seconds between the monitor's sweeps of requests and grants."
    )
    oidc_issuer: str | None = Field(
        default=None, description="Identity provider (OIDC) that people log in at; unset: passwords alone."
    )
    oidc_client_id: str | None = Field(default=None, description="What the provider calls the bus.")
    oidc_public_url: str | None = Field(
        default=None,
        description="URL at which browsers reach the monitor, and come back from the provider.",
    )
    oidc_name_claim: str = Field(
        default="sub",
        description="Claim that names one of `people`; one that the provider keeps unique and unchangeable.",
    )
    oidc_groups_claim: str = Field(default="groups", description="Claim that holds the groups.")
    native: bool = Field(
        default=True,
        description="off: Kafka and PostgreSQL message by message, never by the C API of their clients.",
    )

    @field_validator("log_level")
    @classmethod
    def _a_known_level(cls, level: str) -> str:
        if level.upper() not in LOG_LEVELS:
            msg = f"wanted is one of {', '.join(LOG_LEVELS)}"
            raise ValueError(msg)
        return level

    @field_validator("kafka_accept_risks")
    @classmethod
    def _known_risks(cls, names: str) -> str:
        if not {name.strip() for name in names.split(",")} <= {"", *KAFKA_RISKS}:
            msg = f"wanted are some of {', '.join(KAFKA_RISKS)}, with commas"
            raise ValueError(msg)
        return names

    @field_validator(*_ADDRESSES)
    @classmethod
    def _an_address(cls, address: str | None, info: ValidationInfo) -> str | None:
        beginnings = _ADDRESSES[str(info.field_name)]
        if address is not None and not address.startswith(beginnings):
            msg = f"wanted is an address that begins with {' or '.join(beginnings)}"
            raise ValueError(msg)
        return address

    @cached_property
    def root(self) -> Path:
        """The home directory as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def accepted_risks(self) -> frozenset[str]:
        """The checks of Kafka that are no reason to stop."""
        return frozenset(name.strip() for name in self.kafka_accept_risks.split(",")) - {""}

    @property
    def endpoints_file(self) -> Path:
        """File in which the embedded parts publish their addresses."""
        return self.root / "endpoints.json"

    @property
    def secrets(self) -> Secrets:
        """The secrets of this installation."""
        return Secrets(self.root / "secrets")

    def endpoints(self) -> Endpoints:
        """Return the addresses in force: settings first, then what the embedded parts published.

        Raises: ConfigError when a part has no address.
        """
        found: dict[str, Any] = {}
        if self.endpoints_file.exists():
            found = _read_object(self.endpoints_file)
        given = {
            "kafka": self.kafka_bootstrap,
            "registry": self.registry_url,
            "api": self.api_url,
            "redis": self.redis_url,
            "clickhouse": self.clickhouse_url,
        }
        found |= {part: address for part, address in given.items() if address is not None}
        if self.kafka_bootstrap is not None:
            found.pop("kafka_ca", None)
        try:
            return Endpoints.model_validate(found)
        except ValidationError as error:
            missing = ", ".join(str(problem["loc"][0]) for problem in error.errors())
            msg = (
                f"{self.endpoints_file}: no address for {missing}. "
                "Start the embedded parts with `exchange up`, or set EXCHANGE_KAFKA_BOOTSTRAP, "
                "EXCHANGE_REGISTRY_URL, EXCHANGE_API_URL, EXCHANGE_REDIS_URL, EXCHANGE_CLICKHOUSE_URL."
            )
            raise ConfigError(msg) from None

    def kafka_client(self, principal: str) -> dict[str, Any]:
        """Return the librdkafka properties with which a principal connects.

        Raises: ConfigError when Kafka's address or the password is missing.
        """
        endpoints, secret = self.endpoints(), kafka_secret(principal)
        password = self.secrets.find(secret)
        if password is None:
            msg = (
                f"Kafka user {principal} has no password here: secret {secret} is missing. "
                f"`exchange apply` makes one for everybody that {self.topology} declares; elsewhere "
                f"set the environment variable {secret} or write {self.root / 'secrets' / secret}"
            )
            raise ConfigError(msg)
        client: dict[str, Any] = {
            "bootstrap.servers": endpoints.kafka,
            "security.protocol": self.kafka_protocol(endpoints),
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": principal,
            "sasl.password": password.get_secret_value(),
        }
        ca_file = self.kafka_authority(endpoints)
        return client | ({"ssl.ca.location": str(ca_file)} if ca_file is not None else {})

    def kafka_protocol(self, endpoints: Endpoints) -> str:
        """Return every client's security protocol: TLS unless Kafka is here or a setting says otherwise."""
        if self.kafka_security_protocol is not None:
            return self.kafka_security_protocol
        if self.kafka_bootstrap is None:
            return "SASL_SSL" if endpoints.kafka_ca is not None else "SASL_PLAINTEXT"
        return "SASL_PLAINTEXT" if all(map(is_here, endpoints.kafka.split(","))) else "SASL_SSL"

    def kafka_authority(self, endpoints: Endpoints) -> Path | None:
        """Return the file with the only authority that clients believe, None for those this machine trusts.

        Raises: ConfigError when there is no such file.
        """
        if self.kafka_ca_file is not None:
            if not self.kafka_ca_file.is_file():
                msg = f"EXCHANGE_KAFKA_CA_FILE: {self.kafka_ca_file} is no file; wanted is a CA in PEM"
                raise ConfigError(msg)
            return self.kafka_ca_file
        if endpoints.kafka_ca is None:
            return None
        found = Path(endpoints.kafka_ca)
        if not found.is_file():
            msg = f"{found}: the embedded Kafka's authority is missing; put it back, or copy it from a client"
            raise ConfigError(msg)
        return found


def is_here(server: str) -> bool:
    """Whether a server, as host or host:port, is this very machine."""
    host = urlsplit(f"//{server.strip()}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings() -> Settings:
    """Return the settings that the environment gives.

    Raises: ConfigError naming each variable that does not hold what is wanted, without what it holds.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = (
            f"EXCHANGE_{'_'.join(map(str, one['loc'])).upper()}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise ConfigError("\n".join(problems)) from None


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        content = type(error).__name__
    if isinstance(content, dict):
        return content
    msg = f"{file}: cannot be read as a JSON object; delete it and run `exchange up`, which writes it anew"
    raise ConfigError(msg)


class Secrets:
    """Secrets by NAME: the environment variable NAME, else the file `<home>/secrets/NAME` (mode 0600)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> SecretStr:
        """Return a secret.

        Raises: ConfigError when it is neither in the environment nor in its file.
        """
        found = self.find(name)
        if found is None:
            file = self._directory / name
            msg = f"secret {name} is missing: set the environment variable {name} or write {file}"
            raise ConfigError(msg)
        return found

    def find(self, name: str) -> SecretStr | None:
        """Return a secret, or None when there is none of that name.

        Raises: ConfigError when its file cannot be read, is empty, or is open to others.
        """
        if given := os.environ.get(name):
            return SecretStr(given)
        file = self._directory / name
        try:
            if not file.exists():
                return None
            if file.stat().st_mode & 0o077:
                msg = f"{file}: readable by others than its owner; run `chmod 600 {file}`"
                raise ConfigError(msg)
            content = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{file}: cannot be read ({type(error).__name__}); wanted is text that this user may read"
            raise ConfigError(msg) from None
        if not content:
            msg = f"{file}: the secret is empty"
            raise ConfigError(msg)
        return SecretStr(content)

    def put(self, name: str, value: str) -> None:
        """Write a secret to its file, whole or not at all, readable by the owner alone.

        Raises: ConfigError when it cannot be written.
        """
        try:
            write_private(self._directory / name, value.encode())
        except OSError as error:
            why = os.strerror(error.errno or 0)
            msg = (
                f"secret {name} is missing and cannot be written to {self._directory} ({why}): "
                f"set the environment variable {name}, or make room or write access there"
            )
            raise ConfigError(msg) from None

    def ensure(self, name: str) -> SecretStr:
        """Return a secret, first making a random one of 192 bits where there is none."""
        if self.find(name) is None:
            self.put(name, random_secrets.token_urlsafe(24))
        return self.get(name)


def kafka_secret(principal: str) -> str:
    """Return the name of the secret that holds a Kafka principal's password."""
    return "EXCHANGE_KAFKA_PASSWORD_" + principal.upper().replace("-", "_").replace(".", "_")


def machine_headers(settings: Settings) -> dict[str, str]:
    """Return the headers with which a command asks the API, by the machine's token where there is one."""
    token = settings.secrets.find(MACHINE_TOKEN)
    return {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
