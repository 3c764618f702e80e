"""What the writer makes of librdkafka's refusals, with a producer that only says them."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from connectors import writer as module
from connectors.position import PositionCodec, SourcePosition
from connectors.source import Batch
from connectors.writer import Writer
from exchange.errors import FencedError, PartError, RestartError
from exchange.keys import Sealer

ENDED = KafkaError(KafkaError._FATAL)
"""All that produce() says once the client has ended: no flag, and not by what."""


class FakeProducer:
    """Refuses every record; `abort_transaction` says why where a reason is given."""

    refusal: KafkaError
    reason: KafkaError | None

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.aborted = 0

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(self, *_arguments: Any, **_named: Any) -> None:
        raise KafkaException(self.refusal)

    def abort_transaction(self, _timeout_s: float) -> None:
        self.aborted += 1
        if self.reason is not None:
            raise KafkaException(self.reason)


def outcome_of(monkeypatch: pytest.MonkeyPatch, refusal: KafkaError, reason: KafkaError | None) -> Exception:
    monkeypatch.setattr(module, "Producer", FakeProducer)
    monkeypatch.setattr(FakeProducer, "refusal", refusal, raising=False)
    monkeypatch.setattr(FakeProducer, "reason", reason, raising=False)
    codec = PositionCodec("s", SecretStr("secret"))
    writer = Writer({}, "cdc-s", {}, 1, lambda _subject, _schema: 1, codec, Sealer({}))
    with pytest.raises(Exception, match="cdc-s") as raised:
        writer.write(Batch([], SourcePosition("s", "1", 1, "slot", 1)))
    return raised.value


def test_a_writer_fenced_between_two_records_leaves_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for a passing trouble, it would begin anew and fence its successor back."""
    fenced = KafkaError(KafkaError._FENCED, "x", fatal=True)
    assert isinstance(outcome_of(monkeypatch, ENDED, fenced), FencedError)


def test_a_client_that_ended_for_another_reason_wants_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    other = KafkaError(KafkaError.INVALID_TXN_STATE, "x", fatal=True)
    assert isinstance(outcome_of(monkeypatch, ENDED, other), RestartError)


def test_a_refused_topic_is_a_matter_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert isinstance(outcome_of(monkeypatch, refused, None), PartError)
