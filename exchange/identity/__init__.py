"""Who somebody is, and what they may see: users, sessions, tokens, and the roles that topology.yaml gives.

caller.py    somebody who was made sure of, and what is theirs to see   pure
passwords.py argon2, slow on purpose
accounts.py  users, sessions and tokens, beside the requests in their store
attempts.py  how often somebody may try to log in, counted in Redis
"""
