"""Who is calling: a bearer token, verified, becomes a frozen `Caller`.

Tokens are JWTs, signed with a shared secret (HS256, nothing else) or with a key of a JWKS file
(RS256, ES256 or EdDSA, as the key says and the token must agree). The algorithm is never taken from
the token. Changed keys and revocations are in force for the next call, remembered tokens included.
Never here: what the caller may do (`scopes.py`, `ownership.py`), or what a revocations file says.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from services.chassis.watched import Unwatched, Watched
from services.domain import errors, identifiers
from services.gateway import fields, scopes
from services.gateway.revocations import Revocations

SECRET_BYTES_MIN: Final = 32
"""RFC 7518, section 3.2: a key at least as long as HS256's output."""

TOKEN_CHARACTERS_MAX: Final = 8_192
"""A longer one is not worth verifying; gRPC refuses headers of about that size anyway."""

_ASYMMETRIC: Final = frozenset({"RS256", "ES256", "EdDSA"})
_REQUIRED_CLAIMS: Final = ("iss", "aud", "sub", "exp")
CLAIM_CHARACTERS_MAX: Final = 200
"""Of a claim that is kept with what its bearer asks for."""

_SCOPE_CHARACTERS_MAX: Final = 2_000

RSA_BITS_MIN: Final = 2048
"""RFC 7518, section 3.3."""

_PRIVATE_PARTS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of a JWK that only its owner may have (RFC 7518, section 6)."""

NOTHING_REVOKED: Final = Unwatched(Revocations())


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as their token says."""

    subject: str
    channel: str
    scopes: frozenset[str]
    customer_number: int | None
    """The one customer that the token is limited to; None for no limit."""
    expire_time: float
    """Seconds since 1970-01-01 UTC, clock skew included; the token is no good from then on."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and the one algorithm it is good for."""

    algorithm: str
    key: Any


class Keys:
    """The keys that tokens may be signed with."""

    def __init__(self, key_by_id: Mapping[str | None, Key]) -> None:
        assert key_by_id
        self._key_by_id = dict(key_by_id)

    @classmethod
    def of_secret(cls, secret: bytes) -> "Keys":
        """Take a shared secret, for HS256. Raises `ValueError` when it is too short to be one."""
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the secret needs at least {SECRET_BYTES_MIN} bytes")
        return cls({None: Key("HS256", secret)})

    @classmethod
    def of_jwks(cls, text: str) -> "Keys":
        """Take the public keys of a JWKS document. Raises `ValueError` when it has anything else."""
        try:
            entries = [entry for entry in json.loads(text)["keys"] if entry.get("use", "sig") == "sig"]
            if any(_PRIVATE_PARTS & entry.keys() for entry in entries):
                raise ValueError("a JWKS file has public keys only: what is in this one is no secret any more")
            keys = [jwt.PyJWK(entry) for entry in entries]
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a JWKS document with public keys") from error
        wrong = sorted({key.algorithm_name for key in keys} - _ASYMMETRIC)
        if wrong or not keys:
            raise ValueError(f"a JWKS file has keys for {', '.join(sorted(_ASYMMETRIC))}, and at least one")
        if any(getattr(key.key, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN for key in keys if key.key_type == "RSA"):
            raise ValueError(f"an RSA key needs at least {RSA_BITS_MIN} bits")
        key_by_id = {key.key_id: Key(key.algorithm_name, key.key) for key in keys}
        if len(key_by_id) != len(keys):
            raise ValueError("two keys of the JWKS file have the same kid")
        return cls(key_by_id)

    def of_token(self, token: str) -> Key:
        """Return the key that a token names, or the only one. Raises `jwt.PyJWTError`, `Unauthenticated`."""
        key_id = jwt.get_unverified_header(token).get("kid")
        key = self._key_by_id.get(key_id)
        if key is None and len(self._key_by_id) == 1 and (key_id is None or None in self._key_by_id):
            (key,) = self._key_by_id.values()
        if key is None:
            raise _invalid("its key (kid) is not known here")
        return key


class Authenticator:
    """Turns the `authorization` metadata of calls into callers; remembers verified tokens until they expire."""

    def __init__(
        self,
        keys: Watched[Keys],
        *,
        revocations: Watched[Revocations] = NOTHING_REVOKED,
        issuer: str,
        audience: str,
        clock_skew_seconds: float,
        tokens_max: int,
        now: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._revocations = revocations
        self._versions = (keys.version, revocations.version)
        self._issuer = issuer
        self._audience = audience
        self._clock_skew_seconds = clock_skew_seconds
        self._tokens_max = tokens_max
        self._now = now
        self._callers: dict[str, Caller] = {}

    def caller_of(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller:
        """Tell who calls.

        Raises `Unauthenticated` with TOKEN_MISSING, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, TOKEN_REVOKED
        or TOKEN_INVALID.
        """
        versions = (self._keys.look(), self._revocations.look())
        if versions != self._versions:
            self._versions = versions
            self._callers.clear()
        for key, value in metadata:
            if key == "authorization":
                caller = self._callers.get(value) if isinstance(value, str) else None
                if caller is None:
                    return self._verified(value)
                if caller.expire_time <= self._now():
                    del self._callers[str(value)]
                    raise _expired()
                return caller
        raise errors.Unauthenticated("TOKEN_MISSING", "needs a bearer token in the metadata key authorization")

    def _verified(self, header: str | bytes) -> Caller:
        if not isinstance(header, str):
            raise _invalid("it is no text")
        if len(header) > TOKEN_CHARACTERS_MAX:
            raise _invalid(f"it has more than {TOKEN_CHARACTERS_MAX} characters")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise errors.Unauthenticated("TOKEN_MISSING", "the metadata key authorization needs `Bearer` and a token")
        caller = self._read(token)
        if len(self._callers) >= self._tokens_max:
            del self._callers[next(iter(self._callers))]
        self._callers[header] = caller
        return caller

    def _read(self, token: str) -> Caller:
        try:
            key = self._keys.value.of_token(token)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._clock_skew_seconds,
                options={"require": list(_REQUIRED_CLAIMS)},
            )
            caller = self._caller_of_claims(claims)
            issued_at = float(claims["iat"]) if "iat" in claims else None
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except jwt.ImmatureSignatureError:
            raise errors.Unauthenticated("TOKEN_NOT_YET_VALID", "the token is not valid yet") from None
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"it has no claim {error.claim}") from None
        except (jwt.PyJWTError, errors.Malformed, ValueError, TypeError, OverflowError) as error:
            causes = (cause for kind, cause in _CAUSES.items() if isinstance(error, kind))
            raise _invalid(next(causes, "it, or a claim of it, is not well formed")) from None
        if self._revocations.value.has(claims.get("jti"), issued_at, caller.subject, caller.channel):
            raise errors.Unauthenticated("TOKEN_REVOKED", "the token was revoked")
        return caller

    def _caller_of_claims(self, claims: Mapping[str, Any]) -> Caller:
        customer = claims.get("customer")
        return Caller(
            subject=_text(claims["sub"]),
            channel=_text(claims.get("channel", "")),
            scopes=frozenset(_text(claims.get("scope", ""), _SCOPE_CHARACTERS_MAX).split()),
            customer_number=None if customer is None else identifiers.parse_customer_number(_text(customer)),
            expire_time=float(claims["exp"]) + self._clock_skew_seconds,
        )


def _text(claim: object, characters_max: int = CLAIM_CHARACTERS_MAX) -> str:
    if not isinstance(claim, str):
        raise TypeError
    claim.encode()  # A lone surrogate, which JSON can write, is no text.
    return fields.parse_text(claim, "", characters_max)


def _expired() -> errors.Unauthenticated:
    return errors.Unauthenticated("TOKEN_EXPIRED", "the token has expired")


_CAUSES: Final[dict[type[Exception], str]] = {
    jwt.InvalidAudienceError: "it is meant for others (aud)",
    jwt.InvalidIssuerError: "it is of another issuer (iss)",
    jwt.InvalidAlgorithmError: "its algorithm is not its key's",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.DecodeError: "it is no JWT",
}
"""Said only of the first thing that is wrong; nothing of the claims before the signature is right."""


def _invalid(cause: str) -> errors.Unauthenticated:
    return errors.Unauthenticated("TOKEN_INVALID", f"the token is not valid here: {cause}")


def check_allowed(caller: Caller, call: str) -> None:
    """Raise `Forbidden` (SCOPE_MISSING, TOKEN_LIMITED_TO_CUSTOMER) unless the caller may make `call`."""
    _check_scope(caller, scopes.SCOPE_BY_CALL[call])
    if call in scopes.BANK_WIDE_CALLS:
        check_bank_wide(caller, scopes.SCOPE_BY_CALL[call])


def check_dispensation(caller: Caller, dispensation: str) -> None:
    """Raise `Forbidden` (SCOPE_MISSING) unless the caller may ask to be let off a rule."""
    _check_scope(caller, scopes.SCOPE_BY_DISPENSATION[dispensation])


def check_bank_wide(caller: Caller, scope: str) -> None:
    """Raise `Forbidden` (SCOPE_MISSING, TOKEN_LIMITED_TO_CUSTOMER) unless the caller may look at the whole bank."""
    _check_scope(caller, scope)
    if caller.customer_number is not None:
        raise errors.Forbidden("TOKEN_LIMITED_TO_CUSTOMER", "the token is limited to one customer; this call is not")


def _check_scope(caller: Caller, scope: str) -> None:
    if scope not in caller.scopes:
        raise errors.Forbidden("SCOPE_MISSING", f"needs scope {scope}", {"scope": scope})
