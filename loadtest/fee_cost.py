"""What fees cost: processor time per transfer without products, with products but no fee, and with a fee, in one run.

    python -m loadtest.fee_cost --data DIR [--accounts N] [--calls N] [--rounds N]

Opens a bank of its own, takes turns between the three kinds of payers so that a noisy machine hits all
alike, and audits the books before it prints a figure. Never here: prices.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

from hivecore.gateway.v1 import bank_pb2
from hivecore.product.v1 import product_pb2

from loadtest import accounts, bank
from loadtest.bank import BankFailed, OpenBank
from loadtest.client import Access, Client
from loadtest.processor import Reading, Usage

CURRENCY: Final = "CZK"
TRANSFERS_PER_CALL: Final = 1_000
CALLS_AT_ONCE: Final = 2
FEE_MINOR: Final = 7


async def _publish(client: Client, code: str, fees: list[product_pb2.Fee]) -> None:
    """Publish a product and make it what new accounts get."""
    product = product_pb2.Product(
        code=code, version=1, display_name=code, currency_code=CURRENCY, kind=product_pb2.Product.CURRENT, fees=fees
    )
    request = bank_pb2.LoadProductsRequest(products=[product], default_products={CURRENCY: code})
    await client.call(client.stub.LoadProducts, request)


async def _pay(client: Client, numbers: Sequence[str], calls: int, chance: Random) -> None:
    async def call() -> None:
        transfers = []
        for _ in range(TRANSFERS_PER_CALL):
            debit, credit = chance.sample(numbers, 2)
            leg = bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=1, currency_code=CURRENCY)
            transfers.append(bank_pb2.Transfer(transfer_id=str(uuid4()), legs=[leg]))
        answer = await client.call(client.stub.PostTransfers, bank_pb2.PostTransfersRequest(transfers=transfers))
        bad = [result for result in answer.results if result.state != bank_pb2.Transfer.POSTED]
        if bad:
            raise BankFailed(f"{len(bad)} transfers were not posted: {bad[0]}")

    for _ in range(0, calls, CALLS_AT_ONCE):
        await asyncio.gather(*(call() for _ in range(CALLS_AT_ONCE)))


async def _measure(opened: OpenBank, access: Access, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    chance, used = Random(asked.seed), dict[str, list[Usage]]()  # noqa: S311 - which accounts pay is no secret

    async def turn(name: str, client: Client, numbers: Sequence[str]) -> None:
        begin = Reading.now(opened.pids_by_part, "generator")
        await _pay(client, numbers, asked.calls, chance)
        end = Reading.now(opened.pids_by_part, "generator")
        used.setdefault(name, []).append(Usage.between(begin, end, asked.calls * TRANSFERS_PER_CALL))

    async with Client(access) as client:
        plain = await _one_shard(opened, access, asked.accounts)
        await _pay(client, plain, CALLS_AT_ONCE, chance)
        for _ in range(asked.rounds):
            await turn("no product has a fee", client, plain)
        tier = product_pb2.Fee.Tier(fixed_minor=FEE_MINOR)
        kind = product_pb2.PAYMENT_KIND_TRANSFER
        await _publish(client, "PAID", [product_pb2.Fee(kind=kind, method=product_pb2.Fee.SLAB, tiers=[tier])])
        paying = await _one_shard(opened, access, asked.accounts)
        for numbers in (plain, paying):
            await _pay(client, numbers, CALLS_AT_ONCE, chance)
        for _ in range(asked.rounds):
            await turn("payers without a fee", client, plain)
            await turn("payers with a fee", client, paying)
    return {name: _middle(usages) for name, usages in used.items()}


async def _one_shard(opened: OpenBank, access: Access, count: int) -> list[str]:
    """Open accounts and keep those of the shard that has most: crossings cost otherwise."""
    numbers = await accounts.open_accounts(access, count, CURRENCY)
    return max(await accounts.by_shard(opened.account, numbers), key=len)


def _middle(usages: Sequence[Usage]) -> dict[str, float]:
    """Return the middle of each part's microseconds per transfer."""
    parts = usages[0].us_per_transfer
    return {part: sorted(usage.us_per_transfer[part] for usage in usages)[len(usages) // 2] for part in parts}


def _require_clean(data: Path) -> None:
    status, said, complaint = bank.hivecore("audit", "--json", "--data", str(data))
    if status != 0 or not json.loads(said)["is_clean"]:
        raise BankFailed(f"the audit is not clean, so there are no figures: {complaint}")


def main(arguments: Sequence[str]) -> int:
    """Measure; return 0 with one JSON document, or 1 with a reason."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.fee_cost")
    parser.add_argument("--data", type=Path, required=True, help="directory for a bank of its own; removed afterwards")
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--calls", type=int, default=10, help="of 1,000 transfers, each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    try:
        with bank.opened(asked.data, shards=1) as opened:
            figures = asyncio.run(_measure(opened, bank.access(asked.data), asked))
            _require_clean(asked.data)
        bank.remove(asked.data)
    except BankFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps({"cpu_us_per_transfer": figures, "audit": "clean"}, indent=2))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
