"""Attempts, noted in the transaction that carries them out: what was done, or why it was refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final, TypeVar

from exchange.errors import ExchangeError, GovernanceError
from exchange.governance.store import Change, Decision, Store

BUS: Final = "bus"
"""The actor of what the bus does by itself; nobody among the people can have it as a role."""
LONGEST_NAME: Final = 63
"""Of what is noted as somebody wrote it, who may have written anything."""
DoneT = TypeVar("DoneT")


def attempt(
    actor: str,
    event: str,
    version: int,
    now: dt.datetime,
    *,
    request: int = 0,
    about: str = "",
    subscriber: str = "",
    view: str = "",
    reason: str = "",
) -> Decision:
    """Return what is tried, for `noted`. version: the one that was shown."""
    return Decision(
        at=now.isoformat(),
        actor=actor[:LONGEST_NAME],
        event=str(event),
        request=request,
        version=version,
        outcome="",
        subscriber=subscriber[:LONGEST_NAME],
        view=view[: 3 * LONGEST_NAME],
        reason=reason,
        about=about,
    )


def noted(
    store: Store,
    tried: Decision,
    do: Callable[[Change], DoneT],
    done: Callable[[Decision, DoneT], Decision],
    *,
    silent: bool = False,
) -> DoneT:
    """Return what `do` makes, and note it; where it is refused, undo it, note why and then raise that.

    done: what to note, from what was tried and what it came to; silent: nothing is noted.
    """
    refused: GovernanceError | None = None
    with store.change() as change:
        try:
            with change.connection.begin_nested():
                made = do(change)
        except GovernanceError as error:
            refused = error
            if not silent:
                _note_refusal(change, tried, error)
        else:
            if not silent:
                change.note(done(tried, made))
    if refused is not None:
        raise refused
    return made


def looked(store: Store, tried: Decision, look: Callable[[], DoneT]) -> DoneT:
    """Return what `look` finds, outside of any transaction; note why it was refused and raise that."""
    try:
        return look()
    except GovernanceError as error:
        with store.change() as change:
            _note_refusal(change, tried, error)
        raise


def carried_out(
    store: Store, tried: Decision, do: Callable[[], DoneT], done: Callable[[Decision, DoneT], Decision]
) -> DoneT:
    """Return what `do` makes outside of any transaction, and note it then; note a refusal or a failure too.

    What is done this way is seen elsewhere as well, as the note comes after it. done: as of `noted`.

    Raises: what `do` does.
    """
    try:
        made = looked(store, tried, do)
    except GovernanceError:
        raise
    except ExchangeError as error:
        with store.change() as change:
            change.note(tried.model_copy(update={"outcome": "failed", "reason": str(error)}))
        raise
    with store.change() as change:
        change.note(done(tried, made))
    return made


def _note_refusal(change: Change, tried: Decision, error: GovernanceError) -> None:
    change.note(tried.model_copy(update={"outcome": "refused", "reason": str(error)}))
