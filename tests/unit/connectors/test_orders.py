"""How a connector hears of orders; it goes on without those for snapshots, not without those for pauses."""

from __future__ import annotations

from unittest.mock import Mock, patch

import pytest
import structlog

from connectors.anew import Anew
from connectors.orders import Orders
from connectors.pausing import Pausing
from connectors.source import Source, TakesOrders
from connectors.sources.mysql.source import MariadbSource
from connectors.sources.postgres.source import PostgresSource
from exchange.errors import PartError, TransientError
from exchange.pauses import Pause, Wish
from exchange.plan import PlannedSystem
from exchange.snapshot_orders import SnapshotOrder, SnapshotOrders

ONE, TWO = (SnapshotOrder(operation=name, table="public.person") for name in ("1f", "2f"))


def orders(topic: Mock) -> tuple[Orders, Mock]:
    source = Mock(spec=PostgresSource)
    with patch("connectors.orders.SnapshotOrders", return_value=topic):
        return Orders({}, "town", source), source


def test_the_order_in_force_is_passed_on_and_then_each_newer_one() -> None:
    topic = Mock(spec=SnapshotOrders)
    topic.read.return_value, topic.newer.side_effect = ONE, [None, TWO]
    made, source = orders(topic)
    for _ in range(3):
        made.heed()
    assert [call.args[0] for call in source.obey.call_args_list] == [ONE, TWO]


def test_what_cannot_be_read_is_said_once_and_capture_goes_on() -> None:
    topic = Mock(spec=SnapshotOrders)
    topic.read.side_effect = PartError("denied")
    topic.newer.side_effect = [PartError("denied"), TWO]
    made, source = orders(topic)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            made.heed()
    assert [entry["reason"] for entry in said] == ["denied"]
    source.obey.assert_called_once_with(TWO)


def test_kafka_away_ends_the_round() -> None:
    topic = Mock(spec=SnapshotOrders)
    topic.read.side_effect = TransientError("away")
    with pytest.raises(TransientError):
        orders(topic)[0].heed()


def test_a_source_that_takes_none_is_asked_for_none() -> None:
    source: Source = Mock(spec=MariadbSource)
    assert not isinstance(source, TakesOrders)
    with patch("connectors.orders.SnapshotOrders") as topic, Orders({}, "town", source) as made:
        made.heed()
    topic.assert_not_called()


def test_a_pause_that_cannot_be_read_ends_the_round() -> None:
    denied = patch.object(Pausing, "read", side_effect=PartError("denied"))
    topic = patch("exchange.orders.CompactedTopic")
    with topic, denied, pytest.raises(PartError), Pausing({}, "town") as pausing:
        pausing.wanted()


def test_the_last_wish_holds_until_there_is_another() -> None:
    pause = Pause(operation="1f", wish=Wish.PAUSE, by="chen-hao", since_ms=0)
    newer = [None, pause.model_copy(update={"wish": Wish.RUN}), None]
    read, told = (
        patch.object(Pausing, "read", return_value=pause), patch.object(Pausing, "newer", side_effect=newer)
    )  # fmt: skip
    with patch("exchange.orders.CompactedTopic"), read, told:
        pausing = Pausing({}, "town")
        assert [pausing.wanted() for _ in range(4)] == [pause, pause, None, None]


def test_a_kind_that_cannot_be_read_anew_is_asked_for_no_orders() -> None:
    with patch("connectors.anew.Resnapshots") as topic:
        anew = Anew({}, PlannedSystem(name="town", kind="http"), [])
        assert (anew.wanted(), anew.begin(Mock(), None)) == (None, None)
    topic.assert_not_called()
