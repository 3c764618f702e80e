"""Why Debezium's engine ended: worth another try, or for a person to mend. Never a value of a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from exchange.errors import SourceError, TransientError

_AGAIN_STATES: Final = ("08", "53", "57", "55006", "40")
"""SQLSTATEs that pass: connection, resources, operator, object in use, rolled back."""
_AGAIN_CLASSES: Final = re.compile(r"(Connect|Socket\w*|EOF|Timeout|Retriable|SQLTransient\w*)Exception$")
_AGAIN_WORDS: Final = re.compile(
    r"refused|timed out|unreachable|connection attempt failed|starting up|shutting down|is active",
    re.IGNORECASE,
)
_LONGEST: Final = 300


def explained(
    system: str, message: Any, error: Any, secrets: Collection[str], *, has_begun: bool
) -> TransientError | SourceError:
    """Return the error for an engine that ended by itself.

    message, error: of its completion callback; has_begun: it was reading, so its texts may hold rows, and the
    classes alone are told.
    """
    causes = list(_causes(error))
    told = " ← ".join(dict.fromkeys(_class(cause) + _state(cause) for cause in causes)) or "no reason given"
    if not has_begun:
        text = next(
            (str(one.getMessage()) for one in reversed(causes) if one.getMessage()), str(message or "")
        )
        told += f": {_harmless(text, secrets)}"
    said = f"source {system}: Debezium's engine has ended: {told}"
    if any(map(_passes, causes)) or (not has_begun and _AGAIN_WORDS.search(told)):
        return TransientError(said)
    return SourceError(
        f"{said}. What was not told yet stays at the source. Mend the cause, by the properties "
        "under `engine` in topology.yaml or at the database; where its log is gone, "
        f"`exchange resnapshot {system}`"
    )


def _causes(error: Any) -> Iterator[Any]:
    seen = 0
    while error is not None and seen < 20:
        yield error
        error, seen = error.getCause(), seen + 1


def _class(cause: Any) -> str:
    return str(cause.getClass().getSimpleName())


def _state(cause: Any) -> str:
    state = _sqlstate(cause)
    return f" (SQLSTATE {state})" if state else ""


def _sqlstate(cause: Any) -> str:
    return str(cause.getSQLState() or "") if hasattr(cause, "getSQLState") else ""


def _passes(cause: Any) -> bool:
    return _sqlstate(cause).startswith(_AGAIN_STATES) or bool(_AGAIN_CLASSES.search(_class(cause)))


def _harmless(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…") if secret else text
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
