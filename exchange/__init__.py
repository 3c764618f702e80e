"""The core of the exchange bus: contracts, masks, views and plans over plain values, and its edges."""

__version__ = "0.1.0"
