"""What callers notice when the ledger of one shard is killed: for operators, with and without a standby.

    python -m loadtest.outage [--standbys 0 1] [--transfers 10000] ...

Opens a bank in a temporary directory, funds customers on all shards, lets them pay each other at a
steady rate through the gateway, and kills the writer of one shard by SIGKILL in the middle. Callers
repeat their ids until each outcome is definite. There are figures only when the books are sound
afterwards: audit clean, nothing in flight, every id still means what its caller was told, nothing
posted that nobody asked for, no cent more or less than was funded.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import grpc
import uvloop
from hivecore.gateway.v1 import bank_pb2
from rich.console import Console

from loadtest import accounts, bank, machine, outage_report
from loadtest.accounts import FUNDING_MINOR, OpeningFailed
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import Client
from loadtest.insistence import Insistent, Manner, NotDecided, pay_all
from loadtest.outage_report import Outage
from loadtest.proof import NotSound
from loadtest.stencil import Stencil
from loadtest.workload import ID_CHANCE_BITS, Workload, transfer_id

CURRENCY: Final = "CZK"
TRANSFERS_PER_CALL: Final = 4_000
REST_SECONDS_MAX: Final = 30.0
POLL_SECONDS: Final = 0.1


class Run:
    """One bank with a given number of standbys, and its outage."""

    def __init__(self, asked: argparse.Namespace, open_bank: OpenBank, standbys: int) -> None:
        self._asked = asked
        self._bank = open_bank
        self._standbys = standbys
        self._access = bank.access(open_bank.data)
        self._chance = Random(asked.seed)  # noqa: S311 - who pays whom

    async def measure(self) -> Outage:
        """Let callers pay, kill the shard's writer in the middle, and look at everything afterwards.

        Raises NotDecided, NotSound, OpeningFailed and grpc.aio.AioRpcError.
        """
        asked = self._asked
        numbers = await accounts.open_accounts(self._access, asked.accounts, CURRENCY)
        by_shard = await accounts.by_shard(self._bank.account, numbers)
        transfers = draw(by_shard, asked.transfers, asked.crossing_share, self._chance)
        manner = Manner(asked.per_second, asked.deadline_seconds, asked.patience_seconds)
        async with Client(self._access) as client:
            killed = await self._writer(client)
            killed_at: list[float] = []
            pid = bank.find(self._bank.data).pids[killed]
            await pay_all(client, transfers, CURRENCY, manner, self._chance, lambda: killed_at.append(_kill(pid)))
            await _require_rest(client)
            await _require_same_answers(client, transfers)
            in_doubt = [transfer for transfer in transfers if transfer.was_in_doubt]
            return Outage(
                standbys=self._standbys,
                shard_id=asked.shard,
                killed=killed,
                writer_after=await self._writer(client),
                killed_at=killed_at[0],
                transfers=transfers,
                booked_at=await _booked_at(client, in_doubt),
                audited=self._audit(),
            )

    async def _writer(self, client: Client) -> str:
        """Name the process that writes the shard now."""
        name: str = (await _shards(client))[self._asked.shard - 1].writer
        return name

    def _audit(self) -> dict[str, Any]:
        """Audit the books, and count them. Raises NotSound."""
        status, said, complaint = bank.hivecore(
            "audit", "--data", str(self._bank.data), "--in-flight-seconds-max", "0", "--json"
        )
        if status != 0:
            raise NotSound(f"the audit is not clean:\n{said}{complaint}")
        found: dict[str, Any] = json.loads(said)
        funded_minor = self._asked.accounts * FUNDING_MINOR
        if found["customers_minor"] != {CURRENCY: funded_minor}:
            raise NotSound(f"customers were funded with {funded_minor} and hold {found['customers_minor']}")
        asked_for = self._asked.accounts + self._asked.transfers
        if found["transfers"] != asked_for:
            raise NotSound(f"{asked_for} transfers were asked for and {found['transfers']} are in the books")
        return found


def draw(by_shard: Sequence[Sequence[str]], count: int, crossing_share: float, chance: Random) -> list[Insistent]:
    """Draw transfers between the accounts of shards 1, 2, ..."""
    shard_of = {number: shard_id for shard_id, numbers in enumerate(by_shard, 1) for number in numbers}
    payments = Workload(by_shard, crossing_share=crossing_share, chance=chance).draw(count)
    now = time.time_ns() // 1_000_000
    return [
        Insistent(
            transfer_id(now, chance.getrandbits(ID_CHANCE_BITS)),
            debit,
            credit,
            amount,
            shard_of[debit],
            shard_of[credit],
        )
        for debit, credit, amount in payments
    ]


def _kill(pid: int) -> float:
    os.kill(pid, signal.SIGKILL)
    return time.time()


async def _shards(client: Client) -> list[bank_pb2.Shard]:
    return list((await client.call(client.stub.ListShards, bank_pb2.ListShardsRequest())).shards)


async def _require_rest(client: Client) -> None:
    """Wait until no money is on its way between shards. Raises NotSound when it stays there."""
    give_up = time.monotonic() + REST_SECONDS_MAX
    while any(shard.crossings_in_flight_count or not shard.writer for shard in await _shards(client)):
        if time.monotonic() > give_up:
            raise NotSound(f"money is still on its way {REST_SECONDS_MAX:.0f} seconds after the last caller was told")
        await asyncio.sleep(POLL_SECONDS)


async def _require_same_answers(client: Client, transfers: Sequence[Insistent]) -> None:
    """Send every id once more: it must mean what its caller was told. Raises NotSound."""
    stencil = Stencil(CURRENCY)
    for first in range(0, len(transfers), TRANSFERS_PER_CALL):
        part = transfers[first : first + TRANSFERS_PER_CALL]
        answers = await client.post_many(stencil.write(transfer.request() for transfer in part), len(part))
        for transfer, answer in zip(part, answers, strict=True):
            if answer != transfer.outcome:
                raise NotSound(f"{transfer.transfer_id} was answered {transfer.outcome} and is now {answer}")


async def _booked_at(client: Client, transfers: Sequence[Insistent]) -> dict[str, float]:
    """Ask when transfers were booked, by id."""
    booked_at = {}
    for transfer in transfers:
        name = f"accounts/{transfer.debit_account}/transfers/{transfer.transfer_id}"
        found = await client.call(client.stub.GetTransfer, bank_pb2.GetTransferRequest(name=name))
        booked_at[transfer.transfer_id] = found.booking_time.ToMicroseconds() / 1e6
    return booked_at


def measure(asked: argparse.Namespace, console: Console) -> list[Outage]:
    """Measure one outage for each number of standbys, each in a bank of its own."""
    outages = []
    for standbys in asked.standbys:
        with tempfile.TemporaryDirectory(prefix="hivecore-outage-") as place:
            # Root's PostgreSQL runs as another account, which must be able to pass through.
            Path(place).chmod(0o755)
            console.print(f"{standbys} standbys: opening a bank of {asked.shards} shards", highlight=False)
            with bank.opened(Path(place) / "bank", shards=asked.shards, standbys=standbys) as open_bank:
                run = Run(asked, open_bank, standbys)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    outages.append(runner.run(run.measure()))
            console.print(f"  shard {asked.shard} was away {outages[-1].away_seconds:.2f} s", highlight=False)
    return outages


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtest.outage", description="Measure an outage of one shard.")
    parser.add_argument(
        "--standbys", type=int, nargs="+", default=[0, 1], help="further ledgers per shard; one run each"
    )
    parser.add_argument("--shards", type=int, default=bank.SHARDS_DEFAULT)
    parser.add_argument("--shard", type=int, default=1, help="whose ledger is killed")
    parser.add_argument("--transfers", type=int, default=10_000)
    parser.add_argument("--crossing-share", type=float, default=0.75, help="of the transfers, 0 to 1")
    parser.add_argument(
        "--per-second", type=float, default=500.0, help="new transfers, whether the bank answers or not"
    )
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--deadline-seconds", type=float, default=2.0, help="of each attempt")
    parser.add_argument("--patience-seconds", type=float, default=60.0, help="of each caller")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/outage.json"))
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Measure; return 0 with a table and a JSON file, or 1 with a reason and neither."""
    asked = _parse(arguments)
    asked.output.unlink(missing_ok=True)
    console = Console(width=120)
    try:
        outages = measure(asked, console)
    except (BankFailed, OpeningFailed, NotDecided, NotSound) as error:
        console.print(f"no figures: {error}", highlight=False, markup=False)
        return 1
    except grpc.aio.AioRpcError as error:
        console.print(f"no figures: the bank answered {error.code().name}: {error.details()}", highlight=False)
        return 1
    conditions = {
        **machine.describe(),
        "shards": asked.shards,
        "accounts": asked.accounts,
        "load": {
            "transfers": asked.transfers,
            "per_second": asked.per_second,
            "crossing_share": asked.crossing_share,
            "deadline_seconds": asked.deadline_seconds,
        },
        "seed": asked.seed,
    }
    outage_report.show(outages, conditions, console)
    outage_report.write(outages, conditions, asked.output)
    console.print(f"written to {asked.output}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
