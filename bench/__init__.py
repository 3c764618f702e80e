"""Benchmarks of the bus against its limit and its peers, side by side on parts of their own.

One file a command (pipeline, fanout, subscribers, latency, capture, memory); what they share:

person.py     the record: contract, views, invented rows, and what must be seen of them
ground.py     parts in a temporary home, and the bus declared on them
raw.py        raw records as a connector writes them
pace.py       the clock: what readers can see, watched from outside, the same for every competitor
verify.py     whether the output is whole, single and masked: a competitor that cheats is an error
peers/        programs of the competitors, each a process of its own
"""
