"""Versions that a decision names: by If-Match (RFC 9110), in the body, or both alike.

However it was named, a version that is there no more is answered 412.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response

from monitor.api.problem import Refused

IfMatch = Annotated[str | None, Header(max_length=20, description='Version, like "2".')]


def version_of(given: int | None, if_match: str | None, *, is_needed: bool = True) -> int:
    """Return the version that was looked at; 0 where none is needed and none was said. Raises: Refused."""
    tag = (if_match or "").strip('"')
    if if_match is not None and not (tag.isascii() and tag.isdigit()):
        raise Refused(400, 'If-Match: the version that was looked at is wanted, like "2"')
    said = {int(tag)} if tag else set()
    said |= {given} if given is not None else set()
    if len(said) > 1 or (not said and is_needed):
        raise Refused(400, "one version is wanted, as it was looked at: in If-Match, or in the body")
    return said.pop() if said else 0


def tag(response: Response, version: int) -> None:
    """Say which version an answer shows."""
    response.headers["ETag"] = f'"{version}"'
