"""What `_librdkafka.pyx` offers to Python."""

from typing import Final

from confluent_kafka import Consumer, Producer

from exchange.block import ReadBlock, WriteBlock

PRODUCER: Final[int]
CONSUMER: Final[int]

def load(path: str) -> int: ...
def proves(client: Consumer | Producer, kind: int) -> bool: ...

class Writer:
    def __init__(self, producer: Producer) -> None: ...
    def write(self, block: WriteBlock, first: int) -> int: ...

class Reader:
    def __init__(self, consumer: Consumer) -> None: ...
    def forward(self, topic: str, partition: int) -> None: ...
    def read(
        self,
        blocks: dict[tuple[str, int], ReadBlock],
        errors: list[tuple[str, int, int, int]],
        max_records: int,
        max_bytes: int,
        wait_ms: int,
    ) -> tuple[int, int]: ...
    def close(self) -> None: ...
