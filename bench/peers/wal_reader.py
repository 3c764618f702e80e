"""The limit of reading a log in Python: psycopg2 receives pgoutput's messages, nobody decodes them.

`python -m bench.peers.wal_reader <settings.json>`; settings: dsn, slot, publication, warm_up, records
(inserts that come after the warm-up's), out (file for the result).
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from typing import Any, Final

import psycopg2
from psycopg2.extras import LogicalReplicationConnection

_INSERT: Final = b"I"
_LINGER_S: Final = 1.0
"""How long to look for more than was asked for."""


def main(settings: dict[str, Any]) -> None:
    """Read until all inserts have come; write their number and the time of those after the warm-up."""
    connection = psycopg2.connect(settings["dsn"], connection_factory=LogicalReplicationConnection)
    cursor = connection.cursor()
    options = {"proto_version": "1", "publication_names": settings["publication"]}
    cursor.start_replication(slot_name=settings["slot"], decode=False, options=options)
    warm_up, wanted = settings["warm_up"], settings["warm_up"] + settings["records"]
    seen, began, ended, lsn = 0, 0.0, 0.0, 0
    while seen < wanted or time.monotonic() < ended + _LINGER_S:
        message = cursor.read_message()
        if message is None:
            select.select([cursor], [], [], 0.1)
            continue
        lsn = message.data_start
        if message.payload[:1] == _INSERT:
            seen += 1
            if seen == warm_up:
                began = time.monotonic()
            if seen == wanted:
                ended = time.monotonic()
    cursor.send_feedback(flush_lsn=cursor.wal_end or lsn, force=True, reply=True)
    time.sleep(0.2)
    connection.close()
    Path(settings["out"]).write_text(
        json.dumps({"seen": seen, "counted": settings["records"], "seconds": ended - began})
    )


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
