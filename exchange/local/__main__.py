"""`python -m exchange.local`: fetch Kafka's jars now, so that the first start needs no network."""

from __future__ import annotations

import sys

from exchange.errors import ExchangeError
from exchange.local.jars import class_path


def _say(message: str) -> None:
    sys.stderr.write(f"  {message}\n")


if __name__ == "__main__":
    try:
        class_path(_say)
    except ExchangeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
