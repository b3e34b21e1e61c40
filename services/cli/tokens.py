"""Minting tokens for the bank that runs on this machine, from its own secret.

Other banks get theirs from whoever issues them. Never here: checking a token
(`services/gateway/authentication.py`).
"""

import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import uuid4

import jwt

from services.chassis import children

ALGORITHM: Final = "HS256"
ISSUER: Final = "hivecore"
AUDIENCE: Final = "hivecore"

SCOPES: Final = (
    "accounts.read",
    "accounts.write",
    "accounts.manage",
    "customers.write",
    "transfers.write",
    "transfers.reverse",
    "limits.override",
    "overdraft.force",
    "gl.read",
    "fees.waive",
    "operator",
    "audit.read",
)
"""Everything a token can allow."""

SCOPES_OF_CUSTOMER: Final = ("accounts.read", "transfers.write")
"""What a token limited to one customer allows unless asked otherwise."""

LIFETIME_SECONDS: Final = 12 * 3600
"""Of a development token: a working day."""

CLOCK_SKEW_SECONDS: Final = 5
"""A token is good from a little earlier, for a gateway whose clock is behind."""

SECRET_BYTES: Final = 32


def mint(
    secret: str,
    *,
    subject: str,
    scopes: Iterable[str] = SCOPES,
    channel: str = "cli",
    customer: str | None = None,
    lifetime_seconds: float = LIFETIME_SECONDS,
    issuer: str = ISSUER,
    audience: str = AUDIENCE,
) -> str:
    """Mint a bearer token for `subject`; with `customer`, limited to what is that customer's."""
    now = int(time.time())
    claims: dict[str, str | int] = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "jti": str(uuid4()),
        "iat": now,
        "nbf": now - CLOCK_SKEW_SECONDS,
        "exp": now + int(lifetime_seconds),
        "channel": channel,
        "scope": " ".join(scopes),
    }
    if customer is not None:
        claims["customer"] = customer
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def development_token(secret_file: Path, *, lifetime_seconds: float = LIFETIME_SECONDS) -> str:
    """Mint a token that may do everything, from a bank's secret file. Raises OSError if that is not readable."""
    return mint(read_secret(secret_file), subject="developer", lifetime_seconds=lifetime_seconds)


def read_secret(secret_file: Path) -> str:
    """Read a bank's secret."""
    return secret_file.read_text(encoding="utf-8").strip()


def ensure_secret(secret_file: Path) -> None:
    """Make a bank's secret unless it has one; only its owner may read it."""
    if not secret_file.exists():
        children.write_private(secret_file, secrets.token_hex(SECRET_BYTES))
