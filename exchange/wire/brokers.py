"""Which broker leads a partition or coordinates a transaction, and a connection to each."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from exchange.wire.connection import Connection, Login, failed, timed_out
from exchange.wire.messages import FIND_COORDINATOR, METADATA, NO_TAGS

COORDINATOR_MOVED: Final = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
"""Errors after which the coordinator is looked for again, and asked again."""
_PAUSE_S: Final = 0.05


class Of(IntEnum):
    """What a coordinator coordinates."""

    GROUP = 0
    TRANSACTION = 1


class Brokers:
    """Connections to the brokers of one cluster. For one thread at a time, but for `close`."""

    def __init__(self, client: Mapping[str, Any], client_id: str, connect_s: float) -> None:
        """Nothing is connected yet."""
        self._bootstrap = [_address(one) for one in client["bootstrap.servers"].split(",")]
        self._client = client
        self._client_id = client_id
        self._connect_s = connect_s
        self._any: Connection | None = None
        self._addresses: dict[int, tuple[str, int]] = {}
        self._connections: dict[int, Connection] = {}
        self._leaders: dict[tuple[str, int], int] = {}
        self._coordinators: dict[tuple[Of, str], int] = {}

    def leaders(
        self, partitions: Collection[tuple[str, int]], deadline_s: float
    ) -> dict[tuple[str, int], int]:
        """Return the leader of each partition; one that has none is waited for.

        Raises: KafkaException; NotSpokenError.
        """
        code = self._look_up_missing(partitions)
        while code is not None:
            pause(_PAUSE_S, deadline_s, failed(code))
            code = self._look_up_missing(partitions)
        return {partition: self._leaders[partition] for partition in partitions}

    def forget_leaders(self) -> None:
        """Look for them again the next time: one may have moved."""
        self._leaders.clear()

    def to(self, node: int) -> Connection:
        """Return a connection to a broker. Raises: KafkaException; NotSpokenError."""
        connection = self._connections.get(node)
        if connection is None:
            connection = self._connections[node] = self._connect(self._addresses[node])
        return connection

    def coordinator(self, of: Of, key: str, deadline_s: float) -> Connection:
        """Return a connection to the coordinator of a group or a transactional.id; it is waited for.

        Raises: KafkaException; NotSpokenError.
        """
        while (of, key) not in self._coordinators:
            _, found, _ = self._ask_any(FIND_COORDINATOR, (of, [key], NO_TAGS), deadline_s)
            [(_, node, host, port, code, _, _)] = found
            if not code:
                self._addresses[node] = (host, port)
                self._coordinators[of, key] = node
            elif code not in COORDINATOR_MOVED:
                raise failed(code)
            else:
                pause(_PAUSE_S, deadline_s, timed_out())
        return self.to(self._coordinators[of, key])

    def forget_coordinator(self, of: Of, key: str) -> None:
        """Look for it again the next time: it has moved."""
        self._coordinators.pop((of, key), None)

    def open(self) -> tuple[Connection, ...]:
        """Return the connections to leaders and coordinators."""
        return tuple(self._connections.values())

    def refresh(self) -> None:
        """Let go of connections that may not live much longer; nothing may be under way on them."""
        for node, connection in tuple(self._connections.items()):
            if connection.is_stale:
                del self._connections[node]
                connection.close()

    def close(self) -> None:
        """End all connections; a call that waits in another thread fails."""
        for connection in (*self.open(), *([self._any] if self._any is not None else ())):
            connection.close()

    def _look_up_missing(self, partitions: Collection[tuple[str, int]]) -> int | None:
        """Ask for leaders that are not known; return why there is none of one, None when all are known."""
        missing = {place for place in partitions if place not in self._leaders}
        problem = self._look_up({topic for topic, _ in missing}) if missing else None
        if missing <= self._leaders.keys():
            return None
        return problem or int(KafkaError.UNKNOWN_TOPIC_OR_PART)

    def _look_up(self, topics: Collection[str]) -> int | None:
        """Ask who leads the partitions of topics; return the first error of one that nobody leads."""
        named = [(0, 0, topic, NO_TAGS) for topic in sorted(topics)]
        within_s = time.monotonic() + self._connect_s
        _, brokers, _, _, found, _ = self._ask_any(METADATA, (named, False, False, NO_TAGS), within_s)
        for node, host, port, _, _ in brokers:
            self._addresses[node] = (host, port)
        problem: int | None = None
        for code, topic, _, _, _, partitions, _, _ in found:
            problem = problem or code or None
            for code_of_partition, number, leader, _, _, _, _, _ in partitions:
                if leader >= 0:
                    self._leaders[topic, number] = leader
                else:
                    problem = problem or code_of_partition
        return problem

    def _ask_any(self, kind: Any, fields: tuple[Any, ...], deadline_s: float) -> tuple[Any, ...]:
        """Ask any broker; a connection that has died meanwhile is made anew, once."""
        if self._any is not None and not self._any.is_stale:
            try:
                return self._any.ask(kind, fields, deadline_s)
            except KafkaException:
                pass  # said below, by a broker that is there
        self._any = self._connect_any()
        return self._any.ask(kind, fields, deadline_s)

    def _connect_any(self) -> Connection:
        if self._any is not None:
            self._any.close()
        problem: KafkaException | None = None
        for address in (*self._bootstrap, *self._addresses.values()):
            try:
                return self._connect(address)
            except KafkaException as error:
                problem = problem or error
        raise problem or failed(KafkaError._TRANSPORT)  # noqa: SLF001 - librdkafka's own code

    def _connect(self, address: tuple[str, int]) -> Connection:
        return Connection(address, Login.of(self._client), self._client_id, self._connect_s)


def pause(pause_s: float, deadline_s: float, otherwise: KafkaException) -> None:
    """Wait before something is tried again. Raises: `otherwise`, at once where that would be too late."""
    if time.monotonic() + pause_s > deadline_s:
        raise otherwise
    time.sleep(pause_s)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)
