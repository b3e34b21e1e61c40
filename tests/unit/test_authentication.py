"""Who a bearer token says is calling, and which tokens are no good."""

import hmac
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from services.chassis.watched import LOOK_SECONDS, Unwatched, WatchedFile
from services.domain import errors, identifiers
from services.gateway.authentication import TOKEN_CHARACTERS_MAX, Authenticator, Caller, Keys
from services.gateway.revocations import Revocations

SECRET = b"a secret that is long enough to be one"
CUSTOMER = identifiers.customer_text(identifiers.customer_number(12, 34))


class Clock:
    """A clock that stands until it is put forward."""

    def __init__(self) -> None:
        self.seconds = time.time()

    def __call__(self) -> float:
        return self.seconds


def _authenticator(keys: Keys | None = None, **settings: Any) -> Authenticator:
    defaults: dict[str, Any] = {
        "issuer": "hivecore",
        "audience": "hivecore",
        "clock_skew_seconds": 5.0,
        "tokens_max": 100,
        "now": time.time,
    }
    return Authenticator(Unwatched(keys or Keys.of_secret(SECRET)), **(defaults | settings))


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": "hivecore",
        "aud": "hivecore",
        "sub": "teller 7",
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "channel": "branch",
        "scope": "accounts.read transfers.write",
    } | changes
    return {name: value for name, value in claims.items() if value is not None}


def _token(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(_claims(**changes), key, algorithm=algorithm, headers=headers)


def _call(authenticator: Authenticator, token: str) -> Caller:
    return authenticator.caller_of((("user-agent", "test"), ("authorization", f"Bearer {token}")))


def _reason(authenticator: Authenticator, token: str) -> str:
    with pytest.raises(errors.Unauthenticated) as refused:
        _call(authenticator, token)
    return refused.value.reason


def test_a_good_token_becomes_the_caller_it_names() -> None:
    caller = _call(_authenticator(), _token(customer=CUSTOMER))
    assert caller.subject == "teller 7"
    assert caller.channel == "branch"
    assert caller.scopes == {"accounts.read", "transfers.write"}
    assert caller.customer_number == int(CUSTOMER)


def test_a_token_without_a_customer_is_not_limited_to_one() -> None:
    assert _call(_authenticator(), _token()).customer_number is None


@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Basic eA=="),), (("authorization", "Bearer "),), (("authorization", ""),)]
)
def test_a_call_without_a_bearer_token_is_told_so(metadata: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(errors.Unauthenticated) as refused:
        _authenticator().caller_of(metadata)
    assert refused.value.reason == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody else"},
        {"iss": None},
        {"aud": "another bank"},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"customer": "12345678901234"},
        {"customer": 12},
        {"scope": ["accounts.read"]},
        {"sub": "x" * 1000},
        {"sub": "teller\0seven"},
        {"channel": "branch\n"},
        {"channel": "\ud800"},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_invalid(changes: dict[str, Any]) -> None:
    assert _reason(_authenticator(), _token(**changes)) == "TOKEN_INVALID"


def test_a_token_signed_with_another_secret_is_invalid() -> None:
    assert _reason(_authenticator(), _token(b"another secret, just as long as the right one")) == "TOKEN_INVALID"


def test_a_token_without_a_signature_is_invalid() -> None:
    assert _reason(_authenticator(), jwt.encode(_claims(), None, algorithm="none")) == "TOKEN_INVALID"


def test_the_token_does_not_choose_its_algorithm() -> None:
    assert _reason(_authenticator(), _token(b"s" * 64, "HS512")) == "TOKEN_INVALID"
    assert _reason(_authenticator(Keys.of_secret(b"s" * 64)), _token(b"s" * 64, "HS512")) == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["x", "a.b.c", "é.é.é", "x" * (TOKEN_CHARACTERS_MAX + 1)])
def test_what_is_no_token_is_invalid(token: str) -> None:
    assert _reason(_authenticator(), token) == "TOKEN_INVALID"


def test_a_token_is_good_a_little_after_its_time_and_no_longer() -> None:
    now = int(time.time())
    authenticator = _authenticator(clock_skew_seconds=30)
    assert _call(authenticator, _token(exp=now - 15)).subject == "teller 7"
    assert _reason(authenticator, _token(exp=now - 45)) == "TOKEN_EXPIRED"


def test_a_token_is_good_a_little_before_its_time_and_no_earlier() -> None:
    now = int(time.time())
    authenticator = _authenticator(clock_skew_seconds=30)
    assert _call(authenticator, _token(nbf=now + 15)).subject == "teller 7"
    assert _reason(authenticator, _token(nbf=now + 45)) == "TOKEN_NOT_YET_VALID"


def test_a_verified_token_is_remembered_until_it_expires_and_then_refused() -> None:
    clock = Clock()
    authenticator = _authenticator(now=clock)
    token = _token()
    first = _call(authenticator, token)
    assert _call(authenticator, token) is first
    clock.seconds += 64
    assert _call(authenticator, token) is first
    clock.seconds += 2
    assert _reason(authenticator, token) == "TOKEN_EXPIRED"


def test_the_memory_of_tokens_is_bounded() -> None:
    authenticator = _authenticator(tokens_max=2)
    tokens = [_token(sub=f"teller {number}") for number in range(3)]
    callers = [_call(authenticator, token) for token in tokens]
    assert _call(authenticator, tokens[2]) is callers[2]
    assert _call(authenticator, tokens[1]) is callers[1]
    assert _call(authenticator, tokens[0]) is not callers[0]


def test_a_refused_token_is_not_remembered() -> None:
    authenticator = _authenticator()
    token = _token(iss="somebody else")
    assert _reason(authenticator, token) == _reason(authenticator, token) == "TOKEN_INVALID"


def test_a_short_secret_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Keys.of_secret(b"too short")


def _jwk(algorithm: Any, key: Any, **members: Any) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return entry | {"use": "sig"} | members


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
JWKS = json.dumps(
    {
        "keys": [
            _jwk(RSAAlgorithm, RSA_KEY, kid="rsa", alg="RS256"),
            _jwk(ECAlgorithm, EC_KEY, kid="ec", alg="ES256"),
            _jwk(OKPAlgorithm, ED_KEY, kid="ed"),
            _jwk(RSAAlgorithm, RSA_KEY, kid="for encryption", use="enc"),
        ]
    }
)


@pytest.mark.parametrize(
    ("key", "algorithm", "key_id"), [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")]
)
def test_a_token_may_be_signed_with_any_key_of_the_jwks_file(key: Any, algorithm: str, key_id: str) -> None:
    authenticator = _authenticator(Keys.of_jwks(JWKS))
    assert _call(authenticator, _token(key, algorithm, {"kid": key_id})).subject == "teller 7"


@pytest.mark.parametrize("headers", [{"kid": "ec"}, {"kid": "unknown"}, {"kid": "for encryption"}, {}], ids=str)
def test_a_token_that_names_another_key_than_it_was_signed_with_is_invalid(headers: dict[str, Any]) -> None:
    assert _reason(_authenticator(Keys.of_jwks(JWKS)), _token(RSA_KEY, "RS256", headers)) == "TOKEN_INVALID"


def test_a_key_is_good_for_its_own_algorithm_only() -> None:
    assert _reason(_authenticator(Keys.of_jwks(JWKS)), _token(RSA_KEY, "PS256", {"kid": "rsa"})) == "TOKEN_INVALID"


def test_a_public_key_does_not_pass_for_a_shared_secret() -> None:
    public = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT", "kid": "rsa"}, _claims())]
    signed = b".".join(base64url_encode(part) for part in parts)
    token = b".".join((signed, base64url_encode(hmac.digest(public, signed, "sha256")))).decode()
    assert _reason(_authenticator(Keys.of_jwks(JWKS)), token) == "TOKEN_INVALID"


def test_the_only_key_needs_no_name() -> None:
    keys = Keys.of_jwks(json.dumps({"keys": [_jwk(ECAlgorithm, EC_KEY)]}))
    assert _call(_authenticator(keys), _token(EC_KEY, "ES256")).subject == "teller 7"


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "use": "sig"}]}',
        '{"keys": [{"kty": "XYZ"}]}',
        '{"keys": ["x"]}',
        json.dumps({"keys": [json.loads(ECAlgorithm.to_jwk(EC_KEY))]}),
        json.dumps({"keys": [_jwk(RSAAlgorithm, rsa.generate_private_key(public_exponent=65537, key_size=1024))]}),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}),
    ],
)
def test_a_jwks_file_with_anything_but_public_keys_is_refused_at_the_start(document: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Keys.of_jwks(document)


def test_two_keys_of_one_name_are_refused_at_the_start() -> None:
    twice = [_jwk(ECAlgorithm, EC_KEY, kid="a"), _jwk(OKPAlgorithm, ED_KEY, kid="a")]
    with pytest.raises(ValueError, match="same kid"):
        Keys.of_jwks(json.dumps({"keys": twice}))


@pytest.mark.parametrize(
    ("forge", "cause"),
    [
        (lambda: _token(aud="another bank"), "meant for others"),
        (lambda: _token(iss="somebody else"), "another issuer"),
        (lambda: _token(exp=None), "no claim exp"),
        (lambda: _token(aud=None), "no claim aud"),
        (lambda: _token(b"another secret, just as long as the right one"), "signature is wrong"),
        (lambda: _token(b"s" * 64, "HS512"), "algorithm is not its key's"),
        (lambda: jwt.encode(_claims(), None, algorithm="none"), "algorithm is not its key's"),
        (lambda: _token(headers={"crit": ["b64"]}), "not well formed"),
        (lambda: _token(exp=float("nan")), "not well formed|no JWT"),
        (lambda: _token(exp=1e400), "not well formed|no JWT"),
        (lambda: _token(exp="tomorrow"), "not well formed|no JWT"),
        (lambda: _token(sub=7), "not well formed|no JWT"),
        (lambda: "a.b.c", "no JWT"),
        (lambda: "x" * (TOKEN_CHARACTERS_MAX + 1), "more than 8192 characters"),
    ],
    ids=map(str, itertools.count()),
)
def test_a_refused_token_is_told_what_is_wrong_with_it(forge: Callable[[], str], cause: str) -> None:
    with pytest.raises(errors.Unauthenticated, match=cause) as refused:
        _call(_authenticator(), forge())
    assert refused.value.reason == "TOKEN_INVALID"


def test_a_token_with_a_wrong_signature_is_told_nothing_about_its_claims() -> None:
    with pytest.raises(errors.Unauthenticated, match="its signature is wrong"):
        _call(_authenticator(), _token(b"x" * 32, aud="another bank", exp=1))


class Watching:
    """An authenticator over real files, and a clock that lets it look at them."""

    def __init__(self, place: Path) -> None:
        self._clock = Clock()
        self._jwks, self._revocations = place / "jwks.json", place / "revocations.toml"
        self._jwks.write_text(JWKS)
        self._revocations.write_text("")
        self.authenticator = Authenticator(
            WatchedFile(self._jwks, lambda text: Keys.of_jwks(text.decode()), "jwks", now=self._clock),
            revocations=WatchedFile(self._revocations, Revocations.of_toml, "revocations", now=self._clock),
            issuer="hivecore",
            audience="hivecore",
            clock_skew_seconds=5,
            tokens_max=100,
            now=time.time,
        )

    def put_keys(self, text: str) -> None:
        _replace(self._jwks, text)
        self._clock.seconds += LOOK_SECONDS

    def revoke(self, text: str) -> None:
        _replace(self._revocations, text)
        self._clock.seconds += LOOK_SECONDS


def _replace(file: Path, text: str) -> None:
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)


def _jwks(*entries: dict[str, Any]) -> str:
    return json.dumps({"keys": entries})


def test_keys_are_rotated_without_a_restart_and_the_old_ones_tokens_end_with_it(tmp_path: Path) -> None:
    watching = Watching(tmp_path)
    old, new = _token(EC_KEY, "ES256", {"kid": "ec"}), _token(ED_KEY, "EdDSA", {"kid": "next"})
    assert _call(watching.authenticator, old).subject == "teller 7"
    assert _reason(watching.authenticator, new) == "TOKEN_INVALID"
    watching.put_keys(_jwks(_jwk(ECAlgorithm, EC_KEY, kid="ec"), _jwk(OKPAlgorithm, ED_KEY, kid="next")))
    assert _call(watching.authenticator, old).subject == _call(watching.authenticator, new).subject
    watching.put_keys(_jwks(_jwk(OKPAlgorithm, ED_KEY, kid="next")))
    assert _reason(watching.authenticator, old) == "TOKEN_INVALID"
    assert _call(watching.authenticator, new).subject == "teller 7"


def test_a_damaged_or_missing_file_leaves_the_keys_that_were_in_force(tmp_path: Path) -> None:
    watching = Watching(tmp_path)
    token = _token(EC_KEY, "ES256", {"kid": "ec"})
    for text in ("", "{", _jwks(), "\0"):
        watching.put_keys(text)
        assert _call(watching.authenticator, token).subject == "teller 7"
    (tmp_path / "jwks.json").unlink()
    watching.revoke("")
    assert _call(watching.authenticator, token).subject == "teller 7"


@pytest.mark.parametrize(
    "text",
    [
        'tokens = ["the one"]',
        "all = 2999-01-01T00:00:00Z",
        '[subjects]\n"teller 7" = 2999-01-01T00:00:00Z',
        "[channels]\nbranch = 2999-01-01T00:00:00+01:00",
    ],
)
def test_a_remembered_token_is_refused_once_it_is_revoked_and_good_again_when_that_is_undone(
    tmp_path: Path, text: str
) -> None:
    watching = Watching(tmp_path)
    token = _token(EC_KEY, "ES256", {"kid": "ec"}, jti="the one")
    assert _call(watching.authenticator, token) is _call(watching.authenticator, token)
    watching.revoke(text)
    assert _reason(watching.authenticator, token) == "TOKEN_REVOKED"
    watching.revoke("")
    assert _call(watching.authenticator, token).subject == "teller 7"
