"""Whose request it is: the one header that says so, and the key in it."""

from __future__ import annotations

from fastapi import Request

from connectors.http.keys import ApiKeys
from connectors.http.problem import Problem, try_later
from exchange.errors import ExchangeError


def key_owner(asked: Request, keys: ApiKeys, again: str) -> str:
    """Return whose key a request carries. again: what to do where the keys cannot be read just now.

    Raises: Problem 401 without a valid key, 400 with two, 503 when a secret is not as it should be.
    """
    scheme, _, key = (one_header(asked, "authorization") or "").partition(" ")
    try:
        owner = keys.owner(key.strip()) if scheme.lower() == "bearer" else None
    except ExchangeError:
        raise try_later(503, "the secret with the keys cannot be used", again) from None
    if owner is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "a valid key is wanted: `Authorization: Bearer <key>`", headers=headers)
    return owner


def one_header(asked: Request, name: str) -> str | None:
    """Return a header's value; two of it could be read in two ways.

    Raises: Problem 400 when it is given more than once.
    """
    values = asked.headers.getlist(name)
    if len(values) > 1:
        raise Problem(400, f"header {name} is given {len(values)} times; once is wanted")
    return values[0] if values else None
