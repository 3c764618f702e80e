"""The demonstration: three invented departments' databases, their traffic, and the live screen."""
