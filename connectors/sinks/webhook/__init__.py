"""Views as signed POST requests to a subscriber, at least once, in order per key.

signing.py: keys and signatures; post.py: one request, and what its answer means; sink.py: the protocol.
"""
