"""What `_librdkafka.pyx` offers to Python."""

from typing import Final

from confluent_kafka import Consumer, Producer

from exchange.block import WriteBlock

PRODUCER: Final[int]
CONSUMER: Final[int]

def load(path: str) -> int: ...
def proves(client: Consumer | Producer, kind: int) -> bool: ...

class Writer:
    def __init__(self, producer: Producer) -> None: ...
    def write(self, block: WriteBlock, first: int) -> int: ...
