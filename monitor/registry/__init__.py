"""The embedded schema registry: Confluent's REST API over a compacted Kafka topic."""
