"""`exchange adopt`: a topology and contracts for a cluster that runs already; it looks, and changes nothing.

found.py: what is looked at; plan.py: what the bus's own plan says; debezium.py: topics that a Debezium
writes; users.py: who reads; document.py: the files; proof.py: what a plan against them would still do.
"""
