"""Development tokens: signed, limited in time and reach."""

import stat
from pathlib import Path

import jwt
import pytest

from services.cli import tokens


def read(token: str, secret: str) -> dict[str, object]:
    return jwt.decode(token, secret, algorithms=["HS256"], audience="hivecore", issuer="hivecore")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "jwt.secret"
    tokens.ensure_secret(file)
    return file


def test_a_development_token_may_do_everything_for_half_a_day(secret_file: Path) -> None:
    claims = read(tokens.development_token(secret_file), tokens.read_secret(secret_file))
    assert claims["scope"] == " ".join(tokens.SCOPES)
    assert claims["exp"] - claims["iat"] == 12 * 3600
    assert "customer" not in claims


def test_a_token_can_be_limited_to_a_customer_and_to_scopes(secret_file: Path) -> None:
    secret = tokens.read_secret(secret_file)
    token = tokens.mint(secret, subject="jana", scopes=["accounts.read"], channel="mobile", customer="00010000000112")
    claims = read(token, secret)
    assert (claims["sub"], claims["scope"], claims["channel"], claims["customer"]) == (
        "jana",
        "accounts.read",
        "mobile",
        "00010000000112",
    )


def test_a_token_can_be_minted_expired(secret_file: Path) -> None:
    secret = tokens.read_secret(secret_file)
    with pytest.raises(jwt.ExpiredSignatureError):
        read(tokens.mint(secret, subject="late", lifetime_seconds=-1), secret)


def test_a_bank_keeps_its_secret_and_only_its_owner_reads_it(secret_file: Path) -> None:
    before = secret_file.read_text()
    tokens.ensure_secret(secret_file)
    assert secret_file.read_text() == before
    assert len(before) == 64
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
