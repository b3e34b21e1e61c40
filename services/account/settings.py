"""What an operator may tell the account process."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode

from services.account.store import ShardPlan
from services.chassis.settings import Address, ServiceSettings
from services.domain import currencies
from services.domain.identifiers import CUSTOMER_SERIAL_MAX, SHARD_ID_MAX

CUSTOMER_QUOTA_DEFAULT = 5_000_000


def _currency_numbers(given: Any) -> Any:
    """Read ISO 4217 codes with commas between them into their numbers."""
    if not isinstance(given, str):
        return given
    codes = [code.strip() for code in given.split(",")]
    unknown = [code for code in codes if code not in currencies.NUMBER_BY_CODE]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))}: not an ISO 4217 currency code")
    return tuple(sorted({currencies.NUMBER_BY_CODE[code] for code in codes}))


class ShardSettings(BaseModel):
    """One shard."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    dsn: SecretStr
    """Its PostgreSQL."""
    ledgers: tuple[Address, ...] = Field(min_length=1)
    """Where its ledgers listen, the standbys' addresses included."""
    customer_quota: int = Field(default=CUSTOMER_QUOTA_DEFAULT, ge=1, le=CUSTOMER_SERIAL_MAX)
    """How many customers may be placed there."""

    @property
    def plan(self) -> ShardPlan:
        """What of this the directory says."""
        return ShardPlan(self.ledgers, self.customer_quota)


class AccountSettings(ServiceSettings):
    """Settings of `python -m services.account`."""

    control_dsn: SecretStr
    """PostgreSQL of the control database."""
    shards: dict[Annotated[int, Field(ge=1, le=SHARD_ID_MAX)], ShardSettings] = Field(min_length=1)
    """All shards of the bank, by shard id; JSON in the environment."""
    currencies: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_currency_numbers)] = (203, 840, 978)
    """Currencies of the bank: ISO 4217 codes with commas between them; CZK,EUR,USD when not given."""
    sweep_seconds: float = Field(default=5.0, ge=0.1, le=3600)
    """How often half-opened customers and accounts are looked for."""
    sweep_age_seconds: float = Field(default=15.0, ge=0, le=3600)
    """How long an opening is left to its caller before the sweeper finishes it."""
    migrate: bool = True
    """Whether the process brings schemas up to date itself; if not, it waits for `hivecore migrate`."""
