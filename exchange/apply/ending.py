"""The end of a request's grant, certified: a revocation that its request remembers and that bars no other.

The login stays, for a later request may give the view again; and so nothing is written to
`_exchange.revocations`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from exchange.apply.flush import Flush
from exchange.apply.revoke import Revoking, Wish, told_at
from exchange.revocations import Revocation, now
from exchange.settings import Settings


@dataclass(frozen=True, slots=True)
class Ended:
    """A grant that its request says is over: whose, who ended it, why and when."""

    request: int
    subscriber: str
    view: str
    actor: str
    reason: str
    at: dt.datetime


def certify_end(settings: Settings, ended: Ended) -> dict[str, Any]:
    """Take away what access is left of a grant that was ended, and return the certificate that it is gone.

    Raises: as `exchange.apply.revoke.revoke`.
    """
    return _Ending(settings, ended).run()


class _Ending(Revoking):
    """The steps of a revocation but the first and the third."""

    def __init__(self, settings: Settings, ended: Ended) -> None:
        wish = Wish(ended.subscriber, ended.view, ended.actor, ended.reason)
        super().__init__(settings, wish, lambda _step: None)
        self._ended = ended

    def run(self) -> dict[str, Any]:
        """Do every step and return the certificate. Raises: as `certify_end`."""
        flush = Flush(self._client, self._topic)
        self._check()
        self._close()
        gone_at = now()
        ends = self._ends()
        flush.run(self._cluster.client, self._partitions)
        self._confirm()
        return self._sign(
            self._as_revocation(), told_at(gone_at), ends, kind="ended", request=self._ended.request
        )

    def _as_revocation(self) -> Revocation:
        """Return it for the certificate alone, with a reason as long as its request has it."""
        return Revocation.model_construct(
            subscriber=self._ended.subscriber,
            view=self._ended.view,
            kind="revoked",
            actor=self._ended.actor,
            reason=self._ended.reason,
            ordered_at=self._ended.at,
        )
