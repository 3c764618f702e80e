"""`exchange apply`: what it looks at, what it changes and in which order.

work.py: the whole of it; steps.py: how it is shown; observed.py: what is there now; topics.py, users.py,
schemas.py: these in Kafka and the registry; access.py: who may do what; ownership.py: what access may be
taken away; source.py: publications in the departments' databases; publish.py: the plan that workers and
connectors run; ledger.py: what was made here; leftovers.py: what of that is no longer declared.

grants.py: one subscriber's grants by themselves; proposed.py: views that requests propose, by themselves.
"""
