"""What an operator may tell a ledger process."""

from pydantic import Field, SecretStr

from services.chassis.settings import Address, ServiceSettings
from services.domain.identifiers import ShardId
from services.ledger.memory import ACCOUNTS_MAX


class LedgerSettings(ServiceSettings):
    """Settings of `python -m services.ledger`."""

    shards: dict[ShardId, SecretStr] = Field(min_length=1)
    """PostgreSQL of each shard that this process may write, by shard id; JSON in the environment."""
    account_address: Address
    """Where the directory comes from."""
    lease_seconds: float = Field(default=3.0, ge=0.5, le=60)
    """How long a writer that fell silent keeps its shard; a standby takes over after that."""
    look_seconds: float = Field(default=5.0, ge=0.1, le=3600)
    """How often a writer looks whether its books add up and what is under way; it rests longer when a look takes long."""
    seal_seconds: float = Field(default=5.0, ge=0, le=3600)
    """How often a writer looks whether there is more of the journal to seal; 0: never."""
    migrate: bool = True
    """Whether the process brings schemas up to date itself; if not, it waits for `hivecore migrate`."""
    accounts_remembered_max: int = Field(default=ACCOUNTS_MAX, ge=1_000, le=50_000_000)
    """Accounts that a writer keeps in memory, per shard, about 400 bytes each; those used the longest ago are forgotten."""
