"""topology.yaml: its models, its checks, and errors that point at the line.

file.py: reading, with every problem reported at once; model.py: what each section may hold; references.py:
what the sections must say about one another; doc.py: docs/topology.md.
"""

from exchange.topology.file import Loaded, check, load, read, today
from exchange.topology.model import Department, Grant, Resource, Subscriber, System, Topology

__all__ = [
    "Department",
    "Grant",
    "Loaded",
    "Resource",
    "Subscriber",
    "System",
    "Topology",
    "check",
    "load",
    "read",
    "today",
]
