"""Fuzzes a running bank's public calls and its file parsers: `make fuzz SECONDS=60 SEED=7`.

Calls are found by their descriptors, so a new one is fuzzed the day it is there. Requests are made from
a seed: fields drawn from what the bank knows and from extremes, bytes flipped, bytes that are no message,
damaged tokens. No answer may be a bug's (INTERNAL, UNKNOWN, DATA_LOSS), no process may die, and the audit must be clean
afterwards. Never here: what the right answer is.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final
from uuid import UUID

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hivecore.gateway.v1 import bank_pb2, bank_pb2_grpc

from services.cli import catalogue_files, channels, csv_files
from services.cli.auditing import audit_bank
from services.cli.bank import Bank
from services.cli.iso20022 import example, hostile, orders
from services.cli.topology import BankOptions
from services.gateway.allowances import Allowances
from services.gateway.authentication import Keys
from services.gateway.revocations import Revocations

SERVICE: Final = bank_pb2.DESCRIPTOR.services_by_name["Bank"]
BUGS: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS})
TOGETHER: Final = 8
"""Requests under way at a time."""

TEXTS: Final = (
    "", " ", "x", "\0", "\n", "CASH", "FEES", "NOSTRO.AB", "CZK", "EUR", "czk", "XXX", "accounts/", "accounts/0/balance",
    "customers/", "../../etc/passwd", "%s%n", "'; DROP TABLE entries; --", "\u202e", "\U0001f4a9", "e\u0301", "\ufeff", "\uffff",
    "0" * 16, "9" * 16, "-1", "1e9", "NaN", "x" * 141, "\u20ac" * 1_000, "version", "current", "latest",
)  # fmt: skip
NUMBERS: Final = (
    0,
    1,
    -1,
    2,
    7,
    203,
    978,
    1_000,
    8_000,
    2**15,
    2**31 - 1,
    2**31,
    10**15,
    10**15 + 1,
    9 * 10**18,
    2**63 - 1,
    -(2**63),
)
DEPTH_MAX: Final = 5

_INTEGERS: Final = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Maker:
    """Makes requests from a seed, and of what the bank was seen to know."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311
        self.known: list[str] = []

    def request(self, kind: Descriptor) -> bytes:
        """Make the bytes of a request."""
        if self.chance.random() < 0.1:
            return self.chance.randbytes(self.chance.randrange(64))
        message = GetMessageClass(kind)()
        self._fill(message, 0)
        raw = message.SerializeToString()
        return self.damaged(raw) if self.chance.random() < 0.2 else raw

    def damaged(self, raw: bytes) -> bytes:
        """Flip, cut, repeat or insert bytes."""
        damaged = bytearray(raw)
        for _ in range(self.chance.randint(1, 4)):
            place = self.chance.randrange(len(damaged) + 1)
            match self.chance.randrange(4):
                case 0 if place < len(damaged):
                    damaged[place] ^= 1 << self.chance.randrange(8)
                case 1:
                    del damaged[place : place + self.chance.randrange(9)]
                case 2:
                    damaged[place:place] = self.chance.randbytes(self.chance.randrange(9))
                case _:
                    damaged[place:place] = damaged[place : place + self.chance.randrange(99)]
        return bytes(damaged)

    def _fill(self, message: Message, depth: int) -> None:
        for field in message.DESCRIPTOR.fields:
            if self.chance.random() < 0.25 or (field.message_type is not None and depth >= DEPTH_MAX):
                continue
            if field.is_repeated:
                many = self.chance.choice((0, 1, 1, 2, 3, 120 if depth else 5))
                values = getattr(message, field.name)
                if field.message_type is None:
                    values.extend(self._value(field) for _ in range(many))
                elif not field.message_type.GetOptions().map_entry:
                    for _ in range(many):
                        self._fill(values.add(), depth + 1)
            elif field.message_type is not None:
                getattr(message, field.name).SetInParent()
                self._fill(getattr(message, field.name), depth + 1)
            else:
                setattr(message, field.name, self._value(field))

    def _value(self, field: Any) -> Any:
        if field.cpp_type in _INTEGERS:
            least, most = _INTEGERS[field.cpp_type]
            return min(max(self.chance.choice(NUMBERS), least), most)
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL:
                return self.chance.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self.chance.choice((0, 1, 2, 3, 99, -1))
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return self.chance.choice((0.0, -1.0, 1e300, float("nan"), float("inf")))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.chance.randbytes(self.chance.choice((0, 1, 16, 17, 1_000)))
        return self._text()

    def _text(self) -> str:
        drawn = self.chance.random()
        if drawn < 0.25:
            return str(UUID(int=self.chance.getrandbits(128), version=4))
        return self.chance.choice(self.known if self.known and drawn < 0.7 else TEXTS)

    def learn(self, message: Message) -> None:
        """Remember the texts of an answer: names, numbers, ids, page tokens."""
        for field, value in message.ListFields():
            if field.message_type is None and isinstance(value, str) and len(self.known) < 500:
                self.known.append(value)
            elif field.message_type is not None and not field.is_repeated:
                self.learn(value)


class Report:
    """What came of it."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.bugs: Counter[str] = Counter()
        self.first_by_bug: dict[str, str] = {}

    def bug(self, kind: str, example: str = "") -> None:
        """Note a bug; of each kind the first example is kept."""
        self.bugs[kind] += 1
        self.first_by_bug.setdefault(kind, example[:2_000])

    def lines(self) -> list[str]:
        """Say it."""
        return [
            f"requests  {sum(self.requests.values())}: "
            + ", ".join(f"{k} {v}" for k, v in sorted(self.requests.items())),
            "answers   " + ", ".join(f"{k} {v}" for k, v in self.codes.most_common()),
            "files     " + ", ".join(f"{k} {v}" for k, v in sorted(self.files.items())),
            *(f"BUG       {count} x {kind}: {self.first_by_bug[kind]}" for kind, count in self.bugs.items()),
        ]


async def fuzz_bank(bank: Bank, maker: Maker, report: Report, is_enough: Callable[[int], bool]) -> None:
    """Fuzz an open bank until there were enough requests; its audit stands in the report too."""
    token = bank.token()
    before = dict(bank.processes)
    async with channels.channel(bank.gateway) as channel:
        await _open_some(bank_pb2_grpc.BankStub(channel), maker, token)
        count = 0
        while not is_enough(count):
            await asyncio.gather(*(_send(channel, maker, report, token) for _ in range(TOGETHER)))
            count += TOGETHER
    if bank.processes != before:
        report.bug("processes died", f"{before} -> {bank.processes}")
    audit = await audit_bank(bank.control_dsn, bank.shard_dsns, None)
    if not audit.clean:
        report.bug("the audit is not clean", str([each for each in audit.results if each.evidence]))


async def _open_some(stub: Any, maker: Maker, token: str) -> None:
    """Open customers with accounts and money, for requests to name."""
    metadata = (("authorization", f"Bearer {token}"),)

    def new_id() -> str:
        return str(UUID(int=maker.chance.getrandbits(128), version=4))

    for _ in range(4):
        customer = await stub.OpenCustomer(
            bank_pb2.OpenCustomerRequest(request_id=new_id()), metadata=metadata, timeout=20
        )
        wanted = bank_pb2.Account(customer=customer.name, currency_code="CZK")
        opening = bank_pb2.OpenAccountRequest(request_id=new_id(), account=wanted)
        account = await stub.OpenAccount(opening, metadata=metadata, timeout=20)
        leg = bank_pb2.Leg(
            debit_account="CASH", credit_account=account.account_number, amount_minor=10**9, currency_code="CZK"
        )
        funding = bank_pb2.PostTransferRequest(transfer=bank_pb2.Transfer(transfer_id=new_id(), legs=[leg]))
        transfer = await stub.PostTransfer(funding, metadata=metadata, timeout=20)
        for each in (customer, account, transfer):
            maker.learn(each)
        maker.known += [f"{account.name}/balance", f"{account.name}/entries", account.account_number] * 3


async def _send(channel: grpc.aio.Channel, maker: Maker, report: Report, token: str) -> None:
    method = maker.chance.choice(list(SERVICE.methods))
    sent = maker.request(method.input_type)
    header = f"Bearer {token}"
    if maker.chance.random() < 0.05:
        damaged = maker.damaged(header.encode()).decode("latin-1")
        header = "".join(letter for letter in damaged if " " <= letter <= "~")
    answer_kind: Any = GetMessageClass(method.output_type)
    report.requests[method.name] += 1
    try:
        call: Any = channel.unary_unary(f"/{SERVICE.full_name}/{method.name}")
        raw = await call(sent, metadata=(("authorization", header),), timeout=30)
        code = grpc.StatusCode.OK
        maker.learn(answer_kind.FromString(raw))
    except grpc.aio.AioRpcError as error:
        code = error.code()
        if code in BUGS:
            report.bug(f"{method.name} {code.name} {error.details()}", sent.hex())
    report.codes[code.name] += 1


PARSERS: Final[dict[str, tuple[Callable[[bytes], Any], tuple[type[Exception], ...], bytes]]] = {
    "customers.csv": (
        lambda raw: csv_files.parse_customers("x", raw),
        (csv_files.FileRefused,),
        b"customer_ref,birth_date,gender,district\n1,1970-01-01,F,2\n",
    ),
    "accounts.csv": (
        lambda raw: csv_files.parse_accounts("x", raw),
        (csv_files.FileRefused,),
        b"account_ref,customer_ref,currency,opened_on,branch_district\n1,1,CZK,1970-01-01,2\n",
    ),
    "payments.csv": (
        lambda raw: csv_files.parse_payments("x", raw),
        (csv_files.FileRefused,),
        b"payment_ref,debit_account_ref,creditor_bank,creditor_account,amount,currency,category\n1,1,AB,42,1.00,CZK,x\n",
    ),
    "payroll.csv": (
        lambda raw: csv_files.parse_payroll("x", raw, "CZK"),
        (csv_files.FileRefused,),
        b"account,amount\n1234567890123456,1.00\n",
    ),
    "pain.001": (
        lambda raw: orders.read(BytesIO(raw)),
        (orders.FileRefused, hostile.XmlRefused),
        b"",  # Made below.
    ),
    "catalogue.yaml": (
        catalogue_files.read,
        (catalogue_files.CatalogueInvalid,),
        (Path(__file__).parents[1] / "services" / "account" / "catalogue.yaml").read_bytes(),
    ),
    "revocations.toml": (Revocations.of_toml, (ValueError,), b'tokens = ["a"]\n[subjects]\nx = 2026-01-01T00:00:00Z\n'),
    "allowances.toml": (
        Allowances.of_toml,
        (ValueError,),
        b"[default]\nlook_ups_per_second = 5\n[channels.x]\nitems_burst = 7\n",
    ),
    "jwks.json": (
        lambda raw: Keys.of_jwks(raw.decode()),
        (ValueError,),
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
    ),
}
"""Each parser, what it may raise, and a sound file to damage."""


def fuzz_parsers(maker: Maker, report: Report, rounds: int) -> None:
    """Damage a sound file of each kind many times; what is not refused in the parser's own words is a bug."""
    for name, (parse, refusals, sound) in PARSERS.items():
        whole = sound or example.document("M1", date(2026, 11, 27), "1" * 16, "CZK", [])
        for _ in range(rounds):
            sent = maker.damaged(whole) if maker.chance.random() < 0.9 else maker.chance.randbytes(200)
            report.files[name] += 1
            try:
                parse(sent)
            except refusals:
                pass
            except Exception as error:  # noqa: BLE001
                report.bug(f"{name} {type(error).__name__} {str(error)[:60]}", repr(sent))


async def _main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    maker, report = Maker(asked.seed), Report()
    with tempfile.TemporaryDirectory(prefix="hivecore-fuzz-") as place:
        os.chmod(place, 0o755)  # noqa: PTH101, S103 - the account that PostgreSQL runs as looks through it.
        async with Bank.open(BankOptions(data=Path(place) / "bank", shards=2, port=0)) as bank:
            until = monotonic() + asked.seconds
            await fuzz_bank(bank, maker, report, lambda _: monotonic() > until)
    fuzz_parsers(maker, report, 2_000)
    sys.stdout.write("\n".join([f"seed      {asked.seed}", *report.lines(), ""]))
    return 1 if report.bugs else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
