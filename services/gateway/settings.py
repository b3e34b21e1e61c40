"""What an operator may tell a gateway process."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from services.chassis.settings import Address, ServiceSettings
from services.domain import limits
from services.gateway.authentication import CLAIM_CHARACTERS_MAX

CALL_TRANSFERS_MAX: Final = 1_000
"""Transfers and further legs that are put together into one call to a ledger."""

# Reference, creditor's account and name, remittance text, and each transfer's actor another, at their
# longest and four bytes a character, with 200 bytes for all the rest: as many as travel together still
# fit a message.
_TEXT_CHARACTERS_MAX: Final = (
    2 * limits.REFERENCE_CHARACTERS_MAX
    + limits.CREDITOR_ACCOUNT_CHARACTERS_MAX
    + limits.DISPLAY_NAME_CHARACTERS_MAX
    + 2 * CLAIM_CHARACTERS_MAX
)
assert CALL_TRANSFERS_MAX * (4 * _TEXT_CHARACTERS_MAX + 200) < limits.MESSAGE_BYTES_MAX


class GatewaySettings(ServiceSettings):
    """Settings of `python -m services.gateway`."""

    account_address: Address
    """Where the account service is: customers, accounts and the directory."""
    public_certificate_file: Path | None = None
    """The certificate that callers see (PEM); with the next one, or neither where TLS ends before the gateway."""
    public_key_file: Path | None = None
    """Its private key (PEM, not encrypted). Changed files are read again."""
    jwt_secret_file: Path | None = None
    """Secret of at least 32 bytes for tokens signed with HS256; this or `jwks_file`. A changed file is read again."""
    jwks_file: Path | None = None
    """Public keys for tokens signed with RS256, ES256 or EdDSA; this or `jwt_secret_file`. A changed file is read again."""
    revocations_file: Path | None = None
    """Which tokens are revoked (TOML, `docs/security.md`). A changed file is read again."""
    allowances_file: Path | None = None
    """How much each channel may ask of this process (TOML, `docs/security.md`); without it, anything. A changed
    file is read again."""
    jwt_issuer: str = Field(default="hivecore", min_length=1)
    """What a token's `iss` must be."""
    jwt_audience: str = Field(default="hivecore", min_length=1)
    """What a token's `aud` must be or contain."""
    jwt_clock_skew_seconds: float = Field(default=5.0, ge=0, le=60)
    """How far the clock of the tokens' issuer may be from ours."""
    tokens_cached_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Verified tokens that are remembered until they expire."""
    page_token_secret_file: Path | None = None
    """Secret for page tokens, the same for all gateways of a bank. By default derived from the JWT
    secret; without one, random, so that pages end with the process."""
    queue_transfers_max: int = Field(default=16_000, ge=limits.TRANSFERS_PER_CALL_MAX, le=1_000_000)
    """Transfers that wait for one shard; beyond, callers are refused at once with QUEUE_FULL, unless they are very few."""
    call_transfers_max: int = Field(default=CALL_TRANSFERS_MAX, ge=1, le=CALL_TRANSFERS_MAX)
    """Transfers of different callers that are put together into one call to a ledger."""
    full_call_transfers: int = Field(default=250, ge=1)
    """Transfers that are worth a call of their own while others of their shard and lane are under way."""
    calls_in_flight_max: int = Field(default=4, ge=1, le=64)
    """Calls to a ledger at the same time, for each shard and lane; fewer while they take long."""
    queue_seconds_max: float = Field(default=0.25, gt=0, le=60)
    """How long transfers may wait for their turn at one shard, as estimated; beyond, callers are refused at once with
    QUEUE_FULL."""
    look_ups_max: int = Field(default=1_000, ge=100, le=100_000)
    """Look-ups under way at a time, a quarter of them at one shard; beyond, callers are refused at once with QUEUE_FULL."""
    look_up_seconds_max: float = Field(default=0.15, gt=0, le=60)
    """How long look-ups of one shard may take while there are many, as estimated; beyond, the same."""
    owners_cached_max: int = Field(default=200_000, ge=1, le=10_000_000)
    """Accounts whose owner is remembered."""
    products_cached_max: int = Field(default=1_000_000, ge=1, le=100_000_000)
    """Accounts whose product is remembered, about 100 bytes each; only in a bank that charges fees."""

    @model_validator(mode="after")
    def _has_one_kind_of_key(self) -> Self:
        if (self.jwt_secret_file is None) == (self.jwks_file is None):
            raise ValueError("exactly one of HIVECORE_JWT_SECRET_FILE and HIVECORE_JWKS_FILE must be given")
        if (self.public_certificate_file is None) != (self.public_key_file is None):
            raise ValueError("HIVECORE_PUBLIC_CERTIFICATE_FILE and HIVECORE_PUBLIC_KEY_FILE are given together")
        return self
