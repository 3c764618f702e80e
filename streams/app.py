"""The Faust app of a stream worker: no tables, no web server, no topics of its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import faust

from streams.poller import Poller, consumer_config
from streams.stage import Stage

GROUP: Final = "exchange-stream"


class StreamApp(faust.App):
    """A Faust app that knows the consumer's settings and the stage that rounds go through."""

    poller: Poller | None = None

    def __init__(
        self,
        *args: Any,
        consumer_config: dict[str, Any],
        stage: Stage,
        on_fatal: Callable[[BaseException], None],
        **kwargs: Any,
    ) -> None:
        self.consumer_config = consumer_config
        self.stage = stage
        self.on_fatal = on_fatal
        super().__init__(*args, **kwargs)

    def _create_directories(self) -> None:
        """Make none: nothing is kept on disk."""


def build_app(
    client: dict[str, Any],
    worker: str,
    topics: Sequence[str],
    stage: Stage,
    on_fatal: Callable[[BaseException], None],
    *,
    group: str = GROUP,
) -> StreamApp:
    """Return an app without agents, see `streams.processors.declare_agent`.

    client: librdkafka properties to connect with; worker: unique among running workers, the consumer's static
    membership hangs on it, and on the topics; on_fatal: called from any thread when the worker cannot go on.
    """
    return StreamApp(
        group,
        consumer_config=consumer_config(client, group, _instance(worker, topics)),
        stage=stage,
        on_fatal=on_fatal,
        broker="bus://",
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        reply_create_topic=False,
        stream_wait_empty=False,
        broker_commit_interval=3600.0,
    )


def _instance(worker: str, topics: Sequence[str]) -> str:
    """Return the static member's name: another one for other topics.

    A static member that comes back within the session timeout is given what it had, without a look at what it
    wants now; it would never read the topics that a newer plan brought. Under a new name it is a new member:
    the partitions move once the old one's session is over.
    """
    return f"{worker}-{zlib.crc32(' '.join(sorted(topics)).encode()):08x}"
