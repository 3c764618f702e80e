"""The registry's HTTP face: the part of Confluent's REST API that clients of Avro use.

Source: Confluent documentation, "Schema Registry API reference". Reads are open, since schemas hold no data;
writes need HTTP basic authentication.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, SecretStr

from exchange.errors import PartError, TransientError
from exchange.registry import USER
from monitor.registry.compatibility import InvalidSchemaError, Level, incompatibilities, parse
from monitor.registry.state import DEFAULT_LEVEL, Registered
from monitor.registry.store import IncompatibleError, Store

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class RegistryResponse(Response):
    """JSON with the registry's content type."""

    media_type = CONTENT_TYPE

    def render(self, content: Any) -> bytes:
        """Return UTF-8 JSON."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


class RegistryError(Exception):
    """An answer in the registry's error format: HTTP status, error code, message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> RegistryResponse:
        """Return the HTTP answer."""
        headers = {"WWW-Authenticate": 'Basic realm="registry"'} if self.status == 401 else None
        return RegistryResponse(
            {"error_code": self.code, "message": self.message}, status_code=self.status, headers=headers
        )


class _RegistryRoute(APIRoute):
    """Turns what a handler raises into the registry's error format."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except RegistryError as error:
                return error.response()
            except RequestValidationError as error:
                problems = sorted(
                    {f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()}
                )
                return RegistryError(422, 42200, f"invalid request: {'; '.join(problems)}").response()
            except InvalidSchemaError as error:
                return RegistryError(422, 42201, f"Invalid schema: {error}").response()
            except IncompatibleError as error:
                return RegistryError(409, 409, _conflict(error)).response()
            except (TransientError, PartError) as error:
                return RegistryError(500, 50001, f"Error in the backend data store: {error}").response()

        return guarded


class SchemaBody(BaseModel):
    """A schema as clients send it; other attributes (metadata, rules) are not supported and passed over."""

    schema_text: str = Field(alias="schema", max_length=1_000_000)
    schema_type: str = Field(default="AVRO", alias="schemaType")
    references: list[Any] = Field(default_factory=list)


class LevelBody(BaseModel):
    """A compatibility level as clients send it."""

    compatibility: str


Subject = Annotated[str, Path(min_length=1, max_length=512, description="Name of the subject.")]
Flag = Annotated[bool, Query()]


def router(store: Store, password: SecretStr) -> APIRouter:
    """Return the routes over a store; `password` is the one that writers must show."""
    routes = APIRouter(
        route_class=_RegistryRoute,
        default_response_class=RegistryResponse,
        tags=["registry"],
        dependencies=[Depends(_once_loaded(store))],
    )
    writer = [Depends(_writers_only(password))]
    _add_reads(routes, store)
    _add_compatibility(routes, store, writer)
    _add_writes(routes, store, writer)
    return routes


def _add_reads(routes: APIRouter, store: Store) -> None:
    @routes.get("/subjects")
    def subjects(deleted: Flag = False, subjectPrefix: str = "") -> Any:
        names = store.state.subjects(deleted=deleted)
        return RegistryResponse([name for name in names if name.startswith(subjectPrefix)])

    @routes.get("/subjects/{subject}/versions")
    def versions(subject: Subject, deleted: Flag = False) -> Any:
        return RegistryResponse([found.version for found in _existing(store, subject, deleted=deleted)])

    @routes.get("/subjects/{subject}/versions/{version}")
    def version(subject: Subject, version: str, deleted: Flag = False) -> Any:
        return RegistryResponse(_shown(_version(store, subject, version, deleted=deleted)))

    @routes.get("/subjects/{subject}/versions/{version}/schema")
    def version_schema(subject: Subject, version: str, deleted: Flag = False) -> Any:
        return RegistryResponse(json.loads(_version(store, subject, version, deleted=deleted).schema))

    @routes.get("/schemas")
    def schemas(
        subjectPrefix: str = "",
        latestOnly: Flag = False,
        deleted: Flag = False,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: int = -1,
    ) -> Any:
        names = [name for name in store.state.subjects(deleted=deleted) if name.startswith(subjectPrefix)]
        versions = (store.state.versions(name, deleted=deleted) for name in names)
        found = [one for each in versions for one in (each[-1:] if latestOnly else each)]
        return RegistryResponse(
            [_shown(one) for one in found[offset : offset + limit if limit >= 0 else None]]
        )

    @routes.get("/schemas/types")
    def types() -> Any:
        return RegistryResponse(["AVRO"])

    @routes.get("/schemas/ids/{schema_id}")
    def by_id(schema_id: int) -> Any:
        return RegistryResponse({"schema": _text(store, schema_id)})

    @routes.get("/schemas/ids/{schema_id}/schema")
    def schema_by_id(schema_id: int) -> Any:
        return RegistryResponse(json.loads(_text(store, schema_id)))

    @routes.get("/schemas/ids/{schema_id}/versions")
    def uses(schema_id: int) -> Any:
        _text(store, schema_id)
        found = store.state.uses(schema_id)
        return RegistryResponse([{"subject": use.subject, "version": use.version} for use in found])

    @routes.get("/schemas/ids/{schema_id}/subjects")
    def subjects_of(schema_id: int) -> Any:
        _text(store, schema_id)
        return RegistryResponse(sorted({use.subject for use in store.state.uses(schema_id)}))

    @routes.post("/subjects/{subject}")
    def lookup(subject: Subject, body: SchemaBody) -> Any:
        schema = _checked(body)
        _existing(store, subject)
        found = store.state.lookup(subject, schema)
        if found is None:
            raise RegistryError(404, 40403, "Schema not found")
        return RegistryResponse(_shown(found))

    @routes.get("/mode")
    def mode() -> Any:
        return RegistryResponse({"mode": "READWRITE"})

    @routes.get("/mode/{subject}")
    def subject_mode(subject: Subject, defaultToGlobal: Flag = False) -> Any:
        if not defaultToGlobal:
            raise RegistryError(
                404, 40409, f"Subject '{subject}' does not have subject-level mode configured"
            )
        return RegistryResponse({"mode": "READWRITE"})


def _add_compatibility(routes: APIRouter, store: Store, writer: list[Any]) -> None:
    @routes.get("/config")
    def level(subjectPrefix: str | None = None) -> Any:
        """Show the registry's level; with a prefix, which Confluent's has not, also those of subjects."""
        shown: dict[str, Any] = {"compatibilityLevel": store.state.level(None) or DEFAULT_LEVEL}
        if subjectPrefix is not None:
            names = [name for name in store.state.subjects() if name.startswith(subjectPrefix)]
            shown["subjects"] = {name: store.state.level_in_force(name) for name in names}
        return RegistryResponse(shown)

    @routes.get("/config/{subject}")
    def subject_level(subject: Subject, defaultToGlobal: Flag = False) -> Any:
        found = store.state.level(subject)
        if found is None and not defaultToGlobal:
            raise RegistryError(404, 40408, _NO_LEVEL.format(subject))
        return RegistryResponse({"compatibilityLevel": found or store.state.level_in_force(subject)})

    @routes.put("/config", dependencies=writer)
    def set_level(body: LevelBody) -> Any:
        store.set_level(None, _level(body))
        return RegistryResponse({"compatibility": body.compatibility})

    @routes.put("/config/{subject}", dependencies=writer)
    def set_subject_level(subject: Subject, body: LevelBody) -> Any:
        store.set_level(subject, _level(body))
        return RegistryResponse({"compatibility": body.compatibility})

    @routes.delete("/config/{subject}", dependencies=writer)
    def delete_subject_level(subject: Subject) -> Any:
        found = store.state.level(subject)
        if found is None:
            raise RegistryError(404, 40408, _NO_LEVEL.format(subject))
        store.set_level(subject, None)
        return RegistryResponse({"compatibilityLevel": found})

    @routes.post("/compatibility/subjects/{subject}/versions")
    def test_all(subject: Subject, body: SchemaBody, verbose: Flag = False) -> Any:
        return _tested(store, subject, _checked(body), store.state.versions(subject), verbose=verbose)

    @routes.post("/compatibility/subjects/{subject}/versions/{version}")
    def test_one(subject: Subject, version: str, body: SchemaBody, verbose: Flag = False) -> Any:
        against = [_version(store, subject, version)]
        return _tested(store, subject, _checked(body), against, verbose=verbose)


def _add_writes(routes: APIRouter, store: Store, writer: list[Any]) -> None:
    @routes.post("/subjects/{subject}/versions", dependencies=writer)
    def register(subject: Subject, body: SchemaBody) -> Any:
        return RegistryResponse({"id": store.register(subject, _checked(body)).id})

    @routes.delete("/subjects/{subject}", dependencies=writer)
    def delete_subject(subject: Subject, permanent: Flag = False) -> Any:
        _soft_only(permanent)
        gone = _existing(store, subject)
        store.delete(gone)
        return RegistryResponse([found.version for found in gone])

    @routes.delete("/subjects/{subject}/versions/{version}", dependencies=writer)
    def delete_version(subject: Subject, version: str, permanent: Flag = False) -> Any:
        _soft_only(permanent)
        found = _version(store, subject, version)
        store.delete([found])
        return RegistryResponse(found.version)


_NO_LEVEL: Final = "Subject '{}' does not have subject-level compatibility configured"


def _once_loaded(store: Store) -> Callable[[], None]:
    """Until the log is read an unknown id may be one not read yet: that must not look like "not found"."""

    def check() -> None:
        if not store.loaded:
            msg = "the registry is still reading its topic, or Kafka is not answering"
            raise TransientError(msg)

    return check


def _writers_only(password: SecretStr) -> Callable[[Request], None]:
    wanted = f"{USER}:{password.get_secret_value()}".encode()

    def check(request: Request) -> None:
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            shown = b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            shown = b""
        if not hmac.compare_digest(shown, wanted):
            raise RegistryError(401, 40101, f"writes need HTTP basic authentication as user {USER}")

    return check


def _checked(body: SchemaBody) -> str:
    if body.schema_type != "AVRO":
        raise RegistryError(422, 42201, "Invalid schema type; this registry holds AVRO only")
    if body.references:
        raise RegistryError(422, 42201, "Invalid schema: no references here; inline the named types")
    parse(body.schema_text)
    return body.schema_text


def _level(body: LevelBody) -> Level:
    try:
        return Level(body.compatibility)
    except ValueError:
        levels = ", ".join(Level)
        raise RegistryError(422, 42203, f"Invalid compatibility level. Valid values are {levels}") from None


def _existing(store: Store, subject: str, *, deleted: bool = False) -> list[Registered]:
    if found := store.state.versions(subject, deleted=deleted):
        return found
    raise RegistryError(404, 40401, f"Subject '{subject}' not found.")


def _version(store: Store, subject: str, version: str, *, deleted: bool = False) -> Registered:
    known = _existing(store, subject, deleted=deleted)
    if version in ("latest", "-1"):
        return known[-1]
    if not version.isascii() or not version.isdigit() or int(version) < 1:
        raise RegistryError(
            422, 42202, "The specified version is not valid: wanted a number from 1, or 'latest'"
        )
    for found in known:
        if found.version == int(version):
            return found
    raise RegistryError(404, 40402, f"Version {int(version)} not found.")


def _text(store: Store, schema_id: int) -> str:
    found = store.state.text(schema_id)
    if found is None:
        raise RegistryError(404, 40403, f"Schema {schema_id} not found")
    return found


def _tested(
    store: Store, subject: str, schema: str, against: list[Registered], *, verbose: bool
) -> RegistryResponse:
    earlier = [(found.version, found.schema) for found in against]
    problems = incompatibilities(schema, earlier, store.state.level_in_force(subject))
    answer: dict[str, Any] = {"is_compatible": not problems}
    return RegistryResponse({**answer, "messages": problems} if verbose else answer)


def _shown(found: Registered) -> dict[str, Any]:
    return {"subject": found.subject, "version": found.version, "id": found.id, "schema": found.schema}


def _soft_only(permanent: bool) -> None:
    if permanent:
        raise RegistryError(
            422, 42206, "permanent deletion is not offered: records already written need their schema"
        )


def _conflict(error: IncompatibleError) -> str:
    details = "; ".join(error.problems)
    return f"Schema being registered is incompatible with an earlier schema for its subject: {details}"
