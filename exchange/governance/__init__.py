"""Requests and grants: who may have which view; asked for, decided, granted, ended.

request.py   the table of states and events, and the request as a value     pure
clock.py     working days, deadlines, reminders                             pure
authority.py who may do what                                                pure
store.py     SQLite or PostgreSQL, one writer at a time, with an outbox
relay.py     the outbox into `_exchange.decisions`, each entry once
desk.py      all of it put together, for commands
desired.py   approved grants as part of what `exchange apply` wants
force.py     what was decided, made access and brought into Kafka; the sweep
"""
