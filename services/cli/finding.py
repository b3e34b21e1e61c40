"""Where a command finds its bank: a data directory, or a gateway's address and a token.

Needs no gRPC, so that commands start quickly. Never here: connecting (`session.py`), starting
a bank (`up.py`).
"""

import json
from dataclasses import dataclass
from pathlib import Path

from services.cli.data_directory import default_data_directory
from services.cli.output import Failure
from services.cli.topology import Places


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says about the bank to use."""

    data: Path | None = None
    """None: this user's own bank."""
    gateway: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class BankFile:
    """What commands read of a running bank's `bank.json`."""

    gateway: str
    account: str
    jwt_secret_file: Path
    revocations_file: Path
    authority_file: Path | None
    """Whose certificates to trust; None where the gateway speaks plain text."""
    control_dsn: str
    shard_dsns: dict[int, str]
    metrics: dict[str, str]
    """Where each process says what it measured, by its name."""


def read_bank_file(where: Where) -> BankFile:
    """Read the bank's `bank.json`. Raises `Failure` when there is none or it is not readable."""
    data = where.data or default_data_directory()
    path = Places(data).bank_file
    try:
        content = json.loads(path.read_text("utf-8"))
        return BankFile(
            gateway=content["gateway"],
            account=content["account"],
            jwt_secret_file=Path(content["jwt_secret_file"]),
            revocations_file=Path(content["revocations_file"]),
            authority_file=Path(content["authority_file"]) if content["authority_file"] else None,
            control_dsn=content["control_dsn"],
            shard_dsns={int(shard_id): dsn for shard_id, dsn in content["shard_dsns"].items()},
            metrics=dict(content["metrics"]),
        )
    except FileNotFoundError as error:
        command = f"hivecore up --data {data}" if where.data else "hivecore up"
        raise Failure(f"no bank is open in {data}: open it with `{command}`") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise Failure(f"{path} is not readable: {error!r}") from error
