"""The core of the exchange bus: contracts, masks, views and plans over plain values, and its edges.

Values   change account contract fieldtype rules masking view plan keys errors
Engine   process → engine/ → reference; encoding/ for bytes
Edges    files/ topology/ apply/ quarantine/ subscriber/ local/
         settings log librdkafka cluster registry heartbeat
People   cli → commands/; demo/ shows all of it at once

The modules of the first two lines never import those of the others; `make check` holds them to it.
"""

__version__ = "0.1.0"
