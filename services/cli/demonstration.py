"""A walk through a bank that checks itself: what is expected stands beside what was found.

Needs a bank of several shards; uses new customers, so it can be walked again. Never here: starting
the bank (`bank.py`), printing (`demo.py`), holds, limits and reversals (`episodes.py`).
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from hivecore.gateway.v1 import bank_pb2

from services.cli.amounts import format_amount
from services.cli.ids import new_id
from services.cli.session import Session
from services.domain.errors import BankError

CUSTOMERS: Final = 8
CURRENCY: Final = "CZK"
FUNDING_MINOR: Final = 1_000_00
TRANSFER_MINOR: Final = 125_50
PAYMENT_MINOR: Final = 42_00
TOO_MUCH_MINOR: Final = 1_000_000_00
PARTNER: Final = "DEMOBANK"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried."""

    title: str
    expected: str
    found: str
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        """Tell whether it went as it should."""
        return self.found == self.expected


@dataclass(slots=True)
class Walk:
    """The walk so far: the session, what was tried, and who takes part."""

    bank: Session
    shard_of: Callable[[str], int]
    """Tells the shard of an account number."""
    tell: Callable[[Step], None]
    """Hears of each step as it ends."""
    steps: list[Step] = field(default_factory=list)
    accounts: list[str] = field(default_factory=list)
    entries: list[bank_pb2.Entry] = field(default_factory=list)
    """The payer's statement, oldest first, as read last."""

    def pair(self) -> tuple[str, str]:
        """Return a payer and a payee on different shards, as far as there are several."""
        payer = self.accounts[0]
        far = (each for each in self.accounts if self.shard_of(each) != self.shard_of(payer))
        return payer, next(far, self.accounts[-1])

    async def step(self, title: str, expected: str, work: Awaitable[str]) -> None:
        """Try one thing; a refusal's reason is what was found."""
        began = time.monotonic()
        try:
            found = await work
        except BankError as error:
            found = error.reason
        step = Step(title, expected, found, time.monotonic() - began)
        self.steps.append(step)
        self.tell(step)

    async def post(self, wanted: bank_pb2.Transfer) -> str:
        """Post a transfer and return its state."""
        posted = await self.bank.call(self.bank.stub.PostTransfer, bank_pb2.PostTransferRequest(transfer=wanted))
        return bank_pb2.Transfer.State.Name(posted.state)

    def text(self, amount_minor: int) -> str:
        """Write an amount of the walk's currency."""
        return _text(amount_minor)

    async def balances(self) -> list[int]:
        """Read the balance of every account in minor units."""
        requests = [bank_pb2.GetBalanceRequest(name=f"accounts/{number}/balance") for number in self.accounts]
        return [(await self.bank.call(self.bank.stub.GetBalance, request)).balance_minor for request in requests]


async def open_accounts(walk: Walk) -> bool:
    """Open customers with an account each; False when there are not even two."""
    await walk.step("open customers and accounts", f"{CUSTOMERS} accounts on several shards", _open(walk))
    return len(walk.accounts) >= 2


async def transfers(walk: Walk) -> None:
    """Move money in every way there is and look whether the books say the same."""
    payer, payee = walk.pair()
    shards = f"shard {walk.shard_of(payer)} to shard {walk.shard_of(payee)}"
    for number in walk.accounts:
        paid = transfer_of("CASH", number, FUNDING_MINOR, "opening balance")
        await walk.step(f"pay {_text(FUNDING_MINOR)} in cash into {number}", "POSTED", walk.post(paid))

    moved = transfer_of(payer, payee, TRANSFER_MINOR, "rent")
    await walk.step(f"transfer {_text(TRANSFER_MINOR)} from {shards}", "POSTED", walk.post(moved))
    await walk.step("send the same transfer again", "POSTED", walk.post(moved))
    reused = bank_pb2.Transfer()
    reused.CopyFrom(moved)
    reused.legs[0].amount_minor += 1
    await walk.step("send its id with another amount", "TRANSFER_ID_REUSED", walk.post(reused))
    too_much = transfer_of(payer, payee, TOO_MUCH_MINOR, "too much")
    await walk.step(f"transfer {_text(TOO_MUCH_MINOR)}", "INSUFFICIENT_FUNDS", walk.post(too_much))
    mistyped = transfer_of(payer, _mistype(payee), TRANSFER_MINOR, "mistyped")
    await walk.step("transfer to a mistyped account number", "ACCOUNT_NUMBER_INVALID", walk.post(mistyped))
    await walk.step("register a partner bank", PARTNER, _register(walk))
    paid_out = transfer_of(payer, f"NOSTRO.{PARTNER}", PAYMENT_MINOR, "invoice 7")
    paid_out.creditor.bank_code, paid_out.creditor.account = PARTNER, "87144583"
    await walk.step(f"pay {_text(PAYMENT_MINOR)} to an account at the partner bank", "POSTED", walk.post(paid_out))

    expected = dict.fromkeys(walk.accounts, FUNDING_MINOR)
    expected[payer] -= TRANSFER_MINOR + PAYMENT_MINOR
    expected[payee] += TRANSFER_MINOR
    await walk.step("read the balances", _joined(list(expected.values())), _balances(walk))
    lines = f"{_text(FUNDING_MINOR)}, -{_text(TRANSFER_MINOR)}, -{_text(PAYMENT_MINOR)}"
    await walk.step("read the payer's statement", lines, statement(walk, payer))


def transfer_of(debit: str, credit: str, amount_minor: int, reference: str) -> bank_pb2.Transfer:
    """Write a transfer of one leg."""
    leg = bank_pb2.Leg(debit_account=debit, credit_account=credit, amount_minor=amount_minor, currency_code=CURRENCY)
    return bank_pb2.Transfer(transfer_id=new_id(), legs=[leg], reference=reference)


async def _open(walk: Walk) -> str:
    """Open customers one by one, each placed where there is most room, with an account each."""
    bank = walk.bank
    for number in range(1, CUSTOMERS + 1):
        customer = bank_pb2.Customer(display_name=f"Customer {number}")
        opened = await bank.call(
            bank.stub.OpenCustomer, bank_pb2.OpenCustomerRequest(request_id=new_id(), customer=customer)
        )
        account = bank_pb2.Account(customer=opened.name, currency_code=CURRENCY)
        request = bank_pb2.OpenAccountRequest(request_id=new_id(), account=account)
        walk.accounts.append((await bank.call(bank.stub.OpenAccount, request)).account_number)
    several = len({walk.shard_of(number) for number in walk.accounts}) > 1
    return f"{len(walk.accounts)} accounts on {'several shards' if several else 'one shard'}"


async def _register(walk: Walk) -> str:
    request = bank_pb2.RegisterPartnerBanksRequest(bank_codes=[PARTNER])
    response = await walk.bank.call(walk.bank.stub.RegisterPartnerBanks, request)
    return ", ".join(sorted({account.bank_code for account in response.nostro_accounts}))


async def _balances(walk: Walk) -> str:
    return _joined(await walk.balances())


async def statement(walk: Walk, number: str) -> str:
    """Read an account's entries from the first on, and return their amounts."""
    request = bank_pb2.ListEntriesRequest(parent=f"accounts/{number}", order_by="version")
    walk.entries = list((await walk.bank.call(walk.bank.stub.ListEntries, request)).entries)
    return _joined([entry.amount_minor for entry in walk.entries])


def _mistype(number: str) -> str:
    """Exchange the last digit for another one."""
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def _text(amount_minor: int) -> str:
    return format_amount(amount_minor, CURRENCY)


def _joined(amounts_minor: list[int]) -> str:
    return ", ".join(map(_text, amounts_minor))
