"""The certificate that the access of an ended grant is gone: made, kept with its request, checked."""

from __future__ import annotations

import datetime as dt

from exchange.apply.ending import Ended, certify_end
from exchange.certificate import Signer, as_text, verify
from exchange.errors import ExchangeError, GovernanceError
from exchange.governance.desired import with_approved
from exchange.governance.desk import Desk
from exchange.governance.request import Event, Request
from exchange.governance.store import Decision
from exchange.settings import Settings
from exchange.topology.model import Topology


def certify(
    settings: Settings, topology: Topology, desk: Desk, actor: str, id_: int, now: dt.datetime
) -> Request:
    """Certify the end of a grant and return its request, which keeps the certificate.

    topology: as it is declared. Raises: GovernanceError when the actor may not, or the view is granted anew;
    else as `certify_end`.
    """
    ended = desk.certifiable(actor, id_, now)
    _expect_not_granted(with_approved(settings, topology), ended)
    by = _by(desk.history(id_))
    certificate = certify_end(
        settings, Ended(id_, ended.subscriber, ended.view, by, ended.reason, ended.since)
    )
    return desk.certified(actor, id_, certificate, now)


def problem_of(settings: Settings, request: Request) -> str:
    """Return what is wrong with the certificate of a request as this installation checks it, or nothing."""
    try:
        verify(text_of(request), Signer(settings.secrets).public_key, f"certificate of request {request.id}")
    except ExchangeError as error:
        return str(error)
    return ""


def text_of(request: Request) -> str:
    """Return the certificate as a file. Raises: GovernanceError when there is none."""
    if request.certificate is None:
        msg = f"request {request.id} has no certificate; there is one of a grant that a steward ended"
        raise GovernanceError(msg)
    return as_text(request.certificate)


def _expect_not_granted(topology: Topology, ended: Request) -> None:
    if any((one.subscriber, one.view) == (ended.subscriber, ended.view) for one in topology.grants):
        msg = (
            f"request {ended.id}: {ended.view} is granted to {ended.subscriber} anew, so its end cannot be "
            "certified; `exchange revoke` takes every grant of it away"
        )
        raise GovernanceError(msg)


def _by(history: list[Decision]) -> str:
    return next((one.actor for one in reversed(history) if one.event == Event.REVOKE), "unknown")
