"""Abnormal use of what is granted: seen in Kafka, counted in Redis, told or stopped by rules."""
