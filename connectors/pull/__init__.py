"""HTTP pull: `GET /pull/<view>?after=<cursor>`, for subscribers without a Kafka client.

server.py: the process; door.py: the HTTP side; question.py, answer.py: from and to HTTP; page.py: an answer's
records, read from Kafka as the subscriber who asks; lane.py, taking.py: partitions, and the order of
reading; cursor.py: how far a reader is, kept by the reader; pool.py: open connections; openapi.py: the
document; tally.py: figures.
"""
