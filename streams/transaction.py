"""The transactional producer of a worker, and what its errors mean for the round.

| what the producer says               | what is done                                                     |
| ------------------------------------ | ---------------------------------------------------------------- |
| fatal, or fenced by another producer | `Fatal`: the process ends and is started anew                    |
| retriable, but for the offsets       | the same call again, for as long as Kafka keeps a transaction    |
| anything else, or no answer in time  | a new producer with the same transactional.id fences the old one |
|                                      | and ends its transaction, then `Replay`                          |

The last row stands where an abort by the same producer would do, were it sure that nothing of the failed
transaction is still on its way. With librdkafka a late EndTxn ends the next transaction of the same epoch
(KAFKA-17754), and a late TxnOffsetCommit takes back the offsets that the next one sent: it has no epoch for
each transaction (KIP-890 part 2). A new producer has a new epoch, and what the old one sent is refused. Our
own producer has such epochs (docs/adr/0039), and is replaced all the same: one way for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Event, Thread
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from faust.types import TP

from exchange import log
from exchange.account import Account
from exchange.block import Outgoing, WriteBlock
from exchange.errors import ExchangeError
from exchange.plan import ACCOUNTS_TOPIC
from exchange.wire.connection import NotSpokenError
from streams.producers import LibrdkafkaProducer, Maker, Producer, first_choice

TRANSACTION_TIMEOUT_S: Final = 30
"""After this Kafka aborts by itself; until then a dead worker's open transaction holds up readers."""
_CALL_S: Final = 5.0
_HUNG_S: Final = 15.0
"""librdkafka 2.16 may keep a repeated send_offsets_to_transaction for ever after its broker was away."""
_RETRY_INIT_S: Final = 1.0
_ERRORS: Final = (KafkaException, NotSpokenError)

_log = log.get(__name__)


class Replay(Exception):
    """The transaction is gone, or nobody knows: go back to the committed offsets and read again."""


class Fatal(ExchangeError):
    """The process cannot go on; a new one can."""


class _Unknown(Exception):
    """What became of a call is not known, or it failed."""


class _LeftError(_Unknown):
    """It is librdkafka that has to write from now on."""


class Outbox:
    """One transaction at a time: begin → send_offsets → write … → commit or abort.

    Not for use by two threads at once.
    """

    def __init__(self, client: dict[str, Any], transactional_id: str, stopping: Event) -> None:
        self.transactional_id = transactional_id
        self.is_open = False
        self._stopping = stopping
        self._client = client | {
            "transactional.id": transactional_id,
            "client.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1000,
        }
        self._made_by: Maker = first_choice()
        self._producer: Producer | None = None

    def start(self) -> None:
        """Connect, fence any earlier producer of this transactional.id and end what it left open.

        Waits for Kafka as long as it takes, or until the worker stops.

        Raises: Fatal.
        """
        while not self._stopping.is_set():
            # A producer whose init_transactions failed for good cannot be asked again: one for each try.
            self._producer = self._made_by(self._client)
            try:
                return self._ask("init_transactions", self._producer.init_transactions)
            except _Unknown as problem:
                self._producer.purge()
                if not isinstance(problem, _LeftError):
                    self._stopping.wait(_RETRY_INIT_S)
        msg = "stopped while waiting for Kafka to accept the transactional producer"
        raise Fatal(msg)

    def begin(self) -> None:
        """Open a transaction.

        Raises: Replay, Fatal.
        """
        try:
            self._in_use.begin_transaction()
        except KafkaException as error:
            self._give_up(self._judge("begin_transaction", error))
        self.is_open = True

    def send_offsets(self, offsets: dict[TP, int], group_metadata: Any) -> None:
        """Add the consumer's next offsets to the open transaction.

        Best before anything is written: while Kafka is still at the end of the transaction before, this call
        is repeated after 5 ms, whereas librdkafka waits for 20 ms before it adds a partition again.
        Source: librdkafka 2.15.0, src/rdkafka_txnmgr.c, CONCURRENT_TRANSACTIONS

        Raises: Replay, Fatal.
        """
        positions = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        producer = self._in_use
        self._attempt(
            "send_offsets_to_transaction",
            lambda timeout_s: producer.send_offsets_to_transaction(positions, group_metadata, timeout_s),
            again=False,
        )

    def write(self, block: WriteBlock) -> None:
        """Add records to the open transaction, in order; waits while the producer's queue is full.

        A record that cannot be delivered later on makes the commit fail.

        Raises: Replay, Fatal.
        """
        producer, written = self._in_use, 0
        try:
            while (written := producer.write(block, written)) < block.count:
                pass  # its queue is full: it has waited a little
        except _ERRORS as error:
            self._give_up(self._judge("produce", error))

    def write_accounts(self, accounts: Iterable[Account]) -> None:
        """Add accounts to the open transaction.

        Raises: Replay, Fatal.
        """
        block = WriteBlock()
        for account in accounts:
            block.add(Outgoing(ACCOUNTS_TOPIC, 0, None, account.encode(), None))
        self.write(block)

    def commit(self) -> None:
        """Commit what was sent and written.

        Raises: Replay when it was not committed, or nobody knows; Fatal.
        """
        try:
            self._in_use.flush(_CALL_S)
        except _ERRORS as error:
            if not _is_retriable(error):  # else the commit goes on waiting
                self._give_up(self._judge("flush", error))
        self._attempt("commit_transaction", self._in_use.commit_transaction)
        self.is_open = False

    def abort(self) -> None:
        """Abort the open transaction, if there is one; afterwards a new one can begin.

        Raises: Fatal.
        """
        if not self.is_open:
            return
        self.is_open = False
        try:
            self._ask("abort_transaction", self._in_use.abort_transaction)
        except _Unknown:
            self._replace()

    def close(self) -> None:
        """Abort what is open and let the producer go."""
        if self._producer is not None:
            self.abort()
            self._producer.purge()
            self._producer = None

    @property
    def _in_use(self) -> Producer:
        if self._producer is None:
            msg = "the transactional producer has not been started"
            raise Fatal(msg)
        return self._producer

    def _attempt(self, step: str, call: Callable[[float], None], *, again: bool = True) -> None:
        try:
            self._ask(step, call, again=again)
        except _Unknown as problem:
            self._give_up(problem)

    def _give_up(self, problem: Exception) -> None:
        """End the transaction. Raises: Replay; the problem when it is Fatal."""
        if isinstance(problem, Fatal):
            raise problem
        self._replace()
        raise Replay

    def _ask(self, step: str, call: Callable[[float], None], *, again: bool = True) -> None:
        """Call until answered; `again` says whether to repeat what is retriable.

        Raises: _Unknown, Fatal.
        """
        give_up_at = time.monotonic() + TRANSACTION_TIMEOUT_S
        while True:
            try:
                return _within(_HUNG_S, step, call)
            except _ERRORS as error:
                problem = self._judge(step, error)
                if not again or isinstance(problem, Fatal) or not _is_retriable(error):
                    raise problem from None
                if time.monotonic() > give_up_at or self._stopping.is_set():
                    raise problem from None

    def _replace(self) -> None:
        self.is_open = False
        old, self._producer = self._producer, None
        if old is not None:
            old.purge()
        _log.warning("producer_replaced", worker=self.transactional_id, reason="transaction outcome unknown")
        self.start()

    def _judge(self, step: str, error: KafkaException | NotSpokenError) -> Fatal | _Unknown:
        """Return what a producer's error means."""
        if isinstance(error, NotSpokenError):
            _log.info("librdkafka_writes", worker=self.transactional_id, reason=str(error))
            self._made_by = LibrdkafkaProducer
            return _LeftError()
        reason: KafkaError = error.args[0]
        _log.warning("transaction_step_failed", command=step, error=reason.name())
        if reason.fatal():
            return Fatal(
                f"Kafka ended this producer in {step}: {reason.name()}. Another process may run with the "
                "same worker id, or the broker was away longer than a transaction lasts; start the worker "
                "again."
            )
        return _Unknown()


def _is_retriable(error: KafkaException | NotSpokenError) -> bool:
    return isinstance(error, KafkaException) and bool(error.args[0].retriable())


def _within(limit_s: float, step: str, call: Callable[[float], None]) -> None:
    """Run a call in a thread that is given up when it does not return. Raises: _Unknown; what it raises."""
    answer: Future[None] = Future()

    def run() -> None:
        try:
            call(_CALL_S)
        except BaseException as error:
            answer.set_exception(error)
        else:
            answer.set_result(None)

    Thread(target=run, name=step, daemon=True).start()
    try:
        answer.result(limit_s)
    except TimeoutError:
        _log.warning("transaction_step_hung", command=step, waited_s=limit_s)
        raise _Unknown from None
