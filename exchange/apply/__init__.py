"""`exchange apply`: what it looks at, what it changes and in which order.

work.py: the whole of it; steps.py: how it is shown; access.py: who may do what; ownership.py: what may be
taken away; schemas.py: the registry; source.py: publications in the departments' databases;
publish.py: the plan that workers and connectors run.
"""
