"""What every HTTP side of the connectors has in common.

keys.py, login.py: API keys, and whose a request carries; listen.py: the socket; problem.py: errors as problem
details; openapi.py: parts of the documents.
"""
