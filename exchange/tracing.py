"""Traces of control operations by OpenTelemetry: off unless OTEL_EXPORTER_OTLP_ENDPOINT names a receiver.

A span has the operation, names out of topology.yaml, and how it ended. No text of an error, no argument that
is not a name: what people type may hold anything. An operation waits a few seconds at most for its trace, and
never fails by it.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from exchange import __version__, log

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NAMES: Final = frozenset({"subscriber", "view", "request", "version", "kind"})
"""Arguments and attributes that may be in a span, as `exchange.<name>`."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,199}", re.ASCII)
_GIVE_UP_S: Final = 3

_Command = TypeVar("_Command", bound=Callable[..., Any])
_log = log.get(__name__)
_provider: Any = None
"""The SDK's provider of this process; None where nothing is traced."""


def traced(command: _Command, operation: str) -> _Command:
    """Return a command that leaves a trace where the environment asks for one."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        global _provider
        if not any(os.environ.get(name) for name in ENDPOINTS) or not _start():
            return command(*args, **kwargs)
        given = inspect.signature(command).bind(*args, **kwargs).arguments
        try:
            with span(operation, **given):
                return command(*args, **kwargs)
        finally:
            _provider.shutdown()
            _provider = None

    return run  # type: ignore[return-value]


@contextmanager
def span(name: str, **attributes: object) -> Iterator[None]:
    """Make what is done inside a span, below the one it is in; nothing where nothing is traced."""
    if _provider is None:
        yield
        return
    from opentelemetry.trace import Status, StatusCode

    tracer = _provider.get_tracer("exchange", __version__)
    with tracer.start_as_current_span(
        name, attributes=_allowed(attributes), record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:
            code = getattr(error, "exit_code", None)
            if isinstance(code, int):
                current.set_attribute("exchange.exit_code", code)
            if code not in (0, 2):
                current.set_attribute("error.type", type(error).__name__)
                current.set_status(Status(StatusCode.ERROR))
            raise


def _allowed(attributes: dict[str, object]) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for name, value in attributes.items():
        if name in NAMES and (isinstance(value, int) or (isinstance(value, str) and _NAME.fullmatch(value))):
            found[f"exchange.{name}"] = value
    return found


def _start() -> bool:
    """Set the SDK up; return whether it is there."""
    global _provider
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("not_traced", hint="pip install exchange-bus[otel]")
        return False
    resource = Resource.create({"service.name": "exchange-bus", "service.version": __version__})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=_GIVE_UP_S)))
    return True
