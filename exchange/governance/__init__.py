"""Requests and grants, and objections to what was delivered: asked for, decided, ended.

request.py   the table of states and events, and the request as a value     pure
clock.py     working days, deadlines, reminders                             pure
authority.py who may do what                                                pure
proposal.py  a view that a request proposes: read, judged, bound to a name  pure
store.py     SQLite or PostgreSQL, one writer at a time, with an outbox
relay.py     the outbox into `_exchange.decisions`, each entry once
desk.py      all of it put together, for commands
desired.py   approved grants and their views as part of what `exchange apply` wants
noting.py    an attempt done, or refused and undone, and noted either way
versioned.py rows with a version in further tables of the store
force.py     what was decided, made access and brought into Kafka; the sweep

objection.py       the table of states and events of an objection                pure
objection_desk.py  what people do with objections
objected.py        the record, its change and later changes of the row, in Kafka
corrections.py     markers in `_exchange.corrections`
"""
