"""The one way to log: an event name and allow-listed keys. No value of a record can pass.

Keys that are not listed are dropped (their names are kept, so that the omission is seen). Exceptions become
their class and the place that raised them: texts of drivers and codecs often quote the data.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Final

import structlog

from exchange.errors import ExchangeError

# fmt: off
ALLOWED_KEYS: Final = frozenset(
    {
        "bytes", "changes", "command", "component", "contract", "delivered", "error", "event",
        "exit_code", "field", "filtered", "first_offset", "group", "hint", "lag_records", "last_offset",
        "level", "lsn", "native", "offset", "part", "partition", "partitions", "path", "pid", "plan_version",
        "port", "principal", "publication", "reason", "records", "refused", "resource", "resources",
        "retry_after_s", "rule", "schema_id", "signal", "slot", "stage", "state", "status", "stream",
        "subject", "subscriber", "system", "table", "timeout_s", "timestamp", "took_ms", "topic",
        "transaction_rows", "url", "view", "views", "waited_s", "where", "worker",
    }
)
# fmt: on


def configure(level: str, *, json_lines: bool = False) -> None:
    """Send this process's log to stderr: ours by key, other libraries' by class of event only."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _describe_exception,
            _keep_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # not PrintLoggerFactory(sys.stderr): stderr is what it is when the line is written
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ForeignFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def get(logger: str) -> Any:
    """Return a module's logger; use: `_log.info("event_name", topic=...)`."""
    return structlog.get_logger(component=logger)


def where(error: BaseException) -> str:
    """Return file and line that raised an error, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"


def _describe_exception(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = describe(error)
        event["where"] = where(error)
    return event


def describe(error: BaseException) -> str:
    """Return the class of an error, and its text only where we wrote the text ourselves."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, ExchangeError) else name


def _keep_allowed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    dropped = sorted(set(event) - ALLOWED_KEYS)
    kept = {key: value for key, value in event.items() if key in ALLOWED_KEYS}
    if dropped:
        kept["hint"] = "dropped keys: " + ",".join(dropped)
    return kept


class _ForeignFormatter(logging.Formatter):
    """Other libraries' records: origin and template, without arguments or exception text."""

    def format(self, record: logging.LogRecord) -> str:
        template = record.msg if record.args and isinstance(record.msg, str) else "message withheld"
        error = ""
        if record.exc_info and isinstance(record.exc_info[1], BaseException):
            error = f" error={type(record.exc_info[1]).__name__}"
        return f"{record.levelname.lower()} {record.name}:{record.lineno} {template!r}{error}"


def uncaught(error: BaseException) -> None:
    """Log an error that nobody foresaw: its class and place, not its text, which may quote data."""
    get("uncaught").error("uncaught_exception", exc_info=error)


def silence_tracebacks() -> None:
    """Make every uncaught exception, also of a thread, print its class and place instead of its text."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        uncaught(error)

    def thread_hook(given: threading.ExceptHookArgs) -> None:
        if given.exc_value is not None and not isinstance(given.exc_value, SystemExit):
            uncaught(given.exc_value)

    def unraisable_hook(given: sys.UnraisableHookArgs) -> None:
        if given.exc_value is not None:
            uncaught(given.exc_value)

    sys.excepthook = hook
    threading.excepthook = thread_hook
    sys.unraisablehook = unraisable_hook
