"""Logging in at an identity provider: OpenID Connect, authorization code with PKCE.

Source: OpenID Connect Core 1.0, 3.1; Discovery 1.0; RFC 7636; RFC 9207 (iss in the answer).
"""

from __future__ import annotations

import hmac
import json
import re
import secrets as random_secrets
import threading
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import httpx
import redis
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from exchange.errors import ConfigError, LoginError, TransientError
from exchange.governance.noting import BUS
from exchange.identity.caller import MACHINE, Known
from exchange.settings import OIDC_SECRET, Settings

STATE_S: Final = 600
_ALGORITHMS: Final = ["RS256", "PS256", "ES256", "ES384"]
"""Signatures with a public key alone: `none` and those with a shared secret are refused."""
_NEEDED: Final = {"authorization_endpoint", "token_endpoint", "jwks_uri"}
_LEEWAY_S: Final = 60
_FRESH_S: Final = 300
_TIMEOUT_S: Final = 10.0
_PREFIX: Final = "exchange:oidc:"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_AGAIN: Final = "log in anew from the console"


class Provider:
    """The identity provider that settings name."""

    def __init__(self, settings: Settings, client: redis.Redis) -> None:
        """client: where a login that has begun is kept until the browser is back, once."""
        if settings.oidc_client_id is None or settings.oidc_public_url is None:
            msg = "EXCHANGE_OIDC_ISSUER needs EXCHANGE_OIDC_CLIENT_ID and EXCHANGE_OIDC_PUBLIC_URL beside it"
            raise ConfigError(msg)
        self._settings = settings
        self._issuer = (settings.oidc_issuer or "").rstrip("/")
        self._client_id = settings.oidc_client_id
        self._return_url = settings.oidc_public_url.rstrip("/") + "/api/login/oidc/callback"
        self._redis = client
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._read: tuple[dict[str, Any], KeySet] | None = None

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the monitor by https."""
        return self._return_url.startswith("https://")

    def begin(self) -> tuple[str, str]:
        """Return the provider's URL to go to, and the state that the browser has to bring back.

        Raises: TransientError when the provider or Redis does not answer.
        """
        metadata = self._known()[0]
        state, nonce, verifier = (random_secrets.token_urlsafe(48) for _ in range(3))
        kept = json.dumps({"nonce": nonce, "verifier": verifier})
        try:
            self._redis.set(_key(state), kept, ex=STATE_S)
        except redis.RedisError as error:
            raise _redis_away(error) from None
        url = prepare_grant_uri(
            metadata["authorization_endpoint"],
            client_id=self._client_id,
            response_type="code",
            redirect_uri=self._return_url,
            scope="openid profile",
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return str(url), state

    def end(self, answered: Mapping[str, str], state: str) -> Known:
        """Return who has logged in, by what the browser came back with.

        1. the state is the one this browser left with, and is used once; 2. the code is exchanged with the
        verifier; 3. the token is signed by the provider, for this client, for this login, and not over.

        Raises: LoginError when it is not so; TransientError when somebody does not answer.
        """
        kept = self._taken(answered.get("state", ""), state)
        if "error" in answered or "code" not in answered:
            why = _word(answered.get("error", "no code"))
            msg = f"the identity provider did not log you in ({why}); {_AGAIN}"
            raise LoginError(msg)
        if answered.get("iss", self._issuer).rstrip("/") != self._issuer:
            msg = f"the answer is another provider's; {_AGAIN}"
            raise LoginError(msg)
        tokens = self._exchanged(answered["code"], kept["verifier"])
        claims = self._claims(str(tokens.get("id_token", "")), kept["nonce"])
        return self._person(claims, str(tokens.get("access_token", "")))

    def _taken(self, answered: str, state: str) -> dict[str, str]:
        if not state or not hmac.compare_digest(answered.encode(), state.encode()):
            msg = f"this login did not begin in this browser, or its cookie is gone; {_AGAIN}"
            raise LoginError(msg)
        try:
            kept: Any = self._redis.getdel(_key(state))
        except redis.RedisError as error:
            raise _redis_away(error) from None
        if kept is None:
            msg = f"this login was used already, or took more than {STATE_S} s; {_AGAIN}"
            raise LoginError(msg)
        found: dict[str, str] = json.loads(kept)
        return found

    def _exchanged(self, code: str, verifier: str) -> dict[str, Any]:
        secret = self._settings.secrets.get(OIDC_SECRET).get_secret_value()
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._return_url,
            "code_verifier": verifier,
        }
        return _asked("POST", self._known()[0]["token_endpoint"], data=body, auth=(self._client_id, secret))

    def _claims(self, id_token: str, nonce: str) -> dict[str, Any]:
        wanted = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._known()[0]["issuer"]},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for is_last in (False, True):
            try:
                token = jwt.decode(id_token, self._known(anew=is_last)[1], algorithms=_ALGORITHMS)
                wanted.validate(token.claims)
            except (JoseError, ValueError) as error:
                if is_last:  # with the provider's keys as they are now
                    msg = f"the provider's token is not valid ({type(error).__name__}); {_AGAIN}"
                    raise LoginError(msg) from None
            else:
                return dict(token.claims)
        raise AssertionError

    def _person(self, claims: dict[str, Any], access_token: str) -> Known:
        """Return name and groups, of which what the token lacks is asked for."""
        names, groups = self._settings.oidc_name_claim, self._settings.oidc_groups_claim
        if not {names, groups} <= claims.keys() and "userinfo_endpoint" in self._known()[0]:
            headers = {"Authorization": f"Bearer {access_token}"}
            told = _asked("GET", self._known()[0]["userinfo_endpoint"], headers=headers)
            if told.get("sub") == claims["sub"]:
                claims = told | claims
        name = claims.get(names)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (MACHINE, BUS):
            msg = (
                f"the provider's claim '{names}' is no name of people here: lower-case letters, digits, _ "
                "and - are wanted; EXCHANGE_OIDC_NAME_CLAIM names another claim"
            )
            raise LoginError(msg)
        held = claims.get(groups)
        return Known(
            name, tuple(one for one in held if isinstance(one, str)) if isinstance(held, list) else ()
        )

    def _known(self, *, anew: bool = False) -> tuple[dict[str, Any], KeySet]:
        """Return the provider's metadata and keys, asked for every few minutes, or anew."""
        with self._lock:
            if self._read is not None and not anew and time.monotonic() - self._read_at < _FRESH_S:
                return self._read
            metadata = _asked("GET", f"{self._issuer}/.well-known/openid-configuration")
            if str(metadata.get("issuer", "")).rstrip("/") != self._issuer:
                msg = "the provider calls itself otherwise than EXCHANGE_OIDC_ISSUER does; mend the setting"
                raise ConfigError(msg)
            if missing := sorted(_NEEDED - metadata.keys()):
                msg = f"the provider's openid-configuration has no {', '.join(missing)}"
                raise ConfigError(msg)
            try:
                keys = KeySet.import_key_set(_asked("GET", metadata["jwks_uri"]))  # type: ignore[arg-type]
            except (JoseError, KeyError, ValueError) as error:
                msg = f"the provider's keys cannot be read ({type(error).__name__})"
                raise ConfigError(msg) from None
            self._read, self._read_at = (metadata, keys), time.monotonic()
            return self._read


def _asked(method: str, url: str, **given: Any) -> dict[str, Any]:
    """Return the provider's answer. Raises: LoginError when it refuses, TransientError when it is away."""
    try:
        answer = httpx.request(method, url, timeout=_TIMEOUT_S, **given)
        document = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        msg = f"the identity provider does not answer: {type(error).__name__}"
        raise TransientError(msg) from None
    if answer.is_server_error:
        msg = f"the identity provider does not answer: HTTP status {answer.status_code}"
        raise TransientError(msg)
    if not answer.is_success or not isinstance(document, dict):
        msg = f"the identity provider refused (HTTP status {answer.status_code}); {_AGAIN}"
        raise LoginError(msg)
    return document


def _key(state: str) -> str:
    return _PREFIX + sha256(state.encode()).hexdigest()


def _word(text: str) -> str:
    return text if re.fullmatch(r"[a-z_ ]{1,40}", text) else "error"


def _redis_away(error: redis.RedisError) -> TransientError:
    return TransientError(f"logins cannot be kept: Redis, {type(error).__name__}; try again")
