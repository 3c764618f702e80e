"""Client of the schema registry: the bus's own, or any that speaks Confluent's REST API."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from exchange.errors import ConfigError, TransientError
from exchange.settings import REGISTRY_PASSWORD, Settings

USER: Final = "exchange"
"""Name that goes with EXCHANGE_REGISTRY_PASSWORD in HTTP basic authentication."""

_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_TIMEOUT_S: Final = 10.0
_PAGE: Final = 1000
"""Source: Confluent Platform, schema.search.max.limit: more are not given at once."""
_AT_ONCE: Final = 8


def for_writing(settings: Settings) -> Registry:
    """Return a client of the registry that the settings name, with the password that lets it register."""
    return Registry(settings.endpoints().registry, settings.secrets.find(REGISTRY_PASSWORD))


class Registry:
    """Reads and registers schemas. Schemas by id never change, so they are asked for once.

    Safe to share between threads. Every method raises TransientError when the registry cannot be reached or
    reports a failure of its own, and ConfigError when it refuses the credentials.
    """

    def __init__(
        self, url: str, password: SecretStr | None = None, login: tuple[str, str] = (USER, REGISTRY_PASSWORD)
    ) -> None:
        """login: user, and name of the secret that holds the password."""
        self._url = url.rstrip("/")
        self._user, self._secret = login
        self._http = httpx.Client(
            base_url=self._url,
            auth=(self._user, password.get_secret_value()) if password is not None else None,
            headers={"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE},
            timeout=_TIMEOUT_S,
            trust_env=False,  # a proxy of the environment is for other networks
        )
        self._schemas: dict[int, dict[str, Any]] = {}

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Register a schema as the subject's next version, unless it is one already; return its id.

        Raises: ConfigError when it is invalid, or not compatible with the subject's earlier versions.
        """
        answer = self._call("POST", f"/subjects/{_quoted(subject)}/versions", _payload(schema))
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"schema for subject {subject}"))
        return int(answer.json()["id"])

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return a schema by its id.

        Raises: LookupError when the registry does not know the id.
        """
        if schema_id not in self._schemas:
            answer = self._call("GET", f"/schemas/ids/{schema_id}")
            if answer.is_error:
                raise LookupError(self._refusal(answer, f"schema id {schema_id}"))
            self._schemas[schema_id] = _document(answer.json()["schema"])
        return self._schemas[schema_id]

    def latest(self, subject: str) -> tuple[int, int, dict[str, Any]] | None:
        """Return id, version and schema of a subject's latest version, or None when it has none."""
        answer = self._call("GET", f"/subjects/{_quoted(subject)}/versions/latest")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"subject {subject}"))
        found = answer.json()
        return int(found["id"]), int(found["version"]), _document(found["schema"])

    def all_latest(self, prefix: str) -> dict[str, tuple[int, int, dict[str, Any]]]:
        """Return id, version and schema of the latest version of each Avro subject that begins with `prefix`.

        A registry that cannot list them is asked for each.
        """
        found: dict[str, tuple[int, int, dict[str, Any]]] = {}
        offset = 0
        while True:
            asked = f"subjectPrefix={_quoted(prefix)}&latestOnly=true&offset={offset}&limit={_PAGE}"
            answer = self._call("GET", f"/schemas?{asked}")
            if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
                return self._each_latest(prefix)
            if answer.is_error:
                raise ConfigError(self._refusal(answer, "list of schemas"))
            page = answer.json()
            known = len(found)
            found |= {
                str(one["subject"]): (int(one["id"]), int(one["version"]), _document(one["schema"]))
                for one in page
                if one.get("schemaType", "AVRO") == "AVRO" and str(one["subject"]).startswith(prefix)
            }
            offset += len(page)
            if len(page) < _PAGE or len(found) == known:
                return found

    def _each_latest(self, prefix: str) -> dict[str, tuple[int, int, dict[str, Any]]]:
        names = [name for name in self.subjects() if name.startswith(prefix)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            latest = zip(names, pool.map(self.latest, names), strict=True)
            return {name: found for name, found in latest if found is not None}

    def levels(self, prefix: str, subjects: Iterable[str]) -> dict[str, str]:
        """Return the compatibility levels in force for subjects, which all begin with `prefix`.

        The bus's own registry tells them at once, others are asked for each.
        """
        wanted = list(subjects)
        answer = self._call("GET", f"/config?subjectPrefix={_quoted(prefix)}")
        told = {} if answer.is_error else answer.json().get("subjects", {})
        if wanted and not told:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                return dict(zip(wanted, pool.map(self.compatibility, wanted), strict=True))
        return {name: str(told[name]) for name in wanted if name in told}

    def subjects(self) -> list[str]:
        """Return the names of all subjects that have a version."""
        answer = self._call("GET", "/subjects")
        if answer.is_error:
            raise ConfigError(self._refusal(answer, "list of subjects"))
        return [str(name) for name in answer.json()]

    def version_ids(self, subject: str) -> set[str]:
        """Return the ids of all schemas that a subject has as versions, as texts."""
        path = f"/subjects/{_quoted(subject)}/versions"
        answer = self._call("GET", path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return set()
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"subject {subject}"))
        versions = [self._call("GET", f"{path}/{version}").json() for version in answer.json()]
        return {str(version["id"]) for version in versions}

    def delete_subject(self, subject: str) -> None:
        """Mark all versions of a subject as deleted; their ids stay readable.

        Raises: ConfigError when the registry refuses.
        """
        answer = self._call("DELETE", f"/subjects/{_quoted(subject)}")
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise ConfigError(self._refusal(answer, f"subject {subject}"))

    def is_compatible(self, subject: str, schema: dict[str, Any]) -> bool:
        """Tell whether `register` would accept a schema."""
        return not self.incompatibilities(subject, schema)

    def incompatibilities(self, subject: str, schema: dict[str, Any]) -> list[str]:
        """Return why `register` would refuse a schema: one text a difference, empty when it would not.

        Raises: ConfigError when the schema is invalid in itself.
        """
        path = f"/compatibility/subjects/{_quoted(subject)}/versions?verbose=true"
        answer = self._call("POST", path, _payload(schema))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"schema for subject {subject}"))
        found = answer.json()
        return [] if found["is_compatible"] else found.get("messages") or ["not compatible"]

    def compatibility(self, subject: str) -> str:
        """Return the compatibility level in force for a subject: its own, else the registry's default."""
        answer = self._call("GET", f"/config/{_quoted(subject)}?defaultToGlobal=true")
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"compatibility of subject {subject}"))
        return str(answer.json()["compatibilityLevel"])

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set a subject's compatibility level (NONE, BACKWARD, FORWARD, FULL, each also _TRANSITIVE)."""
        answer = self._call("PUT", f"/config/{_quoted(subject)}", {"compatibility": level})
        if answer.is_error:
            raise ConfigError(self._refusal(answer, f"compatibility of subject {subject}"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, payload: dict[str, Any] | None = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=payload)
        except httpx.HTTPError as error:
            msg = f"schema registry {self._url} cannot be reached: {type(error).__name__}"
            raise TransientError(msg) from None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            msg = f"schema registry {self._url} refuses us: check user and password in secret {self._secret}"
            raise ConfigError(msg)
        if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise TransientError(self._refusal(answer, f"{method} {path}"))
        return answer

    def _refusal(self, answer: httpx.Response, what: str) -> str:
        try:
            said = answer.json()
            detail = f"{said['message']} (error code {said['error_code']})"
        except (ValueError, KeyError, TypeError):
            detail = f"HTTP status {answer.status_code}"
        return f"schema registry {self._url}: {what}: {detail}"


def _payload(schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": json.dumps(schema, ensure_ascii=False)}


def _document(text: str) -> dict[str, Any]:
    """Parse a schema's text; a bare type name such as `"string"` becomes {"type": "string"}."""
    found = json.loads(text)
    return found if isinstance(found, dict) else {"type": found}


def _quoted(subject: str) -> str:
    return quote(subject, safe="")
