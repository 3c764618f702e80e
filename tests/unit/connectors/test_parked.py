"""What is parked of a webhook's view: which keys wait, when a refusal is final, what the list tells."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.parked import ParkedView, Refusals
from connectors.sink import RefusedError
from connectors.sinks.webhook.signing import make_key
from connectors.sinks.webhook.sink import WebhookSink
from exchange.change import Op, Position, RecordHeader
from exchange.errors import ConfigError, TransientError
from exchange.settings import Secrets
from exchange.subscriber.batches import Batch, Place
from exchange.subscriber.reader import Received
from tests.conformance.webhook_receiver import WebhookReceiver
from tests.unit.connectors.test_webhook import VIEW, delivery

SECRET = SecretStr("0" * 64)


def record(partition: int, offset: int, key: str | None, *, problem: str = "") -> Received:
    header = RecordHeader(Position(partition, offset, 0), Op.UPDATE, 1000)
    value = {"before": None, "after": {"id": key}}
    return Received(
        VIEW.topic, partition, offset, header, None if key is None else {"id": key}, value, 0, problem
    )


def parked_view(secret: SecretStr = SECRET) -> ParkedView:
    return ParkedView("tax", VIEW.name, secret)


def held(view: ParkedView) -> dict[bytes, bytes]:
    """Return what Kafka holds after the next transaction."""
    return {key: value for key, value in view.take_changes().items() if value is not None}


def test_a_record_without_a_key_belongs_to_every_key_of_its_partition() -> None:
    view = parked_view()
    first, other, truncate = record(0, 1, "a"), record(0, 2, "b"), record(0, 3, None)
    assert not view.holds(truncate)
    view.park(first, 422)
    assert view.holds(record(0, 9, "a"))
    assert not view.holds(other)
    assert not view.holds(record(1, 9, "a"))
    assert view.holds(truncate)
    view.park(truncate, 0)
    assert view.holds(other)
    view.drop((0, 1))
    assert view.holds(record(0, 9, "a"))
    view.drop((0, 3))
    assert not view.holds(record(0, 9, "a"))
    assert not view.holds(truncate)


def test_the_list_is_read_back_and_holds_no_key_and_no_value() -> None:
    before, after = parked_view(), parked_view()
    before.park(record(2, 17, "110101199003078515"), 422)
    kept = held(before)
    after.load(kept, Refusals())

    assert list(kept) == [b"tax/a.b.c/2/17"]
    assert all(b"110101" not in value for value in kept.values())
    assert after.entries == before.entries
    assert after.holds(record(2, 18, "110101199003078515"))
    assert after.is_entry_of((2, 17), record(2, 17, "110101199003078515"))
    assert not after.is_entry_of((2, 17), record(2, 18, "110101199003078515"))
    assert "1 record parked" in after.alarm({})
    assert "GONE" not in after.alarm({2: 17})
    assert "1 of them GONE" in after.alarm({2: 18})


def test_entries_of_another_view_or_subscriber_are_not_ours() -> None:
    ours = parked_view()
    for name, view in (("tax", "a.b.c2"), ("taxes", "a.b.c")):
        other = ParkedView(name, view, SECRET)
        other.park(record(0, 1, "a"), 422)
        ours.load(held(other), Refusals())
    assert ours.entries == {}


def test_a_list_of_another_secret_or_version_is_refused() -> None:
    view = parked_view()
    view.park(record(0, 1, "a"), 422)

    with pytest.raises(ConfigError, match="EXCHANGE_POSITION_KEY"):
        parked_view(SecretStr("1" * 64)).load(held(view), Refusals())
    with pytest.raises(ConfigError, match="not written by this version"):
        parked_view().load({b"tax/a.b.c/0/1": b"else"}, Refusals())


@pytest.fixture
def there(tmp_path: Path) -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver(make_key(Secrets(tmp_path), "KEYS", "hmac", only=True))
    yield receiver
    receiver.close()


def test_only_what_met_with_refusals_alone_for_long_enough_is_parked(
    there: WebhookReceiver, tmp_path: Path
) -> None:
    """The clock is set; each try is a sink of its own, as in the rounds of a delivery."""
    now_s = iter((0.0, 70.0, 129.0, 131.0))  # not asked at the 503
    refusals = Refusals(lambda: next(now_s))
    tries = ([200, 422], [200, 503], [200, 422], [200, 422], [200, 422, 422])
    statuses = chain(*tries, repeat(200))
    there.answer = lambda: (next(statuses), {})

    def attempt() -> WebhookSink:
        sink = WebhookSink(delivery(there.url, park_after_s=60), VIEW, Secrets(tmp_path))
        sink.parked.load({}, refusals)
        sink.open()
        try:
            assert sink.write(Batch(records, {0: Place(7)})) == {(0, 3), (0, 5)}
        finally:
            sink.close()
        return sink

    keys = ("a", "a", "a", "bad", "b", "bad", "c")
    records = [record(0, offset, key) for offset, key in enumerate(keys)]
    for error in (RefusedError, TransientError, RefusedError, RefusedError):
        with pytest.raises(error):
            attempt()
    parked = attempt().parked

    assert [(at, one.status) for at, one in parked.entries.items()] == [((0, 3), 422), ((0, 5), 0)]
    sent = [[one["offset"] for one in posted.data["records"]] for posted in there.posted]
    assert sent == [[0, 1, 2], [3, 4, 5]] * 5 + [[3], [4], [6]]
