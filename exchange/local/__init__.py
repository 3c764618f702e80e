"""The embedded parts: Kafka, Redis, PostgreSQL and the monitor on one machine, in the background."""

from exchange.local.stack import down, spawn, status, up
from exchange.local.supervisor import Supervisor

__all__ = ["Supervisor", "down", "spawn", "status", "up"]
