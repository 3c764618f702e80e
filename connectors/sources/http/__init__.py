"""HTTP push as a source: `POST /ingest/<resource>`, answered once the records are committed in Kafka.

source.py: the `Source` protocol over what was pushed; door.py: the HTTP side; request.py: from a body to
rows; openapi.py: the document that says how; recent.py: Redis, for answers while Kafka is away.
"""
