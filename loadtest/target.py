"""The bank that a generator is pointed at: found, filled with accounts, and proved sound afterwards.

A bank of this machine, known by its data directory, is proved from the tables and by its own audit; any
other one, known by its gateway and a token, by what its gateway says every account holds. Never here:
the load.
"""

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from hivecore.gateway.v1 import bank_pb2

from loadtest import accounts, bank, proof
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import Access, Client
from loadtest.journal import Journal
from loadtest.operations import PARTNER_BANK
from loadtest.postgres import Server, find_programs

CURRENCY: Final = "CZK"


@dataclass(frozen=True, slots=True)
class Target:
    """A bank, and how it can be reached."""

    access: Access
    open_bank: OpenBank | None = None
    """When it is a bank of this machine."""
    account_service: str = ""
    """host:port; without it nobody here knows which accounts share a shard."""

    @property
    def can_be_audited(self) -> bool:
        """Whether the audit is run from here; of a bank elsewhere it is the operator's."""
        return self.open_bank is not None

    def prepare(self, count: int) -> list[list[str]]:
        """Open and fund accounts, and a partner bank; give the account numbers by shard.

        Raises accounts.OpeningFailed and grpc.aio.AioRpcError.
        """
        return asyncio.run(self._prepare(count))

    def prove(self, journal: Journal, accounts_by_shard: list[list[str]]) -> str:
        """Prove the books, as deep as this bank can be looked into; say how. Raises proof.NotSound."""
        if self.open_bank is not None:
            server = Server(find_programs(), self.open_bank.dsn, self.open_bank.shard_dsns)
            proved = proof.require_sound(self.open_bank, server, self.access, journal, accounts_by_shard)
            return (
                f"audit clean; {proved.acknowledged:,} acknowledged ids, all in the books; "
                f"{proved.accounts:,} balances, all as in the journal"
            )
        count = asyncio.run(proof.require_balances(self.access, journal, accounts_by_shard))
        return f"{count:,} balances, all as in the journal by what the gateway says; the audit is the operator's"

    async def _prepare(self, count: int) -> list[list[str]]:
        numbers = await accounts.open_accounts(self.access, count, CURRENCY)
        async with Client(self.access) as client:
            request = bank_pb2.RegisterPartnerBanksRequest(bank_codes=[PARTNER_BANK])
            await client.call(client.stub.RegisterPartnerBanks, request)
        if not self.account_service:
            return [numbers]
        return await accounts.by_shard(self.account_service, numbers)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that say which bank."""
    parser.add_argument("--data", type=Path, help="data directory of a bank that is open on this machine")
    parser.add_argument("--gateway", help="host:port of any other bank's gateway")
    parser.add_argument("--token-file", type=Path, help="bearer token for --gateway, with all scopes")
    parser.add_argument("--account-service", default="", help="host:port; crossing shares need it with --gateway")


def chosen(asked: Namespace) -> Target:
    """Find the bank that the options name. Raises BankFailed."""
    if asked.gateway:
        if asked.token_file is None:
            raise BankFailed("--gateway needs --token-file")
        try:
            token = asked.token_file.read_text().strip()
        except OSError as error:
            raise BankFailed(f"{asked.token_file}: {error.strerror}") from error
        return Target(Access(asked.gateway, token), account_service=asked.account_service)
    if asked.data is None:
        raise BankFailed("say which bank: --data of one on this machine, or --gateway and --token-file")
    return on_this_machine(asked.data)


def on_this_machine(data: Path) -> Target:
    """Find the bank that is open in a data directory. Raises BankFailed."""
    found = bank.find(data)
    return Target(Access(found.gateway, bank.mint_token(data)), found, found.account)


def not_in_the_books(bank_of: Target, journal: Journal, accounts_by_shard: Sequence[Sequence[str]]) -> list[str]:
    """Name the ids of a journal that are not in the books of a bank of this machine as posted."""
    assert bank_of.open_bank is not None
    server = Server(find_programs(), bank_of.open_bank.dsn, bank_of.open_bank.shard_dsns)
    return proof.missing_ids(server, journal, accounts_by_shard)


def main(arguments: Sequence[str]) -> int:
    """Prepare a bank for a generator that cannot do it itself; say as JSON where it is and which accounts it has."""
    parser = ArgumentParser(prog="python -m loadtest.target", description="Open and fund accounts for a load test.")
    add_options(parser)
    parser.add_argument("--accounts", type=int, required=True)
    asked = parser.parse_args(arguments)
    try:
        found = chosen(asked)
        by_shard = found.prepare(asked.accounts)
    except (BankFailed, accounts.OpeningFailed) as error:
        sys.exit(str(error))
    except grpc.aio.AioRpcError as error:
        sys.exit(f"the bank answered {error.code().name}: {error.details()}")
    said = {
        "gateway": found.access.gateway,
        "token": found.access.token,
        "currency_code": CURRENCY,
        "accounts_by_shard": by_shard,
    }
    json.dump(said, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
