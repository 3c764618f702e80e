"""The accounts of what is pulled: in Kafka before the answer leaves, so that nothing leaves untold.

An answer has no transaction that it could share: a client that asks with the same cursor again gets the same
records, and each answer has its own accounts. They tell what was handed out, to whom and how often.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.http.problem import try_later
from connectors.ledger import accounts_of
from connectors.pull.page import Page
from connectors.pull.taking import AGAIN
from exchange import log
from exchange.account import Account
from exchange.librdkafka import quiet_logger
from exchange.plan import ACCOUNTS_TOPIC, view_topic

_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.01

_log = log.get(__name__)


class Accounts:
    """Writes accounts, from any number of threads."""

    def __init__(self, client: dict[str, Any]) -> None:
        """client: librdkafka properties of the server's own user. Nothing connects yet."""
        self._client = client
        self._producer = self._connect()

    def keep(self, subscriber: str, view: str, plan_version: int, page: Page) -> None:
        """Write the accounts of one answer, and return once Kafka has them.

        Raises: Problem 503 when Kafka does not take them.
        """
        resource, _, name = view.rpartition(".")
        accounts = accounts_of(
            "pull", f"pull-{subscriber}.{view}", resource, view_topic(resource, name), plan_version,
            page.handed, page.undecodable,
        )  # fmt: skip
        if error := self._write(accounts):
            _log.warning("account_refused", subscriber=subscriber, view=view, reason=error.name())
            raise try_later(503, f"Kafka does not take the account of this answer ({error.name()})", AGAIN)

    def _connect(self) -> Producer:
        own = {"enable.idempotence": True, "linger.ms": 0, "delivery.timeout.ms": round(_ANSWER_S * 1000)}
        return Producer(self._client | own, logger=quiet_logger())

    def _write(self, accounts: Sequence[Account]) -> KafkaError | None:
        producer, told = self._producer, list[KafkaError | None]()

        def note(error: KafkaError | None, _message: Message) -> None:
            told.append(error)

        try:
            for account in accounts:
                producer.produce(ACCOUNTS_TOPIC, account.encode(), partition=0, on_delivery=note)
        except KafkaException as error:
            return self._judged(error.args[0])
        until = time.monotonic() + _ANSWER_S
        while len(told) < len(accounts):
            if time.monotonic() > until:
                return KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - public constant with an underscore
            producer.poll(_POLL_S)
        return next((self._judged(error) for error in told if error is not None), None)

    def _judged(self, error: KafkaError) -> KafkaError:
        """Put a client that cannot go on aside: the next answer gets a new one."""
        if error.fatal():
            self._producer = self._connect()
        return error
