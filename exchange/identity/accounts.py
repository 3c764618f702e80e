"""Users, sessions and tokens, in the store of requests. Of what lets somebody in, only hashes are kept.

A session or token is looked up at every request: ended, revoked, expired or disabled, it holds no more.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets as random_secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from exchange.errors import LoginError
from exchange.governance.store import Store
from exchange.identity import passwords
from exchange.identity.caller import Known

TOKEN_PREFIX: Final = "exb_"  # noqa: S105 - scanners of leaked secrets look for it
_TABLES: Final = sa.MetaData()
_ACCOUNTS: Final = sa.Table(
    "accounts",
    _TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("password", sa.Text),
    sa.Column("disabled", sa.Boolean),
    sa.Column("changed_at", sa.Text),
)
_SESSIONS: Final = sa.Table(
    "sessions",
    _TABLES,
    sa.Column("id_sha256", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("groups", sa.Text),
    sa.Column("expires_at", sa.Text),
)
_TOKENS: Final = sa.Table(
    "tokens",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("roles", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("token_sha256", sa.Text),
    sa.Column("expires_at", sa.Text),
    sa.Column("revoked", sa.Boolean),
)


class Accounts:
    """What the store knows of who may come in."""

    def __init__(self, store: Store, now: Callable[[], dt.datetime]) -> None:
        """now: the time, aware."""
        self._store = store
        self._now = now

    def any(self) -> bool:
        """Return whether there is a user or a token: from the first one on, nobody comes in without."""
        with self._store.beside() as connection:
            return any(
                connection.scalar(sa.select(sa.exists().where(column.is_not(None))))
                for column in (_ACCOUNTS.c.name, _TOKENS.c.id)
            )

    def add(self, name: str, password: str) -> None:
        """Add a user. Raises: LoginError when there is one, or the password does not fit."""
        kept = passwords.hashed(password)
        with self._store.beside() as connection:
            if _account(connection, name) is not None:
                msg = f"user {name} is there already; `exchange user password {name}` changes the password"
                raise LoginError(msg)
            row = {"name": name, "password": kept, "disabled": False, "changed_at": self._stamp()}
            connection.execute(sa.insert(_ACCOUNTS).values(row))

    def set_password(self, name: str, password: str) -> None:
        """Change a password and end the user's sessions. Raises: LoginError when there is no such user."""
        kept = passwords.hashed(password)
        with self._store.beside() as connection:
            self._change(connection, name, {"password": kept})

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Shut a user out, or let them in again; sessions end, tokens rest. Raises: LoginError as before."""
        with self._store.beside() as connection:
            self._change(connection, name, {"disabled": disabled})

    def users(self) -> list[dict[str, Any]]:
        """Return the users by name: name, disabled, changed_at, sessions."""
        query = sa.select(_ACCOUNTS.c.name, _ACCOUNTS.c.disabled, _ACCOUNTS.c.changed_at)
        live = sa.select(_SESSIONS.c.name).where(_SESSIONS.c.expires_at > self._stamp())
        with self._store.beside() as connection:
            sessions = list(connection.scalars(live))
            found = connection.execute(query.order_by(_ACCOUNTS.c.name)).mappings()
            return [dict(row) | {"sessions": sessions.count(row["name"])} for row in found]

    def is_password(self, name: str, password: str) -> bool:
        """Return whether a user who is not shut out has this password; takes as long for nobody's name."""
        with self._store.beside() as connection:
            found = _account(connection, name)
        right = passwords.is_right("" if found is None else found["password"], password)
        return right and found is not None and not found["disabled"]

    def open_session(self, name: str, groups: tuple[str, ...] | None, lasts_s: int) -> str:
        """Return the id of a new session, of which the store has the hash.

        groups: of the identity provider, None after a password. Raises: LoginError when the user is disabled.
        """
        id_ = random_secrets.token_urlsafe(32)
        row = {
            "id_sha256": _hash(id_),
            "name": name,
            "groups": None if groups is None else json.dumps(groups),
            "expires_at": self._stamp(lasts_s),
        }
        with self._store.beside() as connection:
            found = _account(connection, name)
            if found is not None and found["disabled"]:
                msg = f"user {name} is disabled; an administrator can let them in again"
                raise LoginError(msg)
            connection.execute(sa.delete(_SESSIONS).where(_SESSIONS.c.expires_at <= self._stamp()))
            connection.execute(sa.insert(_SESSIONS).values(row))
        return id_

    def session(self, id_: str) -> Known | None:
        """Return whose session it is; None when it is over, or nobody's."""
        query = sa.select(_SESSIONS).where(
            _SESSIONS.c.id_sha256 == _hash(id_), _SESSIONS.c.expires_at > self._stamp()
        )
        with self._store.beside() as connection:
            found = connection.execute(query).mappings().first()
            if found is None or _is_disabled(connection, found["name"]):
                return None
        groups = found["groups"]
        return Known(found["name"], None if groups is None else tuple(json.loads(groups)))

    def end_session(self, id_: str) -> None:
        """End a session."""
        with self._store.beside() as connection:
            connection.execute(sa.delete(_SESSIONS).where(_SESSIONS.c.id_sha256 == _hash(id_)))

    def new_token(self, name: str, roles: tuple[str, ...], note: str, lasts_s: int) -> tuple[int, str]:
        """Return number and text of a new token; nobody can be told the text again."""
        token = TOKEN_PREFIX + random_secrets.token_urlsafe(32)
        row = {
            "name": name,
            "roles": json.dumps(roles),
            "note": note,
            "token_sha256": _hash(token),
            "expires_at": self._stamp(lasts_s),
            "revoked": False,
        }
        with self._store.beside() as connection:
            made = connection.execute(sa.insert(_TOKENS).values(row).returning(_TOKENS.c.id))
            return int(made.scalar_one()), token

    def token(self, token: str) -> Known | None:
        """Return whose token it is; None when it is over, revoked, or nobody's."""
        query = sa.select(_TOKENS).where(
            _TOKENS.c.token_sha256 == _hash(token),
            _TOKENS.c.expires_at > self._stamp(),
            _TOKENS.c.revoked.is_(False),
        )
        with self._store.beside() as connection:
            found = connection.execute(query).mappings().first()
            if found is None or _is_disabled(connection, found["name"]):
                return None
        return Known(found["name"], roles=tuple(json.loads(found["roles"])))

    def tokens(self) -> list[dict[str, Any]]:
        """Return the tokens by number: id, name, roles, note, expires_at, state (valid, expired, revoked)."""
        with self._store.beside() as connection:
            found = connection.execute(sa.select(_TOKENS).order_by(_TOKENS.c.id)).mappings().all()
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "roles": json.loads(row["roles"]),
                "note": row["note"],
                "expires_at": row["expires_at"],
                "state": self._state(row),
            }
            for row in found
        ]

    def revoke_token(self, id_: int) -> None:
        """Make a token invalid at once. Raises: LoginError when there is none of that number."""
        with self._store.beside() as connection:
            done = connection.execute(sa.update(_TOKENS).where(_TOKENS.c.id == id_).values(revoked=True))
        if done.rowcount != 1:
            msg = f"there is no token {id_}; `exchange token list` shows all"
            raise LoginError(msg)

    def _state(self, row: Any) -> str:
        if row["revoked"]:
            return "revoked"
        return "valid" if row["expires_at"] > self._stamp() else "expired"

    def _change(self, connection: sa.Connection, name: str, values: dict[str, Any]) -> None:
        changed = sa.update(_ACCOUNTS).where(_ACCOUNTS.c.name == name)
        done = connection.execute(changed.values(values | {"changed_at": self._stamp()}))
        if done.rowcount != 1:
            msg = f"there is no user {name}; `exchange user list` shows all, `exchange user add` adds one"
            raise LoginError(msg)
        connection.execute(sa.delete(_SESSIONS).where(_SESSIONS.c.name == name))

    def _stamp(self, ahead_s: int = 0) -> str:
        """Return the time, later by some seconds, as a text that sorts as times do."""
        return (self._now().astimezone(dt.UTC) + dt.timedelta(seconds=ahead_s)).isoformat(timespec="seconds")


def _account(connection: sa.Connection, name: str) -> Any:
    return connection.execute(sa.select(_ACCOUNTS).where(_ACCOUNTS.c.name == name)).mappings().first()


def _is_disabled(connection: sa.Connection, name: str) -> bool:
    found = _account(connection, name)
    return found is not None and bool(found["disabled"])


def _hash(secret: str) -> str:
    """Return what is kept of 256 random bits, which need no salt and no slow hash."""
    return sha256(secret.encode()).hexdigest()
