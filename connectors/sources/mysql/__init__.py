"""MariaDB 10.5 and later, and MySQL 8.0 and later, by the binary log with python-mysql-replication.

One change's way: binlog.py (events from the server, read by a thread) → transaction.py (what they mean), with
progress.py and numbering.py (how far the log was taken, and each change's number), statement.py (what a
statement does to captured tables) and prepared.py (XA transactions, until their end) → rowevent.py with
rowimage.py (a row's bytes to the texts that the server itself would print) → shapes.py with tablemap.py and
types.py (Debezium envelope in Avro) → stream.py (batches and their positions) → source.py, which the runner
calls. snapshot.py reads what was there before the stream began, through the same converters; gap.py refuses
to go on where changes may be missing, failover.py finds the place to go on at in a promoted replica's log.
The library gives events and the table map's names and types; its row values are not used: they turn zero
dates into null and lose the difference between an empty set and none.
"""
